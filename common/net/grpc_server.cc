// Wires grpc::ServerBuilder the same way in every process.
#include "common/net/grpc_server.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

std::string AddressText(const GrpcServerOptions& options) {
  const bool is_v6 = options.address.find(':') != std::string::npos;
  return is_v6 ? Concat("[", options.address, "]:", options.port)
               : Concat(options.address, ":", options.port);
}

// gRPC only says that it could not bind; binding once more by hand tells why.
std::string WhyNotBound(const GrpcServerOptions& options) {
  sockaddr_storage storage{};
  socklen_t length = 0;
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, options.address.c_str(), &v4) == 1) {
    const sockaddr_in address{
        .sin_family = AF_INET, .sin_port = htons(options.port), .sin_addr = v4, .sin_zero = {}};
    std::memcpy(&storage, &address, length = sizeof(address));
  } else if (::inet_pton(AF_INET6, options.address.c_str(), &v6) == 1) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(options.port);
    address.sin6_addr = v6;
    std::memcpy(&storage, &address, length = sizeof(address));
  } else {
    return "cannot be listened on";
  }
  const int descriptor = ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return Concat("cannot be listened on: ", std::strerror(errno));
  const int on = 1;
  ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const int result = ::bind(descriptor, reinterpret_cast<const sockaddr*>(&storage), length);
  const int error = errno;
  ::close(descriptor);
  if (result == 0) return "cannot be listened on";
  if (error == EADDRINUSE) return "is already in use";
  return Concat("cannot be listened on: ", std::strerror(error));
}

// Looks at the files every few seconds and takes new ones by itself.
std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const TlsFiles& files) {
  if (!files.enabled()) return grpc::InsecureServerCredentials();
  constexpr unsigned int kRefreshSeconds = 2;
  const auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      files.key_file, files.cert_file, files.client_ca_file, kRefreshSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca_file.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

bool IsNumericAddress(const std::string& address) {
  unsigned char ignored[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, address.c_str(), ignored) == 1 ||
         ::inet_pton(AF_INET6, address.c_str(), ignored) == 1;
}

}  // namespace

GrpcServer::GrpcServer(std::unique_ptr<grpc::Server> server, std::vector<std::string> health_names,
                       uint16_t port)
    : server_(std::move(server)), health_names_(std::move(health_names)), port_(port) {
  SetServing(false);
}

GrpcServer::~GrpcServer() { Shutdown(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcServerOptions& options, const std::vector<grpc::Service*>& services) {
  if (!IsNumericAddress(options.address)) {
    return absl::InvalidArgumentError(
        Concat("address '", options.address, "': expected an IPv4 or IPv6 address"));
  }
  if (options.max_message_bytes < 1 ||
      options.max_message_bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(Concat("max_message_bytes is ", options.max_message_bytes,
                                             ": expected 1 to ", std::numeric_limits<int>::max()));
  }
  PINGTI_RETURN_IF_ERROR(CheckTlsFiles(options.tls));
  if (services.empty()) return absl::InvalidArgumentError("a gRPC server needs a service");
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int bound_port = 0;
  builder.AddListeningPort(AddressText(options), MakeCredentials(options.tls), &bound_port);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
  // Without this a second process binds the same port, and the kernel deals out the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                             static_cast<int>(options.keepalive_time.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             static_cast<int>(options.keepalive_timeout.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Clients may ping as often as this server does; gRPC's default would end their connections.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(options.keepalive_time.count() / 4));
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || bound_port <= 0) {
    return absl::FailedPreconditionError(
        Concat("address ", AddressText(options), " ", WhyNotBound(options)));
  }
  return std::unique_ptr<GrpcServer>(
      new GrpcServer(std::move(server), options.health_names, static_cast<uint16_t>(bound_port)));
}

void GrpcServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
  for (const std::string& name : health_names_) {
    server_->GetHealthCheckService()->SetServingStatus(name, serving);
  }
}

void GrpcServer::Shutdown(std::chrono::milliseconds deadline) {
  server_->Shutdown(std::chrono::system_clock::now() + deadline);
  server_->Wait();
}

}  // namespace pingti::net
