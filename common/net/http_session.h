// One client connection of the HTTP server: reads requests one after the other, hands each to the
// handler, writes its answer, then goes on with what the client has sent meanwhile.
//
// Confined to its I/O thread (http_io_thread.h), which also owns it while it lives. It keeps
// watching the read side while an answer is made: that is how a client that leaves is noticed. Read
// next: http_exchange.h, the answer.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/net/http_body.h"
#include "common/net/http_exchange.h"
#include "common/net/http_server.h"
#include "common/net/tls_session.h"

namespace pingti::net {

class HttpIoThread;

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, HttpIoThread* io_thread);
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  // Begins with the first request.
  void Start();
  // Answers 503 to whatever the client wants.
  void Reject();
  // The server is draining: closes if no request is under way.
  void OnDrain();
  // Ends the connection now. Idempotent.
  void Close();
  // Looks for output of the exchange, if no write is under way.
  void Flush();

 private:
  using Error = boost::system::error_code;
  using TimePoint = std::chrono::steady_clock::time_point;

  enum class Phase {
    kIdle,    // between requests
    kHeader,  // the first bytes of a request are there
    kBody,
    kAnswering,  // the handler has it
    kLingering,  // all is said; waits for the client to close, so that it gets to read the answer
    kClosed,
  };

  void WaitReadable();
  void OnReadable(const Error& error);
  // Adds what came off the wire to input_, decrypted if need be. False when the connection is done
  // with reading.
  bool Take(std::string_view wire);
  // Parses what has been read, up to the next complete request.
  void Parse();
  // False when the connection has been told off.
  bool CheckHeader();
  bool CheckBody(size_t wire_bytes);
  // What the handler and options().refuse see of parser_'s message, but for the body. Nothing when
  // the target is malformed.
  std::optional<HttpRequest> MakeRequest() const;
  // Sends `response` in place of the handler's, and ends the connection.
  void Refuse(HttpResponse response);
  // The client has closed its sending side.
  void OnEndOfInput();
  void Dispatch();
  // Answers what never reached the handler, and ends the connection.
  void ProtocolError(int status, std::string_view reason);
  void ProtocolError(const Error& error);

  void Queue(std::string_view bytes);
  // Writes output_ as far as the kernel takes it at once, which is nearly always all, and leaves
  // the rest to StartWrite: an event of a stream costs no turn of the loop. REQUIRES: nothing is
  // being written.
  void WriteNow();
  // Writes output_, or else queued_, and calls OnWritten from the loop.
  void StartWrite();
  void OnWritten(const Error& error, size_t num_bytes);
  // False when it is too late for TLS to say anything.
  bool SealOutput();
  // True when with these bytes all of output_ is written; it is then empty.
  bool CountWritten(size_t num_bytes);
  void FinishExchange(bool keep_alive);
  void Linger();

  void SetDeadline(std::chrono::milliseconds from_now);
  void ClearDeadline();
  void ArmTimer();
  void OnDeadline();

  const HttpServerOptions& options() const;

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  HttpIoThread* const io_thread_;
  std::string remote_address_;

  Phase phase_ = Phase::kIdle;
  bool first_request_ = true;
  std::string input_;           // read, not yet parsed
  size_t header_bytes_ = 0;     // of the header being read, parsed so far
  size_t body_wire_bytes_ = 0;  // of the body being read, its framing included
  std::shared_ptr<MemoryBudget::Lease> body_lease_;
  bool input_ended_ = false;
  bool waiting_readable_ = false;
  std::optional<boost::beast::http::request_parser<HttpBody>> parser_;
  std::shared_ptr<HttpExchange> exchange_;

  std::unique_ptr<TlsSession> tls_;  // null: plain

  std::string output_;  // being written from output_offset_; not touched while it is
  size_t output_offset_ = 0;
  bool output_is_sealed_ = false;
  size_t output_plain_bytes_ = 0;  // what output_ had before it was encrypted
  bool output_is_exchanges_ = false;
  std::string queued_;  // the session's own words, to be written next
  bool writing_ = false;
  bool close_after_output_ = false;

  // The timer is armed for armed_for_ and looks at deadline_ when it fires, so that moving the
  // deadline back costs nothing.
  TimePoint deadline_ = TimePoint::max();
  TimePoint armed_for_ = TimePoint::max();
};

}  // namespace pingti::net
