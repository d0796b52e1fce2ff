// The router's settings: one struct, filled by common/config. Used by wiring alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/config/schema.h"
#include "router/admission/admission_options.h"
#include "router/pipeline/generation_options.h"
#include "router/policy/choose_policy.h"

namespace pingti::router {

struct RouterConfig {
  // Listeners.
  std::string address = "0.0.0.0";
  std::string admin_address;
  uint16_t http_port = 8080;
  uint16_t grpc_port = 9000;
  uint16_t admin_port = 9090;
  int32_t http_threads = 2;
  int64_t max_body_bytes = 100 << 20;
  int64_t max_bodies_bytes = 512 << 20;
  int64_t max_connections = 16384;
  int64_t grpc_max_message_length = 100 << 20;
  int64_t grpc_max_request_bytes = 16 << 20;
  int64_t grpc_max_connections = 4096;
  int32_t grpc_max_calls_per_connection = 1024;
  bool playground = true;
  std::vector<std::string> cors_origins;
  std::string tls_cert_file;
  std::string tls_key_file;

  // Workers.
  std::vector<std::string> workers;
  std::chrono::milliseconds dns_interval{5'000};
  std::string kubernetes_api;
  std::string kubernetes_token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
  std::string kubernetes_ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
  std::string zone;
  uint32_t min_ready_workers = 1;
  std::string policy = "prefix_affinity";
  PolicySettings policy_settings;
  std::chrono::milliseconds stall_timeout{1'500};
  std::chrono::milliseconds connect_timeout{5'000};
  bool worker_tls = false;
  std::string worker_tls_ca_file;
  std::string worker_tls_cert_file;
  std::string worker_tls_key_file;
  std::string worker_tls_server_name;

  // Models.
  std::vector<std::string> models;
  std::vector<std::string> model_aliases;

  // Requests.
  std::string queue_order = "fair";
  AdmissionOptions admission;  // but for first_token_objectives, which are parsed from:
  std::vector<std::string> first_token_objectives;
  std::chrono::milliseconds promote_after{10'000};
  GenerationOptions generation;
  int32_t prepare_threads = 2;
  std::string api_keys_file;
  std::string api_keys;

  // Process.
  std::chrono::milliseconds drain_delay{0};
  std::chrono::milliseconds drain_timeout{30'000};
  std::string log_level = "info";
  std::string log_format = "json";
};

// Declares every setting; `config` must outlive `schema`.
void AddSettings(RouterConfig* config, config::Schema* schema);

}  // namespace pingti::router
