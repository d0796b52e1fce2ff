// See part_options.h.
#include "router/part_options.h"

#include <algorithm>
#include <optional>
#include <string>

#include "common/base/file_limit.h"
#include "common/base/log.h"
#include "common/base/random_id.h"
#include "router/grpc/inference_grpc.h"

namespace pingti::router {
namespace {

// Descriptors that HTTP clients leave to gRPC clients, workers and the admin port.
constexpr size_t kReservedFiles = 256;

size_t MaxConnections(const RouterConfig& config) {
  const size_t files = RaiseFileLimit();
  const auto wanted = static_cast<size_t>(config.max_connections);
  const size_t possible = files - std::min(files / 2, kReservedFiles);
  if (wanted > possible) {
    LogWarning("max_connections is more than the limit of open files allows",
               {{"max_connections", wanted}, {"open_files", files}, {"used", possible}});
  }
  return std::min(wanted, possible);
}

}  // namespace

WorkerLinkOptions MakeLinkOptions(const RouterConfig& config) {
  WorkerLinkOptions options;
  options.router_id = RandomId("router-", OsEntropy());
  options.connect_timeout = config.connect_timeout;
  options.stall_timeout = config.stall_timeout;
  options.max_message_bytes = static_cast<int>(config.grpc_max_message_length);
  options.tls = config.worker_tls;
  options.tls_ca_file = config.worker_tls_ca_file;
  options.tls_cert_file = config.worker_tls_cert_file;
  options.tls_key_file = config.worker_tls_key_file;
  options.tls_server_name = config.worker_tls_server_name;
  return options;
}

DiscoveryOptions MakeDiscoveryOptions(const RouterConfig& config, metrics::RouterMetrics* metrics) {
  DiscoveryOptions options;
  options.dns_interval = config.dns_interval;
  options.zone = config.zone;
  options.kubernetes.url = config.kubernetes_api;
  options.kubernetes.token_file = config.kubernetes_token_file;
  options.kubernetes.ca_file = config.kubernetes_ca_file;
  options.on_answer = [metrics](const std::string& entry, bool answered) {
    metrics->discovery_failed.With({entry}).Set(answered ? 0 : 1);
  };
  return options;
}

ReadLimits MakeReadLimits(const RouterConfig& config) {
  ReadLimits limits;
  const int64_t reads = config.max_bodies_bytes / 2 / config.grpc_max_request_bytes;
  limits.in_all = static_cast<size_t>(std::clamp<int64_t>(reads, 1, 256));
  return limits;
}

net::GrpcServerOptions MakeGrpcOptions(const RouterConfig& config) {
  net::GrpcServerOptions options;
  options.address = config.address;
  options.port = config.grpc_port;
  options.max_received_bytes = config.grpc_max_request_bytes;
  options.max_sent_bytes = config.grpc_max_message_length;
  options.max_connections = static_cast<size_t>(config.grpc_max_connections);
  options.max_calls_per_connection = config.grpc_max_calls_per_connection;
  options.max_buffered_bytes = static_cast<size_t>(config.max_bodies_bytes);
  options.health_names = {InferenceServiceName()};
  options.tls = {.cert_file = config.tls_cert_file, .key_file = config.tls_key_file};
  return options;
}

net::HttpServerOptions MakeHttpOptions(const RouterConfig& config, MemoryBudget* bodies,
                                       const ApiHandler* handler, const CorsPolicy* cors) {
  net::HttpServerOptions options;
  options.address = config.address;
  options.port = config.http_port;
  options.num_threads = config.http_threads;
  options.max_body_bytes = static_cast<size_t>(config.max_body_bytes);
  options.body_budget = bodies;
  options.refuse = [=](const net::HttpRequest& head) -> std::optional<net::HttpResponse> {
    if (cors->IsPreflight(head)) return std::nullopt;
    std::optional<net::HttpResponse> refusal = handler->Refuse(head);
    if (refusal.has_value()) cors->AddHeaders(head, &*refusal);
    return refusal;
  };
  options.max_connections = MaxConnections(config);
  options.tls = {.cert_file = config.tls_cert_file, .key_file = config.tls_key_file};
  options.protocol_error = &ApiHandler::ProtocolError;
  return options;
}

}  // namespace pingti::router
