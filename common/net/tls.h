// A server's certificate for TLS: where its files are, whether they fit, and the OpenSSL context
// made of them, renewed when the files change.
//
// Used by the HTTP server (http_server.h), and its files by the gRPC server (grpc_server.h).
// Read next: tls_session.h, one connection's encryption.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"

// OpenSSL's own name for what SSL_CTX is.
struct ssl_ctx_st;

namespace pingti::net {

// PEM files. All empty: no TLS.
struct TlsFiles {
  std::string cert_file{};  // the certificate, then those that signed it up to the root's
  std::string key_file{};
  // Not empty: clients must show a certificate that one of these signed.
  std::string client_ca_file{};
  // Not empty: the certificate must bear one of these DNS names, too. Used by the gRPC server.
  std::vector<std::string> client_names{};

  bool enabled() const { return !cert_file.empty() || !key_file.empty(); }
};

// OK for files that make a server, and for none at all. Errors name the file: NotFound when it
// cannot be read, InvalidArgument when it is no PEM certificate or key, when the key belongs to
// another certificate, or when one of the two is missing.
absl::Status CheckTlsFiles(const TlsFiles& files);

// Thread-safe.
class TlsServerContext {
 public:
  // REQUIRES: files.enabled(). Errors: as CheckTlsFiles.
  static absl::StatusOr<std::unique_ptr<TlsServerContext>> Create(const TlsFiles& files);

  // The context for a new connection; connections that exist keep theirs. At most once a second it
  // looks whether the files have changed; new files that do not fit are logged and not taken.
  std::shared_ptr<ssl_ctx_st> Get();

 private:
  explicit TlsServerContext(TlsFiles files) : files_(std::move(files)) {}

  const TlsFiles files_;
  Mutex mutex_;
  std::shared_ptr<ssl_ctx_st> context_ PINGTI_GUARDED_BY(mutex_);  // with each connection
  std::string seen_ PINGTI_GUARDED_BY(mutex_);  // the files' times and sizes when last looked at
  std::chrono::steady_clock::time_point look_again_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::net
