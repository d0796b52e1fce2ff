// Reading and parsing; writing and time limits are in http_session_write.cc.
#include "common/net/http_session.h"

#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <optional>
#include <utility>

#include "common/base/strings.h"
#include "common/net/http_io_thread.h"
#include "common/net/http_wire.h"

namespace pingti::net {

namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

// What a client may send ahead while an answer is made; past it, reading stops until then.
constexpr size_t kMaxPipelinedBytes = 64u << 10;
// What TLS may have to say of its own accord to a client that does not read.
constexpr size_t kMaxPendingTlsBytes = 64u << 10;
// What a body may have of chunk sizes, chunk extensions and trailers: so much in any case, and so
// many bytes per byte of content, which small chunks come to.
constexpr size_t kMaxFramingBytes = 64u << 10;
constexpr size_t kMaxFramingPerByte = 16;
// What a byte of a body takes while it is worked on: the body, which grows by doubling, its JSON
// tree, and the text taken from that.
constexpr size_t kMemoryPerByte = 4;

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

size_t SendNow(int socket, std::string_view bytes) {
  const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent > 0 ? static_cast<size_t>(sent) : 0;
}

}  // namespace

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (boost::beast::iequals({key.data(), key.size()}, {name.data(), name.size()})) return value;
  }
  return {};
}

HttpSession::HttpSession(asio::ip::tcp::socket socket, HttpIoThread* io_thread)
    : socket_(std::move(socket)), timer_(socket_.get_executor()), io_thread_(io_thread) {
  // Failures here mean that the client is gone already; the first read says so.
  Error ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  const asio::ip::tcp::endpoint remote = socket_.remote_endpoint(ignored);
  remote_address_ = remote.address().to_string();
  TlsServerContext* tls = io_thread_->state().tls.get();
  if (tls != nullptr) tls_ = std::make_unique<TlsSession>(tls->Get());
}

const HttpServerOptions& HttpSession::options() const { return io_thread_->state().options; }

void HttpSession::Start() {
  SetDeadline(options().header_timeout);
  WaitReadable();
}

void HttpSession::Reject() {
  if (tls_ != nullptr) return Close();  // a handshake would cost more than an accepted request
  WaitReadable();
  ProtocolError(503, "too many connections");
}

void HttpSession::OnDrain() {
  Error error;
  const bool request_arriving = !input_.empty() || socket_.available(error) > 0;
  if (phase_ == Phase::kIdle && !request_arriving) Close();
}

void HttpSession::WaitReadable() {
  if (waiting_readable_ || input_ended_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswering && input_.size() > kMaxPipelinedBytes) return;
  waiting_readable_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](const Error& error) { self->OnReadable(error); });
}

void HttpSession::OnReadable(const Error& error) {
  waiting_readable_ = false;
  if (phase_ == Phase::kClosed) return;
  auto& scratch = io_thread_->scratch();
  Error read_error = error;
  size_t length = 0;
  if (!error) length = socket_.read_some(asio::buffer(scratch), read_error);
  if (read_error == asio::error::would_block) return WaitReadable();
  if (read_error == asio::error::eof && phase_ == Phase::kAnswering) return OnEndOfInput();
  if (read_error) return Close();  // end of stream, reset, or cancelled
  if (phase_ != Phase::kLingering && !close_after_output_) {
    if (!Take({scratch.data(), length})) return;
    if (phase_ != Phase::kAnswering) Parse();
  }
  WaitReadable();
}

void HttpSession::OnEndOfInput() {
  std::string question;
  if (exchange_ == nullptr && writing_) {
    input_ended_ = true;
    return;  // the last words are on their way
  }
  if (tls_ != nullptr || exchange_ == nullptr || !exchange_->AskIfListening(&question)) {
    return Close();
  }
  input_ended_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_error,
                     [self = shared_from_this()](const Error&) { self->Close(); });
  queued_ += question;
  if (!writing_ && !queued_.empty()) StartWrite();
}

bool HttpSession::Take(std::string_view wire) {
  if (tls_ != nullptr && !tls_->started() && !LooksLikeTls(wire.front())) {
    tls_.reset();
    ProtocolError(400, "this port speaks https, and the request came without TLS");
    WaitReadable();
    return false;
  }
  if (tls_ == nullptr) {
    input_ += wire;
    return true;
  }
  const TlsSession::Result result = tls_->Receive(wire, &input_);
  const size_t pending = tls_->pending_output();
  if (result == TlsSession::Result::kClosed || pending > kMaxPendingTlsBytes ||
      (result == TlsSession::Result::kFailed && pending == 0)) {
    Close();
    return false;
  }
  if (result == TlsSession::Result::kFailed) {
    close_after_output_ = true;  // the alert says why
    input_.clear();
  }
  if (pending > 0 && !writing_) StartWrite();
  return phase_ != Phase::kClosed;
}

void HttpSession::Parse() {
  while (!close_after_output_ &&
         (phase_ == Phase::kIdle || phase_ == Phase::kHeader || phase_ == Phase::kBody)) {
    if (phase_ == Phase::kIdle) {
      // Clients may send an empty line after a body (RFC 9112, section 2.2).
      while (input_.starts_with("\r\n")) input_.erase(0, 2);
      if (input_.empty()) return;
      parser_.emplace();
      parser_->eager(true);
      parser_->header_limit(static_cast<uint32_t>(options().max_header_bytes));
      parser_->body_limit(options().max_body_bytes);
      phase_ = Phase::kHeader;
      header_bytes_ = 0;
      body_wire_bytes_ = 0;
      body_lease_ = std::make_shared<MemoryBudget::Lease>(options().body_budget);
      // The first header's time runs from the connection's start.
      if (!first_request_) SetDeadline(options().header_timeout);
      first_request_ = false;
    }
    Error error;
    const size_t used = parser_->put(asio::buffer(input_), error);
    input_.erase(0, used);
    if (error && error != http::error::need_more) return ProtocolError(error);
    // Beast's own limit holds for what one call parses, not for fields that come in many pieces.
    if (!parser_->is_header_done()) {
      header_bytes_ += used;
      if (header_bytes_ + input_.size() > options().max_header_bytes) {
        return ProtocolError(http::error::header_limit);
      }
    }
    if (phase_ == Phase::kHeader && parser_->is_header_done()) {
      if (!CheckHeader()) return;
      phase_ = Phase::kBody;
      SetDeadline(options().body_timeout);
    }
    if (phase_ == Phase::kBody && !CheckBody(used)) return;
    if (parser_->is_done()) {
      Dispatch();
    } else if (error == http::error::need_more || used == 0) {
      return;
    }
  }
}

bool HttpSession::CheckHeader() {
  const auto& request = parser_->get();
  if (request.version() != 11 && request.version() != 10) {
    ProtocolError(505, "expected HTTP/1.1 or HTTP/1.0");
    return false;
  }
  if (request.version() == 11 && request.count(http::field::host) != 1) {
    ProtocolError(400, "expected one Host header");
    return false;
  }
  // Anything else would leave it open where the body ends.
  const auto coding = request[http::field::transfer_encoding];
  if (!coding.empty() && !boost::beast::iequals(coding, "chunked")) {
    ProtocolError(501, "the only transfer coding supported is chunked");
    return false;
  }
  if (options().refuse != nullptr) {
    const std::optional<HttpRequest> head = MakeRequest();
    if (!head) {
      ProtocolError(400, "malformed request target");
      return false;
    }
    if (std::optional<HttpResponse> refusal = options().refuse(*head)) {
      Refuse(*std::move(refusal));
      return false;
    }
  }
  const auto expectation = request[http::field::expect];
  if (expectation.empty() || request.version() == 10) return true;
  if (!boost::beast::iequals(expectation, "100-continue")) {
    ProtocolError(417, "the only expectation supported is 100-continue");
    return false;
  }
  if (!parser_->is_done()) Queue("HTTP/1.1 100 Continue\r\n\r\n");
  return true;
}

bool HttpSession::CheckBody(size_t wire_bytes) {
  body_wire_bytes_ += wire_bytes;
  const size_t content = parser_->get().body().size();
  // Beast keeps asking for more of a chunk's header or a trailer that does not end.
  const size_t framing = body_wire_bytes_ + input_.size() - content;
  const bool is_body = !parser_->is_done();
  if (is_body &&
      framing > options().max_header_bytes + kMaxFramingBytes + kMaxFramingPerByte * content) {
    ProtocolError(400, "the body's framing is larger than its content allows");
    return false;
  }
  if (!body_lease_->GrowTo(kMemoryPerByte * content)) {
    ProtocolError(503, "too many bytes of requests are being worked on");
    return false;
  }
  return true;
}

std::optional<HttpRequest> HttpSession::MakeRequest() const {
  const auto& message = parser_->get();
  std::optional<HttpTarget> target = ParseTarget(View(message.target()));
  if (!target) return std::nullopt;
  HttpRequest request;
  request.method = std::string(View(message.method_string()));
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  for (const auto& field : message) {
    request.headers.emplace_back(View(field.name_string()), View(field.value()));
  }
  request.remote_address = remote_address_;
  return request;
}

void HttpSession::Dispatch() {
  std::optional<HttpRequest> request = MakeRequest();
  if (!request) return ProtocolError(400, "malformed request target");
  auto message = parser_->release();
  parser_.reset();
  request->body = std::move(message.body());
  request->body_lease = std::move(body_lease_);

  phase_ = Phase::kAnswering;
  if (!writing_) ClearDeadline();
  const std::weak_ptr<HttpSession> weak = weak_from_this();
  const auto executor = socket_.get_executor();
  std::function<size_t(std::string_view)> write_now;
  if (tls_ == nullptr) {
    write_now = [handle = socket_.native_handle()](std::string_view bytes) {
      return SendNow(handle, bytes);
    };
  }
  exchange_ = std::make_shared<HttpExchange>(HttpExchange::Params{
      .head_only = message.method() == http::verb::head,
      .http_1_0 = message.version() == 10,
      .keep_alive = message.keep_alive(),
      .max_unsent_bytes = options().max_stream_buffer_bytes,
      .draining = io_thread_->state().draining,
      .post_flush = [this, thread = io_thread_] { thread->RequestFlush(this); },
      .post_abort =
          [weak, executor] {
            asio::post(executor, [weak] {
              if (const auto self = weak.lock()) self->Close();
            });
          },
      .write_now = std::move(write_now)});
  io_thread_->state().handler(*std::move(request), MakeResponder(exchange_));
  Flush();
}

void HttpSession::ProtocolError(const Error& error) {
  if (error == http::error::header_limit) return ProtocolError(431, "the header is too large");
  if (error == http::error::body_limit) return ProtocolError(413, "the body is too large");
  ProtocolError(400, Concat("malformed request: ", error.message()));
}

void HttpSession::ProtocolError(int status, std::string_view reason) {
  HttpResponse response;
  if (options().protocol_error) {
    response = options().protocol_error(status, reason);
  } else {
    response.content_type = "text/plain; charset=utf-8";
    response.body = Concat(reason, "\n");
  }
  response.status = status;
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  Refuse(std::move(response));
}

void HttpSession::Refuse(HttpResponse response) {
  parser_.reset();
  body_lease_.reset();
  input_.clear();
  close_after_output_ = true;
  Queue(FormatHead({.response = response, .keep_alive = false}, std::chrono::system_clock::now()) +
        response.body);
}

}  // namespace pingti::net
