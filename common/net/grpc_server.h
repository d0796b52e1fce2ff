// A gRPC server's life cycle: bind with a clear error, limits of what its peers may hold,
// keep-alive, the standard health service, and an end with a deadline. The services themselves
// belong to the caller. Read next: grpc_listener.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/net/grpc_listener.h"
#include "common/net/tls.h"

namespace grpc {
class CallbackGenericService;
class Server;
class Service;
}  // namespace grpc

namespace pingti::net {

struct GrpcServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;                       // 0: any free port, see GrpcServer::port
  int64_t max_received_bytes = 100 << 20;  // of one message
  int64_t max_sent_bytes = 100 << 20;      // of one message
  size_t max_connections = 16384;
  int max_calls_per_connection = 1024;  // further ones wait at the client
  // What a peer may send of a message that nobody reads yet.
  int unread_bytes_per_call = 16 << 10;
  // Roughly, what gRPC may hold of messages on their way in. Beyond it, it refuses connections and
  // ends calls, whosever they are: a last resort. 0: no limit.
  size_t max_buffered_bytes = 0;
  TlsFiles tls{};
  // Names that the health service knows besides "": those of the services.
  std::vector<std::string> health_names{};
  // HTTP/2 pings notice a peer that is gone without a FIN.
  std::chrono::milliseconds keepalive_time{20'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  std::chrono::milliseconds handshake_timeout{10'000};
  // A connection without a call ends after this; clients open another when they need it.
  std::chrono::milliseconds idle_timeout{300'000};
};

// What a server offers. Both belong to the caller and must outlive the server.
struct GrpcServices {
  std::vector<grpc::Service*> services{};
  // Gets every call that none of them has, as bytes. Null: such calls are UNIMPLEMENTED.
  grpc::CallbackGenericService* generic = nullptr;
};

// Thread-safe.
class GrpcServer {
 public:
  // Health (grpc.health.v1) starts as NOT_SERVING. Errors: FailedPrecondition "address
  // 127.0.0.1:9001 is already in use", InvalidArgument; those of CheckTlsFiles.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           const GrpcServices& services);
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
  GrpcServer(std::unique_ptr<grpc::Server> server, std::unique_ptr<GrpcListener> listener,
             std::vector<std::string> health_names);

  const std::unique_ptr<grpc::Server> server_;
  const std::unique_ptr<GrpcListener> listener_;  // gives the server its connections
  const std::vector<std::string> health_names_;
  const uint16_t port_;
};

}  // namespace pingti::net
