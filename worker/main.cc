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
#include <string_view>
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
#include "common/net/any_address.h"
#include "common/net/grpc_process.h"
#include "worker/device.h"
#include "worker/draft_model.h"
#include "worker/engine/record_steps.h"
#include "worker/grammar/model_vocabulary.h"
#include "worker/group_process.h"
#include "worker/loaded_model.h"
#include "worker/server/admin_page.h"
#include "worker/server/model_card.h"
#include "worker/server/worker_config.h"
#include "worker/server/worker_server.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitBroken = 70;
// Probes get this long to see a red /healthz before the process is gone.
constexpr std::chrono::milliseconds kBrokenGrace{1000};

using Vocabulary = std::shared_ptr<const grammar::Vocabulary>;  // shared with the engine

int64_t ModifiedAt(const std::string& path) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  if (error) return 0;
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::file_clock::to_sys(time).time_since_epoch())
      .count();
}

// Null when the model cannot decode under constraints; clients that want it are then refused.
Vocabulary VocabularyOf(const LoadedModel& loaded) {
  auto vocabulary = ModelVocabulary(loaded.checkpoint->text(), loaded.model->vocab_size());
  if (vocabulary.ok()) return *std::move(vocabulary);
  LogWarning("no structured output", {{"reason", std::string(vocabulary.status().message())}});
  return nullptr;
}

std::string KvFormatName(const WorkerConfig& config) {
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) return "int8";
  return config.dtype == ComputeFormat::kF32 ? "f32" : "16 bit";
}

CardFacts FactsOf(const WorkerConfig& config, const LoadedModel& loaded, const KvBudget& budget,
                  const Vocabulary& vocabulary) {
  CardFacts facts;
  facts.model_id = config.model_id;
  facts.aliases = config.model_aliases;
  facts.weight_format = config.dtype == ComputeFormat::kAuto ? loaded.checkpoint->dominant_format()
                                                             : ComputeFormatName(config.dtype);
  facts.kv_format = KvFormatName(config);
  facts.max_context_tokens = budget.max_context_tokens;
  facts.max_batch_tokens = config.max_batch_tokens;
  facts.max_batch_size = config.max_batch_size;
  facts.kv_block_tokens = config.kv_block_tokens;
  facts.kv_total_blocks = budget.num_blocks;
  facts.vocab_size = loaded.model->vocab_size();
  facts.created_unix_s = ModifiedAt(config.model);
  facts.grammars = vocabulary != nullptr;
  return facts;
}

// Rows of logits take memory, and a large batch has no use for drafts: so many sequences do not get
// more than their own, while a few get all drafts that they may have.
int32_t RowsWithDrafts(const WorkerConfig& config) {
  constexpr int32_t kEnough = 64;
  const int32_t all = config.max_batch_size * (1 + config.speculative_tokens);
  return std::max(config.max_batch_size, std::min(all, kEnough));
}

WorkerServerOptions ServerOptions(const WorkerConfig& config, const LoadedModel& loaded,
                                  const KvBudget& budget, const Vocabulary& vocabulary,
                                  DraftSource* drafts, AdapterStore* adapters) {
  WorkerServerOptions options;
  options.address = config.address;
  options.port = config.port;
  options.max_message_bytes = config.grpc_max_message_length;
  options.tls = {config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file,
                 config.tls_client_names};
  options.worker_id = config.worker_id;
  options.report_interval = config.report_interval;
  options.adapters = adapters;
  options.adapter_changes = config.allow_runtime_lora_updating;
  options.engine.budget = {config.max_batch_tokens, config.max_batch_size};
  options.engine.drafts = drafts;
  options.engine.max_drafts = config.speculative_tokens;
  if (drafts != nullptr) options.engine.budget.max_rows = RowsWithDrafts(config);
  options.engine.num_kv_blocks = budget.num_blocks;
  options.engine.kv_block_tokens = config.kv_block_tokens;
  options.engine.max_context_tokens = budget.max_context_tokens;
  options.engine.max_waiting_sequences = config.max_waiting_sequences;
  options.engine.max_step_time = config.max_step_time;
  options.engine.step_deadline = config.step_deadline;
  for (const int64_t id : loaded.checkpoint->text().eos_token_ids) {
    options.engine.eos_token_ids.push_back(static_cast<int32_t>(id));
  }
  options.engine.vocabulary = vocabulary;
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

absl::StatusOr<std::unique_ptr<AdminPage>> OpenAdminPage(const WorkerConfig& config,
                                                         const metrics::Registry* registry) {
  net::HttpServerOptions options;
  options.address = config.admin_address.empty() ? config.address : config.admin_address;
  options.port = config.admin_port;
  return AdminPage::Start(std::move(options), registry);
}

// Nobody waits for a model that is still loading.
void EndAtOnce() {
  LogInfo("stopped while loading the model");
  FlushLogs();
  std::_Exit(0);
}

// Of a worker, also while its model is not there yet. What follows another process is none.
struct StartMetrics {
  StartMetrics(std::string_view model, metrics::Registry* registry)
      : ranks(registry->Add(metrics::kWorkerRanks).With({model})),
        loading(registry->Add(metrics::kWorkerLoading).With({model})),
        late_rank_signs(registry->Add(metrics::kWorkerLateRankSigns)) {}

  metrics::Gauge ranks;
  metrics::Gauge loading;
  metrics::Counter late_rank_signs;
};

OnLateSign CountAndTell(metrics::Counter late_rank_signs) {
  return [late_rank_signs](int rank, std::chrono::milliseconds gap) mutable {
    late_rank_signs.Increment();
    LogWarning("a rank's sign of life came late", {{"rank", rank}, {"gap_ms", gap.count()}});
  };
}

absl::Status Serve(WorkerConfig config, SignalWaiter* signals) {
  metrics::Registry registry;
  registry.AddProcessMetrics("pingti-worker");
  std::optional<StartMetrics> metrics;
  if (config.rank == 0) {
    metrics.emplace(ServedModelId(config.model_id, config.model), &registry);
    metrics->ranks.Set(config.tensor_parallel);
    metrics->loading.Set(1);
  }
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<AdminPage> admin, OpenAdminPage(config, &registry));
  signals->OnSignal(EndAtOnce);
  PINGTI_ASSIGN_OR_RETURN(ServingDevices devices, OpenDevices(config));
  FillDeviceDefaults(devices.first(), &config);
  PINGTI_ASSIGN_OR_RETURN(LoadedModel loaded, OpenServedModel(config, std::move(devices)));
  if (config.rank > 0) {
    const auto on_ready = [&] {
      signals->OnSignal(nullptr);
      const auto always = [] { return absl::OkStatus(); };
      admin->Serve(always, always);
    };
    return FollowGroup(config, &loaded, on_ready, signals);
  }
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<AdapterStore> adapters,
                          OpenAdapters(config, *loaded.checkpoint));
  PINGTI_RETURN_IF_ERROR(LoadServedModel(config, CountAndTell(metrics->late_rank_signs), &loaded));
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<DraftSource> drafts,
                          MakeDraftSource(config, loaded));
  PINGTI_ASSIGN_OR_RETURN(const KvBudget budget, AllocateModel(config, &loaded));
  if (drafts != nullptr) {
    PINGTI_RETURN_IF_ERROR(RecordDraftSteps(loaded.model.get(), RowsWithDrafts(config),
                                            config.speculative_tokens, config.kv_block_tokens));
  }
  PINGTI_RETURN_IF_ERROR(PrepareAdapters(*loaded.model, adapters.get()));
  const Vocabulary vocabulary = VocabularyOf(loaded);
  PINGTI_ASSIGN_OR_RETURN(
      const ServedCard card,
      BuildModelCard(*loaded.checkpoint, FactsOf(config, loaded, budget, vocabulary)));
  PINGTI_ASSIGN_OR_RETURN(
      std::unique_ptr<WorkerServer> server,
      WorkerServer::Start(
          loaded.model.get(), card, RealClock(), &registry, admin.get(),
          ServerOptions(config, loaded, budget, vocabulary, drafts.get(), adapters.get())));
  signals->OnSignal(nullptr);
  metrics->loading.Set(0);
  server->RecordModel(card, loaded.devices.first().backend->name(), loaded.load_seconds);
  LogInfo("ready", {{"model", card.card.model_id()},
                    {"address", config.address},
                    {"port", server->port()},
                    {"admin_port", admin->port()},
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
    if (std::fputs((*text)->c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return 0;
    std::perror("pingti-worker: the output cannot be written");
    return 1;
  }
  config.address = net::ResolveAnyAddress(std::move(config.address));
  config.admin_address = net::ResolveAnyAddress(std::move(config.admin_address));
  absl::Status status = CheckWorkerConfig(config);
  if (status.ok()) status = InitLogging(config.log_level, config.log_format, "pingti-worker");
  if (!status.ok()) {
    std::fprintf(stderr, "pingti-worker: %s\n", std::string(status.message()).c_str());
    return kExitUsage;
  }
  StartLogThread();
  RaiseFileLimit();
  net::SetUpGrpc();
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
