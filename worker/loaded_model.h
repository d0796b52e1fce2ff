// The model that a worker serves and the devices that it runs on: opened, checked, loaded and given
// its memory, as the settings say. Used by main.cc alone, while starting; then the engine runs it.
// Next: device.h, worker/model/load_model.h, worker/model/tensor_parallel_model.h.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/adapters/adapter_store.h"
#include "worker/device.h"
#include "worker/group/leader.h"
#include "worker/group/remote_model.h"
#include "worker/model/rank_model.h"
#include "worker/server/kv_budget.h"
#include "worker/server/worker_config.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// In order of dependence.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  ServingDevices devices;
  std::unique_ptr<GroupLeader> leader;  // of a group of several processes, in process 0
  std::unique_ptr<Model> model;
  std::vector<const Model*> ranks;    // the model, or the parts of it that are in this process
  std::vector<RemoteModel*> remotes;  // the parts that are in others
  double load_seconds = 0;
};

// "int8", "stored": what dtype asks of matrix products.
std::string ComputeFormatName(ComputeFormat format);

// Opens the checkpoint. Errors: those of OpenCheckpoint; ResourceExhausted where the weights have
// no place.
absl::StatusOr<LoadedModel> OpenServedModel(const WorkerConfig& config, ServingDevices devices);

// The adapters that the settings name, read and checked; null where the model is served without
// any. Errors: those of AdapterStore::Load.
absl::StatusOr<std::unique_ptr<AdapterStore>> OpenAdapters(const WorkerConfig& config,
                                                           const Checkpoint& checkpoint);

// Has adapters that are here, and those that come, kept in the form of the model's slots: `model`
// must outlive what `store` gives out. `store` may be null. Errors: those of
// AdapterStore::PrepareWith.
absl::Status PrepareAdapters(const Model& model, AdapterStore* store);

// See GroupLeaderOptions::on_late_sign.
using OnLateSign = std::function<void(int rank, std::chrono::milliseconds gap)>;

// Loads the weights; process 0 of several waits for the others first. Errors: those of LoadModel
// and GroupLeader.
absl::Status LoadServedModel(const WorkerConfig& config, OnLateSign on_late_sign,
                             LoadedModel* loaded);
// In any other process: the shares of its ranks, which meet those of the others.
absl::StatusOr<RankModel*> LoadFollowersShare(const WorkerConfig& config,
                                              const GroupMeeting& meeting, LoadedModel* loaded);

// Equal in processes that may share a model: of the checkpoint and of the settings that change what
// is computed.
std::string GroupFingerprint(const WorkerConfig& config, const Checkpoint& checkpoint);

// How many KV blocks there is room for, in this process. Errors: ResourceExhausted with the
// arithmetic, naming the rank of several.
absl::StatusOr<KvBudget> PlanMemory(const WorkerConfig& config, const LoadedModel& loaded);

// Allocates the KV cache and the workspace. Every rank has as many blocks as the one with the least
// room. Errors: ResourceExhausted with the arithmetic, naming the rank of several.
absl::StatusOr<KvBudget> AllocateModel(const WorkerConfig& config, LoadedModel* loaded);

}  // namespace pingti::worker
