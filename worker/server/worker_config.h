// The worker's settings. deploy/config/pingti-worker.yaml is this struct printed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/config/schema.h"
#include "worker/backend/device_choice.h"

namespace pingti::worker {

enum class ComputeFormat { kAuto, kF32, kBf16, kInt8 };
enum class EmbeddingFormat { kAuto, kBf16 };
enum class KvCacheFormat { kAuto, kInt8 };
enum class LoadFormat { kAuto, kDummy };

// Where drafts come from.
enum class Speculation { kNone, kNgram, kDraftModel, kEagle3, kMtp };

struct WorkerConfig {
  // Model
  std::string model;
  std::string model_id;
  std::vector<std::string> model_aliases;
  ComputeFormat dtype = ComputeFormat::kAuto;
  EmbeddingFormat embedding_dtype = EmbeddingFormat::kAuto;
  LoadFormat load_format = LoadFormat::kAuto;
  int32_t max_context_tokens = 0;

  // Adapters
  std::vector<std::string> loras;
  int32_t max_loras = 8;
  int32_t max_cpu_loras = 0;  // 0: all
  int32_t max_lora_rank = 16;
  bool allow_runtime_lora_updating = false;

  // Listeners
  std::string address = "127.0.0.1";
  std::string admin_address;
  uint16_t port = 9001;
  uint16_t admin_port = 9091;
  int64_t grpc_max_message_length = 100 << 20;
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_client_ca_file;
  std::vector<std::string> tls_client_names;

  // Batching
  int32_t max_batch_size = 32;
  int32_t max_batch_tokens = 0;  // 0: as the device likes, see worker/device.h
  std::chrono::milliseconds max_step_time{150};
  int32_t max_waiting_sequences = 1024;
  Speculation speculation = Speculation::kNone;
  int32_t speculative_tokens = 7;
  std::string draft_model;
  int64_t draft_kv_memory = 512 << 20;

  // Memory
  int32_t kv_block_tokens = 0;  // 0: as the device likes
  int64_t kv_memory = 0;
  KvCacheFormat kv_cache_dtype = KvCacheFormat::kAuto;
  double gpu_memory_fraction = 0.8;

  // Life
  DeviceChoice device = DeviceChoice::kAuto;
  int32_t gpu_index = 0;
  int32_t tensor_parallel = 1;
  bool enable_expert_parallel = false;
  int32_t world_size = 1;
  int32_t rank = 0;
  std::string leader_address;
  uint16_t group_port = 9003;
  std::chrono::milliseconds group_timeout{600'000};
  std::chrono::milliseconds rank_timeout{2'000};
  int32_t threads = 0;
  std::chrono::milliseconds drain_timeout{30'000};
  std::chrono::milliseconds step_deadline{60'000};
  std::chrono::milliseconds report_interval{100};
  std::string worker_id;
  std::string log_level = "info";
  std::string log_format = "json";
};

void AddWorkerKeys(WorkerConfig* config, config::Schema* schema);

// What no single key can check. Errors: InvalidArgument naming the keys.
absl::Status CheckWorkerConfig(const WorkerConfig& config);

}  // namespace pingti::worker
