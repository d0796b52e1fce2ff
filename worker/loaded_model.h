// The model that a worker serves and the devices that it runs on: opened, checked, loaded and given
// its memory, as the settings say. Used by main.cc alone, while starting; then the engine runs it.
// Next: device.h, worker/model/load_model.h, worker/model/tensor_parallel_model.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/device.h"
#include "worker/model/model.h"
#include "worker/server/kv_budget.h"
#include "worker/server/worker_config.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// In order of dependence.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  ServingDevices devices;
  std::unique_ptr<Model> model;
  std::vector<const Model*> ranks;  // the model, or the parts of which it is made; by rank
  double load_seconds = 0;
};

// "int8", "stored": what dtype asks of matrix products.
std::string ComputeFormatName(ComputeFormat format);

// Errors: those of OpenCheckpoint and LoadModel; ResourceExhausted, before anything is loaded,
// where the weights have no place.
absl::StatusOr<LoadedModel> LoadServedModel(const WorkerConfig& config, ServingDevices devices);

// Allocates the KV cache and the workspace. Every rank has as many blocks as the one with the least
// room. Errors: ResourceExhausted with the arithmetic, naming the rank of several.
absl::StatusOr<KvBudget> AllocateModel(const WorkerConfig& config, LoadedModel* loaded);

}  // namespace pingti::worker
