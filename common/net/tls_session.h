// TLS of one connection, as a filter between the bytes on the wire and those of HTTP. It reads and
// writes nothing itself: the connection (http_session.h) moves the bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct ssl_st;
struct ssl_ctx_st;

namespace pingti::net {

// The server's side. Confined to its connection's thread.
class TlsSession {
 public:
  explicit TlsSession(const std::shared_ptr<ssl_ctx_st>& context);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  enum class Result {
    kOk,
    kClosed,  // the client said its good-bye
    kFailed,  // no TLS, or nothing both sides can agree on; output may hold the reason
  };
  // Takes what came off the wire and appends what it decrypts to.
  Result Receive(std::string_view wire, std::string* plain);
  // Replaces `*bytes` by what goes on the wire for them, behind whatever was to be said before.
  // False when that is not possible (any more). REQUIRES: *bytes is empty or the handshake is
  // complete.
  bool Seal(std::string* bytes);
  // Adds the good-bye to the output. False when there is none to say any more.
  bool SayGoodbye();

  bool established() const;
  // Bytes that the next Seal puts out before anything else.
  size_t pending_output() const;
  bool started() const { return started_; }

 private:
  ssl_st* const ssl_;
  bool started_ = false;  // something was received
  bool failed_ = false;
  bool goodbye_said_ = false;
};

// Whether a connection's first byte begins a TLS handshake (RFC 8446, section 5.1).
inline bool LooksLikeTls(char first_byte) { return first_byte == 0x16; }

}  // namespace pingti::net
