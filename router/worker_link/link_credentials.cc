// See link_credentials.h.
#include "router/worker_link/link_credentials.h"

#include <grpcpp/security/credentials.h>

#include <string>
#include <utility>

#include "common/base/read_file.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/net/tls.h"

namespace pingti::router {
namespace {

// `kind` is how the label of such a PEM block ends.
absl::StatusOr<std::string> ReadPem(std::string_view setting, const std::string& path,
                                    std::string_view kind) {
  if (path.empty()) return std::string();
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) {
    return absl::NotFoundError(Concat(setting, " ", std::string(text.status().message())));
  }
  if (text->find(Concat(kind, "-----")) != std::string::npos) return text;
  return absl::InvalidArgumentError(
      Concat(setting, " '", path, "': expected a ", kind, " in PEM form"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeLinkCredentials(
    const WorkerLinkOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  PINGTI_ASSIGN_OR_RETURN(ssl.pem_root_certs,
                          ReadPem("worker_tls_ca_file", options.tls_ca_file, "CERTIFICATE"));
  PINGTI_ASSIGN_OR_RETURN(ssl.pem_cert_chain,
                          ReadPem("worker_tls_cert_file", options.tls_cert_file, "CERTIFICATE"));
  PINGTI_ASSIGN_OR_RETURN(ssl.pem_private_key,
                          ReadPem("worker_tls_key_file", options.tls_key_file, "PRIVATE KEY"));
  return grpc::SslCredentials(ssl);
}

absl::Status CheckLinkTls(const WorkerLinkOptions& options) {
  if (options.tls) {
    PINGTI_RETURN_IF_ERROR(
        net::CheckTlsFiles({.cert_file = options.tls_cert_file, .key_file = options.tls_key_file}));
    return MakeLinkCredentials(options).status();
  }
  const std::pair<std::string_view, const std::string*> settings[] = {
      {"worker_tls_ca_file", &options.tls_ca_file},
      {"worker_tls_cert_file", &options.tls_cert_file},
      {"worker_tls_key_file", &options.tls_key_file},
      {"worker_tls_server_name", &options.tls_server_name}};
  for (const auto& [name, value] : settings) {
    if (!value->empty()) {
      return absl::InvalidArgumentError(
          Concat(name, " is '", *value, "' while worker_tls is false"));
    }
  }
  return absl::OkStatus();
}

}  // namespace pingti::router
