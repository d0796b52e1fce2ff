// pingti-worker: reads the settings, loads the model, wires it to the engine and serves it until a
// signal. Wiring only. Read next: worker/server/worker_server.h.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "common/base/clock.h"
#include "common/base/file_limit.h"
#include "common/base/log.h"
#include "common/base/signal_waiter.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/base/version.h"
#include "common/config/load.h"
#include "common/metrics/worker_metrics.h"
#include "common/net/grpc_log.h"
#include "worker/device.h"
#include "worker/grammar/model_vocabulary.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/server/kv_budget.h"
#include "worker/server/model_card.h"
#include "worker/server/worker_config.h"
#include "worker/server/worker_server.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitBroken = 70;
constexpr int64_t kCpuKvCap = int64_t{2} << 30;
// Probes get this long to see a red /healthz before the process is gone.
constexpr std::chrono::milliseconds kBrokenGrace{1000};

WeightFormat FormatOf(ComputeFormat format) {
  switch (format) {
    case ComputeFormat::kF32:
      return WeightFormat::kF32;
    case ComputeFormat::kBf16:
      return WeightFormat::kBf16;
    case ComputeFormat::kInt8:
      return WeightFormat::kInt8;
    case ComputeFormat::kAuto:
      break;
  }
  return WeightFormat::kStored;
}

// The model and what it stands on, in order of dependence.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  Device device;
  std::unique_ptr<Model> model;
  std::shared_ptr<const grammar::Vocabulary> vocabulary;  // shared with the engine
  int64_t resident_bytes = 0;
  double load_seconds = 0;
};

int64_t ModifiedAt(const std::string& path) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  if (error) return 0;
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::file_clock::to_sys(time).time_since_epoch())
      .count();
}

LoadOptions LoadOptionsOf(const WorkerConfig& config) {
  LoadOptions options;
  options.format = FormatOf(config.dtype);
  options.wide_vocabulary = config.embedding_dtype == EmbeddingFormat::kBf16;
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) options.kv_format = KvFormat::kInt8;
  return options;
}

// Before minutes go into a model that has no place.
absl::Status CheckFits(const WorkerConfig& config, const LoadedModel& loaded) {
  const int64_t weights = EstimateWeightBytes(*loaded.checkpoint, LoadOptionsOf(config));
  const int64_t limit = static_cast<int64_t>(static_cast<double>(loaded.device.memory_bytes) *
                                             config.gpu_memory_fraction);
  if (!loaded.device.is_gpu || weights <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(Concat(
      "the model does not fit: weights of about ", weights >> 20, " MiB; ", loaded.device.name,
      " has ", loaded.device.memory_bytes >> 20, " MiB x gpu_memory_fraction ",
      config.gpu_memory_fraction, " = ", limit >> 20, " MiB"));
}

absl::StatusOr<LoadedModel> Load(const WorkerConfig& config, Device device) {
  LoadedModel loaded;
  loaded.device = std::move(device);
  const auto begin = std::chrono::steady_clock::now();
  PINGTI_ASSIGN_OR_RETURN(loaded.checkpoint, config.load_format == LoadFormat::kDummy
                                                 ? OpenRandomCheckpoint(config.model)
                                                 : OpenCheckpoint(config.model));
  PINGTI_RETURN_IF_ERROR(CheckFits(config, loaded));
  LogInfo("loading the model", {{"model", config.model},
                                {"device", loaded.device.name},
                                {"architecture", loaded.checkpoint->spec().architecture},
                                {"parameters", loaded.checkpoint->num_parameters()},
                                {"format", loaded.checkpoint->dominant_format()}});
  LoadOptions options = LoadOptionsOf(config);
  int64_t next_percent = 25;
  options.progress = [&](int64_t done, int64_t total) {
    if (total <= 0 || done * 100 / total < next_percent) return;
    LogInfo("loading the model", {{"percent", done * 100 / total}});
    next_percent += 25;
  };
  PINGTI_ASSIGN_OR_RETURN(loaded.model,
                          LoadModel(*loaded.checkpoint, loaded.device.backend.get(), options));
  loaded.resident_bytes = TakenBytes(loaded.device);
  if (!loaded.device.is_gpu) {
    // Other processes come and go meanwhile, so the file's size is the least that is believed.
    loaded.resident_bytes = std::max(loaded.resident_bytes, loaded.checkpoint->weight_bytes());
  }
  loaded.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loaded;
}

absl::StatusOr<KvBudget> AllocateModel(const WorkerConfig& config, LoadedModel* loaded) {
  KvBudgetInputs in;
  in.available_bytes = loaded->device.memory_bytes;
  in.memory_fraction = config.gpu_memory_fraction;
  in.weight_bytes = loaded->resident_bytes;
  in.workspace_bytes =
      loaded->model->WorkspaceBytes(config.max_batch_tokens, config.max_batch_size);
  in.kv_memory = config.kv_memory;
  in.kv_cap = loaded->device.is_gpu ? 0 : kCpuKvCap;
  in.bytes_per_block = loaded->model->KvBytesPerBlock(config.kv_block_tokens);
  in.block_tokens = config.kv_block_tokens;
  in.model_context = loaded->model->max_context_tokens();
  in.max_context_tokens = config.max_context_tokens;
  in.max_batch_size = config.max_batch_size;
  PINGTI_ASSIGN_OR_RETURN(const KvBudget budget, PlanKvMemory(in));
  LogInfo("memory",
          {{"plan", budget.arithmetic}, {"max_context_tokens", budget.max_context_tokens}});
  PINGTI_RETURN_IF_ERROR(loaded->model->Allocate(budget.num_blocks, config.kv_block_tokens,
                                                 config.max_batch_tokens, config.max_batch_size));
  return budget;
}

// Null when the model cannot decode under constraints; clients that want it are then refused.
std::shared_ptr<const grammar::Vocabulary> VocabularyOf(const LoadedModel& loaded) {
  auto vocabulary = ModelVocabulary(loaded.checkpoint->text(), loaded.model->vocab_size());
  if (vocabulary.ok()) return *std::move(vocabulary);
  LogWarning("no structured output", {{"reason", std::string(vocabulary.status().message())}});
  return nullptr;
}

std::string KvFormatName(const WorkerConfig& config) {
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) return "int8";
  return config.dtype == ComputeFormat::kF32 ? "f32" : "16 bit";
}

CardFacts FactsOf(const WorkerConfig& config, const LoadedModel& loaded, const KvBudget& budget) {
  CardFacts facts;
  facts.model_id = config.model_id;
  facts.aliases = config.model_aliases;
  facts.weight_format = config.dtype == ComputeFormat::kAuto
                            ? loaded.checkpoint->dominant_format()
                            : std::string(WeightFormatName(FormatOf(config.dtype)));
  facts.kv_format = KvFormatName(config);
  facts.max_context_tokens = budget.max_context_tokens;
  facts.max_batch_tokens = config.max_batch_tokens;
  facts.max_batch_size = config.max_batch_size;
  facts.kv_block_tokens = config.kv_block_tokens;
  facts.kv_total_blocks = budget.num_blocks;
  facts.vocab_size = loaded.model->vocab_size();
  facts.created_unix_s = ModifiedAt(config.model);
  facts.grammars = loaded.vocabulary != nullptr;
  return facts;
}

WorkerServerOptions ServerOptions(const WorkerConfig& config, const LoadedModel& loaded,
                                  const KvBudget& budget) {
  WorkerServerOptions options;
  options.address = config.address;
  options.admin_address = config.admin_address;
  options.port = config.port;
  options.admin_port = config.admin_port;
  options.max_message_bytes = config.grpc_max_message_length;
  options.tls = {config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file};
  options.worker_id = config.worker_id;
  options.report_interval = config.report_interval;
  options.engine.budget = {config.max_batch_tokens, config.max_batch_size};
  options.engine.num_kv_blocks = budget.num_blocks;
  options.engine.kv_block_tokens = config.kv_block_tokens;
  options.engine.max_context_tokens = budget.max_context_tokens;
  options.engine.max_waiting_sequences = config.max_waiting_sequences;
  options.engine.max_step_time = config.max_step_time;
  options.engine.step_deadline = config.step_deadline;
  for (const int64_t id : loaded.checkpoint->text().eos_token_ids) {
    options.engine.eos_token_ids.push_back(static_cast<int32_t>(id));
  }
  options.engine.vocabulary = loaded.vocabulary;
  options.on_broken = [](const absl::Status& status) {
    // The engine thread may never return, so nothing can be joined.
    std::this_thread::sleep_for(kBrokenGrace);
    LogError("pingti-worker exits",
             {{"error", std::string(status.message())}, {"exit_status", kExitBroken}});
    FlushLogs();
    std::_Exit(kExitBroken);
  };
  return options;
}

absl::Status Serve(WorkerConfig config, SignalWaiter* signals) {
  metrics::Registry registry;
  registry.AddProcessMetrics("pingti-worker");
  PINGTI_ASSIGN_OR_RETURN(Device device, OpenDevice(config));
  FillDeviceDefaults(device, &config);
  PINGTI_ASSIGN_OR_RETURN(LoadedModel loaded, Load(config, std::move(device)));
  PINGTI_ASSIGN_OR_RETURN(const KvBudget budget, AllocateModel(config, &loaded));
  loaded.vocabulary = VocabularyOf(loaded);
  PINGTI_ASSIGN_OR_RETURN(const ServedCard card,
                          BuildModelCard(*loaded.checkpoint, FactsOf(config, loaded, budget)));
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<WorkerServer> server,
                          WorkerServer::Start(loaded.model.get(), card, RealClock(), &registry,
                                              ServerOptions(config, loaded, budget)));
  server->RecordModel(card, loaded.device.backend->name(), loaded.load_seconds);
  LogInfo("ready", {{"model", card.card.model_id()},
                    {"address", config.address},
                    {"port", server->port()},
                    {"admin_port", server->admin_port()},
                    {"load_seconds", loaded.load_seconds}});
  signals->Wait();
  LogInfo("draining", {{"timeout_ms", config.drain_timeout.count()}});
  server->Drain(config.drain_timeout);
  LogInfo("stopped");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  SignalWaiter signals;
  WorkerConfig config;
  config::Schema schema("pingti-worker", "Runs one model for pingti routers.");
  AddWorkerKeys(&config, &schema);
  const auto text = config::Load(schema, argc, argv, environ);
  if (!text.ok()) {
    std::fprintf(stderr, "pingti-worker: %s\n", std::string(text.status().message()).c_str());
    return kExitUsage;
  }
  if (text->has_value()) {
    std::fputs((*text)->c_str(), stdout);
    return 0;
  }
  absl::Status status = CheckWorkerConfig(config);
  if (status.ok()) status = InitLogging(config.log_level, config.log_format, "pingti-worker");
  if (!status.ok()) {
    std::fprintf(stderr, "pingti-worker: %s\n", std::string(status.message()).c_str());
    return kExitUsage;
  }
  StartLogThread();
  RaiseFileLimit();
  net::RouteGrpcLog();
  status = Serve(config, &signals);
  if (!status.ok()) {
    LogError("pingti-worker cannot run", {{"error", std::string(status.message())}});
  }
  FlushLogs();
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
