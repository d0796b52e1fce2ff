#include "worker/loaded_model.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "common/base/log.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/base/version.h"
#include "worker/model/adapter_weights.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/open_draft_head.h"
#include "worker/model/tensor_parallel_model.h"
#include "worker/server/model_card.h"
#include "worker/text/model_text.h"
#include "worker/weights/weights_digest.h"

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

AdapterLimits AdapterLimitsOf(const WorkerConfig& config) {
  if (config.loras.empty() && !config.allow_runtime_lora_updating) return {};
  return {config.max_loras, config.max_lora_rank};
}

LoadOptions LoadOptionsOf(const WorkerConfig& config) {
  LoadOptions options;
  options.format = FormatOf(config.dtype);
  options.wide_vocabulary = config.embedding_dtype == EmbeddingFormat::kBf16;
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) options.kv_format = KvFormat::kInt8;
  options.max_context_tokens = config.max_context_tokens;
  if (config.enable_expert_parallel) options.expert_split = ExpertSplit::kExperts;
  options.gathers_logits = config.world_size > 1;
  options.adapters = AdapterLimitsOf(config);
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
  const int ranks = config.tensor_parallel;
  PINGTI_ASSIGN_OR_RETURN(const int64_t weights,
                          EstimateRankBytes(*loaded.checkpoint, LoadOptionsOf(config), ranks));
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

using JoinRank = std::function<absl::Status(int rank)>;

// `join` makes the communicator of a rank of this process, on its thread; null: it is made. In
// process 0 of several, the threads behind the ranks' tell the followers to `start`.
absl::StatusOr<RankModel*> LoadRanks(const LoadOptions& options, const JoinRank& join,
                                     const v1::Command::Start& start, LoadedModel* loaded) {
  RankGroup* const group = loaded->devices.group.get();
  loaded->remotes.resize(static_cast<size_t>(group->threads()->size() - group->size()));
  const auto load_rank = [&](int rank) -> absl::StatusOr<std::unique_ptr<RankModel>> {
    if (const int process = rank - group->size() + 1; process > 0) {
      PINGTI_ASSIGN_OR_RETURN(auto remote,
                              RemoteModel::Load(loaded->leader->follower(process), start));
      loaded->remotes[static_cast<size_t>(process - 1)] = remote.get();
      return remote;
    }
    if (join) PINGTI_RETURN_IF_ERROR(join(rank));
    LoadOptions own = options;
    if (rank != 0) own.progress = nullptr;
    return LoadRank(*loaded->checkpoint, group->device(rank).backend.get(), own,
                    group->TakeCommunicator(rank));
  };
  const auto release = [&] {
    for (size_t process = 1; process <= loaded->remotes.size(); ++process) {
      loaded->leader->follower(static_cast<int>(process))->Abort();
    }
  };
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<TensorParallelModel> model,
                          TensorParallelModel::Load(group->threads(), load_rank, release));
  for (int rank = 0; rank < group->size(); ++rank) loaded->ranks.push_back(&model->rank(rank));
  RankModel* const result = model.get();
  loaded->model = std::move(model);
  return result;
}

// Process 0: takes in the others, and says where everyone is.
absl::StatusOr<v1::Command::Start> GatherFollowers(const WorkerConfig& config,
                                                   OnLateSign on_late_sign, LoadedModel* loaded) {
  GroupLeaderOptions options;
  options.server.address = config.address;
  options.server.port = config.group_port;
  options.world_size = config.world_size;
  options.fingerprint = GroupFingerprint(config, *loaded->checkpoint);
  options.patience = PatienceFor(config.rank_timeout);
  options.on_late_sign = std::move(on_late_sign);
  PINGTI_ASSIGN_OR_RETURN(loaded->leader, GroupLeader::Start(options));
  LogInfo("waiting for the other processes of the group",
          {{"world_size", config.world_size}, {"group_port", loaded->leader->port()}});
  PINGTI_RETURN_IF_ERROR(loaded->leader->WaitForFollowers(config.group_timeout));
  v1::Command::Start start;
  start.set_group_id(RandomId("group-", OsEntropy()));
  PINGTI_ASSIGN_OR_RETURN(*start.mutable_nccl_id(), loaded->devices.group->MakeNcclId());
  for (const uint16_t port : loaded->devices.group->peer_ports()) {
    start.add_peer_addresses(Concat(":", port));
  }
  for (int process = 1; process < config.world_size; ++process) {
    for (const std::string& address : loaded->leader->peer_addresses(process)) {
      start.add_peer_addresses(address);
    }
  }
  return start;
}

GroupMeeting MeetingOf(const v1::Command::Start& start) {
  return {start.group_id(),
          {start.peer_addresses().begin(), start.peer_addresses().end()},
          start.nccl_id()};
}

absl::Status LoadShared(const WorkerConfig& config, const LoadOptions& options,
                        OnLateSign on_late_sign, LoadedModel* loaded) {
  if (config.world_size == 1) return LoadRanks(options, nullptr, {}, loaded).status();
  PINGTI_ASSIGN_OR_RETURN(const v1::Command::Start start,
                          GatherFollowers(config, std::move(on_late_sign), loaded));
  const GroupMeeting meeting = MeetingOf(start);
  const auto join = [&](int rank) { return loaded->devices.group->Meet(rank, meeting); };
  return LoadRanks(options, join, start, loaded).status();
}

LoadOptions WithProgress(LoadOptions options) {
  options.progress = [next_percent = int64_t{25}](int64_t done, int64_t total) mutable {
    if (total <= 0 || done * 100 / total < next_percent) return;
    LogInfo("loading the model", {{"percent", done * 100 / total}});
    next_percent += 25;
  };
  return options;
}

absl::Status LoadWhole(const LoadOptions& options, LoadedModel* loaded) {
  PINGTI_ASSIGN_OR_RETURN(loaded->model, LoadModel(*loaded->checkpoint,
                                                   loaded->devices.first().backend.get(), options));
  loaded->ranks = {loaded->model.get()};
  return absl::OkStatus();
}

// The head that reads the model's states, if the settings name one.
absl::StatusOr<std::optional<OpenedDraftHead>> OpenHead(const WorkerConfig& config,
                                                        const Checkpoint& model) {
  std::optional<OpenedDraftHead> head;
  if (config.speculation == Speculation::kEagle3) {
    PINGTI_ASSIGN_OR_RETURN(head, OpenDraftHead(config.draft_model, model.spec(),
                                                config.load_format == LoadFormat::kDummy));
    LogInfo("draft head", {{"path", config.draft_model},
                           {"parameters", head->checkpoint->num_parameters()},
                           {"own_vocabulary", head->spec.own_vocabulary}});
  } else if (config.speculation == Speculation::kMtp) {
    PINGTI_ASSIGN_OR_RETURN(head, OpenMtpModule(model));
    LogInfo("draft head", {{"module", model.spec().mtp->projection}});
  }
  return head;
}

// What the memory at `place` (a rank's GPU, or the host) holds of the model: of `parts`.
KvBudgetInputs InputsFor(const WorkerConfig& config, const LoadedModel& loaded, int place,
                         const std::vector<const Model*>& parts) {
  KvBudgetInputs in;
  in.available_bytes = loaded.devices.memory_bytes(place);
  in.memory_fraction = config.gpu_memory_fraction;
  in.weight_bytes = loaded.devices.TakenBytes(place);
  in.kv_memory = config.kv_memory;
  if (!loaded.devices.first().is_gpu) {
    in.kv_cap = kCpuKvCap;
    // Other processes come and go meanwhile, so the file's size is the least that is believed.
    in.weight_bytes =
        std::max(in.weight_bytes, loaded.checkpoint->weight_bytes() / config.world_size);
  }
  for (const Model* part : parts) {
    in.workspace_bytes += part->WorkspaceBytes(config.max_batch_tokens, config.max_batch_size);
    in.bytes_per_block += part->KvBytesPerBlock(config.kv_block_tokens);
  }
  in.block_tokens = config.kv_block_tokens;
  in.model_context = loaded.checkpoint->spec().max_context;
  in.max_context_tokens = config.max_context_tokens;
  in.max_batch_size = config.max_batch_size;
  return in;
}

// The least of this process's plan and the followers'.
absl::StatusOr<KvBudget> PlanGroupsMemory(const WorkerConfig& config, const LoadedModel& loaded) {
  PINGTI_ASSIGN_OR_RETURN(KvBudget least, PlanMemory(config, loaded));
  for (size_t i = 0; i < loaded.remotes.size(); ++i) {
    const absl::StatusOr<RemoteMemory> memory = loaded.remotes[i]->PlanMemory();
    if (!memory.ok()) {
      return absl::Status(memory.status().code(),
                          Concat("rank ", i + 1, " of ", config.world_size,
                                 " processes: ", std::string(memory.status().message())));
    }
    LogInfo("memory of another process", {{"plan", memory->arithmetic}});
    if (memory->num_blocks >= least.num_blocks) continue;
    least = {memory->num_blocks, memory->max_context_tokens, memory->arithmetic};
  }
  return least;
}

}  // namespace

std::string ComputeFormatName(ComputeFormat format) {
  return std::string(WeightFormatName(FormatOf(format)));
}

absl::StatusOr<LoadedModel> OpenServedModel(const WorkerConfig& config, ServingDevices devices) {
  LoadedModel loaded;
  loaded.devices = std::move(devices);
  PINGTI_ASSIGN_OR_RETURN(loaded.checkpoint, config.load_format == LoadFormat::kDummy
                                                 ? OpenRandomCheckpoint(config.model)
                                                 : OpenCheckpoint(config.model));
  PINGTI_RETURN_IF_ERROR(CheckTexts(*loaded.checkpoint));
  PINGTI_RETURN_IF_ERROR(CheckFits(config, loaded));
  LogInfo("loading the model", {{"model", config.model},
                                {"device", loaded.devices.first().name},
                                {"tensor_parallel", config.tensor_parallel},
                                {"expert_parallel", config.enable_expert_parallel},
                                {"architecture", loaded.checkpoint->spec().architecture},
                                {"parameters", loaded.checkpoint->num_parameters()},
                                {"format", loaded.checkpoint->dominant_format()}});
  return loaded;
}

absl::StatusOr<std::unique_ptr<AdapterStore>> OpenAdapters(const WorkerConfig& config,
                                                           const Checkpoint& checkpoint) {
  const AdapterLimits limits = AdapterLimitsOf(config);
  if (limits.max_adapters == 0) return nullptr;
  std::vector<std::string> own = config.model_aliases;
  own.push_back(ServedModelId(config.model_id, config.model));
  auto store = std::make_unique<AdapterStore>(
      [declared = DeclaredWeights(checkpoint.spec()), limits, own](const Adapter& adapter) {
        if (std::find(own.begin(), own.end(), adapter.name) != own.end()) {
          return absl::InvalidArgumentError(
              Concat("adapter '", adapter.name, "' has a name of the model itself"));
        }
        return CheckAdapter(adapter, declared, limits);
      },
      static_cast<size_t>(config.max_cpu_loras));
  for (const std::string& setting : config.loras) {
    PINGTI_ASSIGN_OR_RETURN(const auto parts, SplitAdapterSetting(setting));
    PINGTI_ASSIGN_OR_RETURN(const AdapterPtr adapter, store->Load(parts.first, parts.second));
    LogInfo("adapter loaded", {{"adapter", adapter->name},
                               {"path", adapter->path},
                               {"id", adapter->id},
                               {"rank", adapter->max_rank()},
                               {"modules", adapter->modules.size()}});
  }
  return store;
}

absl::Status PrepareAdapters(const Model& model, AdapterStore* store) {
  if (store == nullptr) return absl::OkStatus();
  return store->PrepareWith(
      [&model](const Adapter& adapter) { return model.PrepareAdapter(adapter); });
}

absl::Status LoadServedModel(const WorkerConfig& config, OnLateSign on_late_sign,
                             LoadedModel* loaded) {
  const auto begin = std::chrono::steady_clock::now();
  LoadOptions options = WithProgress(LoadOptionsOf(config));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<OpenedDraftHead> head,
                          OpenHead(config, *loaded->checkpoint));
  if (head.has_value()) options.draft_head = &*head;
  PINGTI_RETURN_IF_ERROR(config.tensor_parallel == 1
                             ? LoadWhole(options, loaded)
                             : LoadShared(config, options, std::move(on_late_sign), loaded));
  loaded->load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return absl::OkStatus();
}

absl::StatusOr<RankModel*> LoadFollowersShare(const WorkerConfig& config,
                                              const GroupMeeting& meeting, LoadedModel* loaded) {
  const auto join = [&](int rank) { return loaded->devices.group->Meet(rank, meeting); };
  LoadOptions options = WithProgress(LoadOptionsOf(config));
  OpenedDraftHead module;
  if (config.speculation == Speculation::kMtp) {
    // What the module reads, all ranks add up.
    PINGTI_ASSIGN_OR_RETURN(module, OpenMtpModule(*loaded->checkpoint));
    options.draft_head = &module;
  }
  return LoadRanks(options, join, {}, loaded);
}

std::string GroupFingerprint(const WorkerConfig& config, const Checkpoint& checkpoint) {
  return Concat(Version(), " ", WeightsDigest(checkpoint), " ", ComputeFormatName(config.dtype),
                " ", static_cast<int>(config.embedding_dtype), " ",
                static_cast<int>(config.kv_cache_dtype), " ", config.kv_block_tokens, " ",
                config.max_batch_tokens, " ", config.max_batch_size, " ", config.max_context_tokens,
                " ", config.tensor_parallel, " ", config.enable_expert_parallel, " ",
                config.speculation == Speculation::kMtp);
}

absl::StatusOr<KvBudget> PlanMemory(const WorkerConfig& config, const LoadedModel& loaded) {
  if (loaded.ranks.size() == 1 || !loaded.devices.first().is_gpu) {
    return PlanKvMemory(InputsFor(config, loaded, 0, loaded.ranks));
  }
  std::optional<KvBudget> least;
  for (int rank = 0; rank < loaded.devices.size(); ++rank) {
    const std::string name = Concat("rank ", rank, " of ", loaded.devices.size(), ": ");
    auto budget =
        PlanKvMemory(InputsFor(config, loaded, rank, {loaded.ranks[static_cast<size_t>(rank)]}));
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

absl::StatusOr<KvBudget> AllocateModel(const WorkerConfig& config, LoadedModel* loaded) {
  PINGTI_ASSIGN_OR_RETURN(const KvBudget budget, PlanGroupsMemory(config, *loaded));
  LogInfo("memory",
          {{"plan", budget.arithmetic}, {"max_context_tokens", budget.max_context_tokens}});
  PINGTI_RETURN_IF_ERROR(loaded->model->Allocate(budget.num_blocks, config.kv_block_tokens,
                                                 config.max_batch_tokens, config.max_batch_size));
  return budget;
}

}  // namespace pingti::worker
