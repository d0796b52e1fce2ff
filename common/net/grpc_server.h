// A gRPC server's life cycle: bind with a clear error, message size limits, keep-alive, the
// standard health service, and an end with a deadline. The services themselves belong to the
// caller.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/net/tls.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace pingti::net {

struct GrpcServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free port, see GrpcServer::port
  int64_t max_message_bytes = 100 << 20;
  TlsFiles tls{};
  // Names that the health service knows besides "": those of the services.
  std::vector<std::string> health_names{};
  // HTTP/2 pings notice a peer that is gone without a FIN.
  std::chrono::milliseconds keepalive_time{20'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
};

// Thread-safe.
class GrpcServer {
 public:
  // `services` must outlive the server. Health (grpc.health.v1) starts as NOT_SERVING.
  // Errors: FailedPrecondition "address 127.0.0.1:9001 is already in use", InvalidArgument; those
  // of CheckTlsFiles.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, const std::vector<grpc::Service*>& services);
  // Cancels what is running and joins.
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  uint16_t port() const { return port_; }

  // What the health service answers, for the server as a whole ("") and each of its services.
  void SetServing(bool serving);

  // Takes no more calls, waits for those that run until `deadline` passes, then cancels them.
  // Idempotent.
  void Shutdown(std::chrono::milliseconds deadline);

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, std::vector<std::string> health_names,
             uint16_t port);

  std::unique_ptr<grpc::Server> server_;
  const std::vector<std::string> health_names_;
  uint16_t port_;
};

}  // namespace pingti::net
