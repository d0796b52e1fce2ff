// The writing half of a connection, its end, and its time limits.
#include <boost/asio/buffer.hpp>
#include <functional>
#include <utility>

#include "common/base/check.h"
#include "common/net/http_exchange.h"
#include "common/net/http_io_thread.h"
#include "common/net/http_session.h"

namespace pingti::net {

namespace asio = boost::asio;

namespace {

// How long a client gets to read the last answer and close.
constexpr std::chrono::milliseconds kLingerTime{1000};

}  // namespace

void HttpSession::Queue(std::string_view bytes) {
  PINGTI_CHECK(exchange_ == nullptr);
  queued_ += bytes;
  if (!writing_) StartWrite();
}

void HttpSession::Flush() {
  if (exchange_ == nullptr || writing_) return;
  const HttpExchange::Output output = exchange_->TakeOutput(&output_);
  if (!output_.empty()) {
    output_is_exchanges_ = true;
    const bool goes_on = !output.complete && !output.abandoned;
    return goes_on ? WriteNow() : StartWrite();
  }
  if (output.complete) return FinishExchange(output.keep_alive);
  if (!output.abandoned) return;
  if (output.started) return Close();  // cut short: the missing last chunk tells the client
  exchange_->Close();
  exchange_.reset();
  ProtocolError(500, "no answer was made");
}

bool HttpSession::SealOutput() {
  if (tls_ == nullptr || output_is_sealed_) return true;
  output_plain_bytes_ = output_.size();
  output_is_sealed_ = true;
  return tls_->Seal(&output_);
}

void HttpSession::WriteNow() {
  if (!SealOutput()) return Close();
  Error error;
  const size_t num_bytes = socket_.write_some(asio::buffer(output_), error);
  if (error && error != asio::error::would_block) return Close();
  const bool more_waits = !CountWritten(num_bytes) || !queued_.empty() ||
                          (tls_ != nullptr && tls_->pending_output() > 0);
  if (more_waits) StartWrite();
}

void HttpSession::StartWrite() {
  if (output_.empty()) {
    output_.swap(queued_);
    output_is_exchanges_ = false;
  }
  const bool own_words = !output_.empty();
  if (!SealOutput()) return Close();
  writing_ = true;
  // A handshake runs within the time of the header that it precedes.
  if (own_words || phase_ == Phase::kAnswering) SetDeadline(options().write_timeout);
  socket_.async_write_some(
      asio::buffer(output_.data() + output_offset_, output_.size() - output_offset_),
      [self = shared_from_this()](const Error& error, size_t num_bytes) {
        self->OnWritten(error, num_bytes);
      });
}

void HttpSession::OnWritten(const Error& error, size_t num_bytes) {
  writing_ = false;
  if (phase_ == Phase::kClosed) return;
  if (error) return Close();
  if (!CountWritten(num_bytes)) return StartWrite();
  if (!queued_.empty() || (tls_ != nullptr && tls_->pending_output() > 0)) return StartWrite();
  if (close_after_output_) return Linger();
  if (phase_ == Phase::kAnswering) {
    ClearDeadline();
    Flush();
  } else if (phase_ == Phase::kBody) {
    SetDeadline(options().body_timeout);  // "100 Continue" is out
  }
}

bool HttpSession::CountWritten(size_t num_bytes) {
  output_offset_ += num_bytes;
  const bool all_written = output_offset_ == output_.size();
  if (output_is_exchanges_ && tls_ == nullptr) exchange_->OnSent(num_bytes);
  if (output_is_exchanges_ && tls_ != nullptr && all_written) {
    exchange_->OnSent(output_plain_bytes_);
  }
  if (!all_written) return false;
  output_.clear();
  if (output_.capacity() > kKeptBytes) std::string().swap(output_);
  output_offset_ = 0;
  output_is_sealed_ = false;
  return true;
}

void HttpSession::FinishExchange(bool keep_alive) {
  exchange_.reset();
  std::string().swap(output_);
  const bool draining = io_thread_->state().draining->load(std::memory_order_relaxed);
  if (!keep_alive || draining) return Linger();
  phase_ = Phase::kIdle;
  SetDeadline(options().idle_timeout);
  Parse();
  if (input_ended_ && phase_ == Phase::kIdle) return Close();
  WaitReadable();
}

void HttpSession::Linger() {
  input_.clear();
  if (tls_ != nullptr && tls_->SayGoodbye()) {
    close_after_output_ = true;
    return StartWrite();  // and back here
  }
  phase_ = Phase::kLingering;
  Error error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error || input_ended_) return Close();
  SetDeadline(kLingerTime);
  WaitReadable();
}

void HttpSession::Close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  timer_.cancel();
  // First the exchange: the socket's number may be another connection's next, and a stream's bytes
  // must not go there.
  const std::shared_ptr<HttpExchange> exchange = std::move(exchange_);
  const std::function<void()> on_close = exchange == nullptr ? nullptr : exchange->Close();
  Error ignored;  // closing is all that is left to do
  socket_.close(ignored);
  // Once nothing of this connection runs any more: the callback may call anything. Only then can no
  // flush be requested any more.
  if (on_close) on_close();
  io_thread_->Forget(shared_from_this());
}

void HttpSession::SetDeadline(std::chrono::milliseconds from_now) {
  deadline_ = std::chrono::steady_clock::now() + from_now;
  if (deadline_ < armed_for_) ArmTimer();
}

void HttpSession::ClearDeadline() { deadline_ = TimePoint::max(); }

void HttpSession::ArmTimer() {
  armed_for_ = deadline_;
  timer_.expires_at(deadline_);
  timer_.async_wait([weak = weak_from_this()](const Error& error) {
    const auto self = weak.lock();
    if (error || self == nullptr || self->phase_ == Phase::kClosed) return;
    self->armed_for_ = TimePoint::max();
    if (self->deadline_ == TimePoint::max()) return;
    if (std::chrono::steady_clock::now() < self->deadline_) {
      self->ArmTimer();
    } else {
      self->OnDeadline();
    }
  });
}

void HttpSession::OnDeadline() {
  deadline_ = TimePoint::max();
  if (writing_) return Close();
  if (phase_ == Phase::kHeader) return ProtocolError(408, "the header did not arrive in time");
  if (phase_ == Phase::kBody) return ProtocolError(408, "the body did not arrive in time");
  Close();
}

}  // namespace pingti::net
