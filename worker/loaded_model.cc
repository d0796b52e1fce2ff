#include "worker/loaded_model.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/tensor_parallel_model.h"
#include "worker/text/model_text.h"

namespace pingti::worker {
namespace {

constexpr int64_t kCpuKvCap = int64_t{2} << 30;

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

LoadOptions LoadOptionsOf(const WorkerConfig& config) {
  LoadOptions options;
  options.format = FormatOf(config.dtype);
  options.wide_vocabulary = config.embedding_dtype == EmbeddingFormat::kBf16;
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) options.kv_format = KvFormat::kInt8;
  return options;
}

// That a router will be able to turn texts into tokens and messages into a prompt.
absl::Status CheckTexts(const Checkpoint& checkpoint) {
  absl::Status status = MakeTokenizer(checkpoint.text()).status();
  if (status.ok()) status = CheckTemplates(checkpoint.text());
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      Concat(checkpoint.path(), ": ", std::string(status.message())));
}

// Before minutes go into a model that has no place.
absl::Status CheckFits(const WorkerConfig& config, const LoadedModel& loaded) {
  const Device& device = loaded.devices.first();
  const int ranks = loaded.devices.size();
  const int64_t weights = EstimateWeightBytes(*loaded.checkpoint, LoadOptionsOf(config)) / ranks;
  const int64_t memory = loaded.devices.memory_bytes(0);
  const int64_t limit =
      static_cast<int64_t>(static_cast<double>(memory) * config.gpu_memory_fraction);
  if (!device.is_gpu || weights <= limit) return absl::OkStatus();
  const std::string share = ranks == 1 ? "" : Concat(" on each of ", ranks, " ranks");
  return absl::ResourceExhaustedError(
      Concat("the model does not fit: weights of about ", weights >> 20, " MiB", share, "; ",
             device.name, " has ", memory >> 20, " MiB x gpu_memory_fraction ",
             config.gpu_memory_fraction, " = ", limit >> 20, " MiB"));
}

absl::Status LoadRanks(const LoadOptions& options, LoadedModel* loaded) {
  RankGroup* const group = loaded->devices.group.get();
  const auto load_rank = [&](int rank) {
    LoadOptions own = options;
    if (rank != 0) own.progress = nullptr;
    return LoadRank(*loaded->checkpoint, group->device(rank).backend.get(), own,
                    group->TakeCommunicator(rank));
  };
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<TensorParallelModel> model,
                          TensorParallelModel::Load(group->threads(), load_rank, [] {}));
  for (int rank = 0; rank < group->size(); ++rank) loaded->ranks.push_back(&model->rank(rank));
  loaded->model = std::move(model);
  return absl::OkStatus();
}

absl::Status LoadWhole(const LoadOptions& options, LoadedModel* loaded) {
  PINGTI_ASSIGN_OR_RETURN(loaded->model, LoadModel(*loaded->checkpoint,
                                                   loaded->devices.first().backend.get(), options));
  loaded->ranks = {loaded->model.get()};
  return absl::OkStatus();
}

// What the memory at `place` (a rank's GPU, or the host) holds of the model.
KvBudgetInputs InputsFor(const WorkerConfig& config, const LoadedModel& loaded, int place,
                         const Model& part) {
  KvBudgetInputs in;
  in.available_bytes = loaded.devices.memory_bytes(place);
  in.memory_fraction = config.gpu_memory_fraction;
  in.weight_bytes = loaded.devices.TakenBytes(place);
  in.workspace_bytes = part.WorkspaceBytes(config.max_batch_tokens, config.max_batch_size);
  in.kv_memory = config.kv_memory;
  if (!loaded.devices.first().is_gpu) {
    in.kv_cap = kCpuKvCap;
    // Other processes come and go meanwhile, so the file's size is the least that is believed.
    in.weight_bytes = std::max(in.weight_bytes, loaded.checkpoint->weight_bytes());
  }
  in.bytes_per_block = part.KvBytesPerBlock(config.kv_block_tokens);
  in.block_tokens = config.kv_block_tokens;
  in.model_context = part.max_context_tokens();
  in.max_context_tokens = config.max_context_tokens;
  in.max_batch_size = config.max_batch_size;
  return in;
}

absl::StatusOr<KvBudget> PlanMemory(const WorkerConfig& config, const LoadedModel& loaded) {
  if (loaded.ranks.size() == 1 || !loaded.devices.first().is_gpu) {
    return PlanKvMemory(InputsFor(config, loaded, 0, *loaded.model));
  }
  std::optional<KvBudget> least;
  for (int rank = 0; rank < loaded.devices.size(); ++rank) {
    const Model& part = *loaded.ranks[static_cast<size_t>(rank)];
    const std::string name = Concat("rank ", rank, " of ", loaded.devices.size(), ": ");
    auto budget = PlanKvMemory(InputsFor(config, loaded, rank, part));
    if (!budget.ok()) {
      return absl::Status(budget.status().code(),
                          Concat(name, std::string(budget.status().message())));
    }
    budget->arithmetic = Concat(name, budget->arithmetic);
    LogInfo("memory", {{"plan", budget->arithmetic}});
    if (!least.has_value() || budget->num_blocks < least->num_blocks) least = *std::move(budget);
  }
  return *std::move(least);
}

}  // namespace

std::string ComputeFormatName(ComputeFormat format) {
  return std::string(WeightFormatName(FormatOf(format)));
}

absl::StatusOr<LoadedModel> LoadServedModel(const WorkerConfig& config, ServingDevices devices) {
  LoadedModel loaded;
  loaded.devices = std::move(devices);
  const auto begin = std::chrono::steady_clock::now();
  PINGTI_ASSIGN_OR_RETURN(loaded.checkpoint, config.load_format == LoadFormat::kDummy
                                                 ? OpenRandomCheckpoint(config.model)
                                                 : OpenCheckpoint(config.model));
  PINGTI_RETURN_IF_ERROR(CheckTexts(*loaded.checkpoint));
  PINGTI_RETURN_IF_ERROR(CheckFits(config, loaded));
  LogInfo("loading the model", {{"model", config.model},
                                {"device", loaded.devices.first().name},
                                {"tensor_parallel", loaded.devices.size()},
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
  PINGTI_RETURN_IF_ERROR(loaded.devices.size() == 1 ? LoadWhole(options, &loaded)
                                                    : LoadRanks(options, &loaded));
  loaded.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loaded;
}

absl::StatusOr<KvBudget> AllocateModel(const WorkerConfig& config, LoadedModel* loaded) {
  PINGTI_ASSIGN_OR_RETURN(const KvBudget budget, PlanMemory(config, *loaded));
  LogInfo("memory",
          {{"plan", budget.arithmetic}, {"max_context_tokens", budget.max_context_tokens}});
  PINGTI_RETURN_IF_ERROR(loaded->model->Allocate(budget.num_blocks, config.kv_block_tokens,
                                                 config.max_batch_tokens, config.max_batch_size));
  return budget;
}

}  // namespace pingti::worker
