// The states of an answer: waiting -> (streaming ->) complete; abandoned or closed end it early.
#include "common/net/http_exchange.h"

#include <chrono>
#include <utility>

#include "common/base/check.h"

namespace pingti::net {
namespace {

class Responder final : public HttpResponder {
 public:
  explicit Responder(std::shared_ptr<HttpExchange> exchange) : exchange_(std::move(exchange)) {}
  ~Responder() override { exchange_->Abandon(); }

  void Send(HttpResponse response) override { exchange_->Send(std::move(response)); }
  void StartStream(HttpResponse head, std::string filler, std::string_view first) override {
    exchange_->StartStream(std::move(head), std::move(filler), first);
  }
  bool Write(std::string_view bytes) override { return exchange_->Write(bytes); }
  void EndStream(std::string_view last) override { exchange_->EndStream(last); }
  void OnClose(std::function<void()> on_close) override { exchange_->OnClose(std::move(on_close)); }

 private:
  const std::shared_ptr<HttpExchange> exchange_;
};

}  // namespace

std::shared_ptr<HttpResponder> MakeResponder(std::shared_ptr<HttpExchange> exchange) {
  return std::make_shared<Responder>(std::move(exchange));
}

std::string HttpExchange::Head(const HttpResponse& response, HttpFraming framing) {
  keep_alive_ = params_.keep_alive && framing != HttpFraming::kUntilClose &&
                !params_.draining->load(std::memory_order_relaxed);
  return FormatHead({.response = response,
                     .framing = framing,
                     .keep_alive = keep_alive_,
                     .http_1_0 = params_.http_1_0},
                    std::chrono::system_clock::now());
}

void HttpExchange::Send(HttpResponse response) {
  std::function<void()> dropped;  // destroyed without the lock
  MutexLock lock(&mutex_);
  if (state_ == State::kClosed) return;
  PINGTI_CHECK_MSG(state_ == State::kWaiting, "Send on a request already answered");
  outbox_ += Head(response, HttpFraming::kLength);
  if (!params_.head_only && StatusAllowsBody(response.status)) outbox_ += response.body;
  state_ = State::kComplete;
  dropped.swap(on_close_);
  ScheduleFlush();
}

void HttpExchange::StartStream(HttpResponse head, std::string filler, std::string_view first) {
  PINGTI_CHECK(head.body.empty());
  MutexLock lock(&mutex_);
  if (state_ == State::kClosed) return;
  PINGTI_CHECK_MSG(state_ == State::kWaiting, "StartStream on a request already answered");
  discard_body_ = params_.head_only || !StatusAllowsBody(head.status);
  chunked_ = !params_.http_1_0;
  const bool now = CanWriteNow();
  outbox_ += Head(head, chunked_ ? HttpFraming::kChunked : HttpFraming::kUntilClose);
  filler_ = std::move(filler);
  state_ = State::kStreaming;
  if (Append(first)) SendOutbox(now);
}

bool HttpExchange::AskIfListening(std::string* question) {
  MutexLock lock(&mutex_);
  if (state_ == State::kWaiting && !params_.http_1_0) {
    // Clients pass over interim responses that they did not ask for (RFC 9110, section 15.2).
    *question = "HTTP/1.1 100 Continue\r\n\r\n";
    asked_ = true;
    return true;
  }
  if (state_ != State::kStreaming || filler_.empty() || discard_body_) {
    return state_ == State::kComplete;  // its bytes are on their way
  }
  if (chunked_) {
    AppendChunk(outbox_, filler_);
  } else {
    outbox_ += filler_;
  }
  ScheduleFlush();
  return true;
}

bool HttpExchange::Write(std::string_view bytes) {
  MutexLock lock(&mutex_);
  if (state_ == State::kClosed || overflowed_) return false;
  PINGTI_CHECK_MSG(state_ == State::kStreaming, "Write without StartStream or after EndStream");
  const bool now = CanWriteNow();
  if (!Append(bytes)) return false;
  SendOutbox(now);
  return true;
}

bool HttpExchange::Append(std::string_view bytes) {
  if (bytes.empty() || discard_body_) return true;
  const size_t unsent_bytes = unsent_bytes_.load(std::memory_order_relaxed);
  if (outbox_.size() + unsent_bytes + bytes.size() > params_.max_unsent_bytes) {
    overflowed_ = true;
    params_.post_abort();
    return false;
  }
  if (chunked_) {
    AppendChunk(outbox_, bytes);
  } else {
    outbox_ += bytes;
  }
  return true;
}

bool HttpExchange::CanWriteNow() const {
  return params_.write_now != nullptr && !flush_scheduled_ && !asked_ && outbox_.empty() &&
         unsent_bytes_.load(std::memory_order_acquire) == 0;
}

void HttpExchange::SendOutbox(bool now) {
  if (now && !outbox_.empty()) {
    const size_t sent = params_.write_now(outbox_);
    started_ = started_ || sent > 0;
    outbox_.erase(0, sent);
    if (outbox_.empty() && outbox_.capacity() > kKeptBytes) std::string().swap(outbox_);
  }
  if (!outbox_.empty()) ScheduleFlush();
}

void HttpExchange::EndStream(std::string_view last) {
  std::function<void()> dropped;
  MutexLock lock(&mutex_);
  if (state_ == State::kClosed || overflowed_) return;
  PINGTI_CHECK_MSG(state_ == State::kStreaming, "EndStream without StartStream");
  if (!Append(last)) return;
  if (chunked_ && !discard_body_) outbox_ += kLastChunk;
  state_ = State::kComplete;
  dropped.swap(on_close_);
  ScheduleFlush();
}

void HttpExchange::OnClose(std::function<void()> on_close) {
  {
    MutexLock lock(&mutex_);
    if (state_ != State::kClosed) {
      if (state_ != State::kComplete) on_close_ = std::move(on_close);
      return;
    }
  }
  on_close();
}

void HttpExchange::Abandon() {
  std::function<void()> dropped;
  MutexLock lock(&mutex_);
  if (state_ == State::kClosed || state_ == State::kComplete) return;
  state_ = State::kAbandoned;
  dropped.swap(on_close_);
  ScheduleFlush();
}

void HttpExchange::ScheduleFlush() {
  if (flush_scheduled_) return;
  flush_scheduled_ = true;
  params_.post_flush();
}

HttpExchange::Output HttpExchange::TakeOutput(std::string* bytes) {
  MutexLock lock(&mutex_);
  Output output;
  bytes->swap(outbox_);
  unsent_bytes_.fetch_add(bytes->size(), std::memory_order_relaxed);
  started_ = started_ || !bytes->empty();
  output.complete = state_ == State::kComplete;
  output.abandoned = state_ == State::kAbandoned;
  output.started = started_;
  output.keep_alive = keep_alive_;
  flush_scheduled_ = false;
  return output;
}

void HttpExchange::OnSent(size_t num_bytes) {
  PINGTI_CHECK(unsent_bytes_.fetch_sub(num_bytes, std::memory_order_release) >= num_bytes);
}

std::function<void()> HttpExchange::Close() {
  std::function<void()> on_close;
  MutexLock lock(&mutex_);
  if (state_ == State::kStreaming || state_ == State::kWaiting) on_close.swap(on_close_);
  state_ = State::kClosed;
  std::string().swap(outbox_);
  return on_close;
}

}  // namespace pingti::net
