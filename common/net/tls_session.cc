// OpenSSL over two memory BIOs: one holds what came off the wire, the other what goes onto it.
#include "common/net/tls_session.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/base/check.h"

namespace pingti::net {

TlsSession::TlsSession(const std::shared_ptr<ssl_ctx_st>& context) : ssl_(SSL_new(context.get())) {
  PINGTI_CHECK(ssl_ != nullptr);
  SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

bool TlsSession::established() const { return SSL_is_init_finished(ssl_) && !failed_; }

size_t TlsSession::pending_output() const { return BIO_ctrl_pending(SSL_get_wbio(ssl_)); }

TlsSession::Result TlsSession::Receive(std::string_view wire, std::string* plain) {
  if (failed_) return Result::kFailed;
  started_ = true;
  ERR_clear_error();
  const int taken = BIO_write(SSL_get_rbio(ssl_), wire.data(), static_cast<int>(wire.size()));
  PINGTI_CHECK_MSG(taken == static_cast<int>(wire.size()), "a memory BIO takes everything");
  char piece[16 << 10];  // a record's most
  while (true) {
    // SSL_read does the handshake as well.
    const int length = SSL_read(ssl_, piece, sizeof(piece));
    if (length > 0) {
      plain->append(piece, static_cast<size_t>(length));
      continue;
    }
    switch (SSL_get_error(ssl_, length)) {
      case SSL_ERROR_WANT_READ:
        return Result::kOk;
      case SSL_ERROR_ZERO_RETURN:
        return Result::kClosed;
      default:
        failed_ = true;
        ERR_clear_error();
        return Result::kFailed;
    }
  }
}

bool TlsSession::Seal(std::string* bytes) {
  ERR_clear_error();
  if (!bytes->empty()) {
    const int written = SSL_write(ssl_, bytes->data(), static_cast<int>(bytes->size()));
    if (written != static_cast<int>(bytes->size())) {
      ERR_clear_error();
      return false;
    }
  }
  bytes->resize(pending_output());
  if (bytes->empty()) return true;
  const int taken = BIO_read(SSL_get_wbio(ssl_), bytes->data(), static_cast<int>(bytes->size()));
  PINGTI_CHECK(taken == static_cast<int>(bytes->size()));
  return true;
}

bool TlsSession::SayGoodbye() {
  if (!established() || goodbye_said_) return false;
  goodbye_said_ = true;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  return pending_output() > 0;
}

}  // namespace pingti::net
