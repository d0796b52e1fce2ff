// Wires grpc::ServerBuilder the same way in every process.
#include "common/net/grpc_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

// Lets in peers whose certificate, already verified, bears one of `names`: an authority signs
// certificates of many, and only routers may be served.
class NameVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit NameVerifier(std::vector<std::string> names) : names_(std::move(names)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)>, grpc::Status* status) override {
    const std::vector<grpc::string_ref> shown = request->dns_names();
    const bool known = std::any_of(shown.begin(), shown.end(), [&](grpc::string_ref name) {
      return std::find(names_.begin(), names_.end(), std::string(name.data(), name.size())) !=
             names_.end();
    });
    if (!known) {
      *status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                             "the client's certificate bears none of the expected names");
    }
    return true;  // done, not to be waited for
  }
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  const std::vector<std::string> names_;
};

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
    if (!files.client_names.empty()) {
      options.set_certificate_verifier(
          grpc::experimental::ExternalCertificateVerifier::Create<NameVerifier>(
              files.client_names));
    }
  }
  return grpc::experimental::TlsServerCredentials(options);
}

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

void SetLimits(const GrpcServerOptions& options, grpc::ServerBuilder* builder) {
  const auto milliseconds = [](std::chrono::milliseconds time) {
    return static_cast<int>(time.count());
  };
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_received_bytes));
  builder->SetMaxSendMessageSize(static_cast<int>(options.max_sent_bytes));
  // What a compressed message becomes has no limit in gRPC: only its compressed size has.
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder->SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  if (options.max_buffered_bytes > 0) {
    builder->SetResourceQuota(
        grpc::ResourceQuota("gRPC server").Resize(options.max_buffered_bytes));
  }
  // A message that is read gets the window that it needs in any case.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, options.unread_bytes_per_call);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_calls_per_connection);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              milliseconds(options.handshake_timeout));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, milliseconds(options.idle_timeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(options.keepalive_time));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              milliseconds(options.keepalive_timeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Clients may ping as often as this server does; gRPC's default would end their connections.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              milliseconds(options.keepalive_time / 4));
}

}  // namespace

GrpcServer::GrpcServer(std::unique_ptr<grpc::Server> server, std::unique_ptr<GrpcListener> listener,
                       std::vector<std::string> health_names)
    : server_(std::move(server)),
      listener_(std::move(listener)),
      health_names_(std::move(health_names)),
      port_(listener_->port()) {
  SetServing(false);
}

GrpcServer::~GrpcServer() { Shutdown(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              const GrpcServices& services) {
  for (const int64_t bytes : {options.max_received_bytes, options.max_sent_bytes}) {
    if (bytes >= 1 && bytes <= std::numeric_limits<int>::max()) continue;
    return absl::InvalidArgumentError(Concat("the largest message has ", bytes,
                                             " bytes: expected 1 to ",
                                             std::numeric_limits<int>::max()));
  }
  PINGTI_RETURN_IF_ERROR(CheckTlsFiles(options.tls));
  PINGTI_ASSIGN_OR_RETURN(
      std::unique_ptr<GrpcListener> listener,
      GrpcListener::Bind(options.address, options.port, options.max_connections));
  if (services.services.empty() && services.generic == nullptr) {
    return absl::InvalidArgumentError("a gRPC server needs a service");
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetLimits(options, &builder);
  std::shared_ptr<Acceptor> acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      MakeCredentials(options.tls));
  for (grpc::Service* service : services.services) builder.RegisterService(service);
  if (services.generic != nullptr) builder.RegisterCallbackGenericService(services.generic);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC could not start its server");
  listener->Start([acceptor](int listener_fd, int fd) {
    Acceptor::NewConnectionParameters connection;
    connection.listener_fd = listener_fd;
    connection.fd = fd;
    acceptor->HandleNewConnection(&connection);
  });
  return std::unique_ptr<GrpcServer>(
      new GrpcServer(std::move(server), std::move(listener), options.health_names));
}

void GrpcServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
  for (const std::string& name : health_names_) {
    server_->GetHealthCheckService()->SetServingStatus(name, serving);
  }
}

void GrpcServer::Shutdown(std::chrono::milliseconds deadline) {
  listener_->Stop();
  server_->Shutdown(std::chrono::system_clock::now() + deadline);
  server_->Wait();
}

}  // namespace pingti::net
