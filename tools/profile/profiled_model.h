// The model that a profile runs, on one device or on one for each rank of a tensor-parallel group.
// Of a group, rank 0 is timed, on its thread; the others run as they would in a worker. Confined to
// one thread. Next: profiling_backend.h, step_profile.h.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "tools/profile/profiling_backend.h"
#include "tools/profile/step_profile.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/comm/choose/rank_group.h"
#include "worker/model/model.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {

class ProfiledModel {
 public:
  // `checkpoint` must outlive it. Errors: those of the devices and of loading; ResourceExhausted
  // with the arithmetic where the weights do not fit a GPU.
  static absl::StatusOr<std::unique_ptr<ProfiledModel>> Load(const ProfileOptions& options,
                                                             const worker::Checkpoint& checkpoint,
                                                             const Clock* clock);

  // Room for a profile's steps. Errors: ResourceExhausted with the arithmetic.
  absl::Status Allocate(const ProfileOptions& options, int32_t num_blocks, int32_t max_tokens);

  worker::Model* model() { return model_.get(); }
  ProfilingBackend* backend() { return backend_.get(); }
  const worker::Device& device() const { return group_ == nullptr ? one_ : group_->device(0); }

 private:
  ProfiledModel() = default;
  absl::Status OpenDevices(const ProfileOptions& options);
  absl::Status LoadRanks(const ProfileOptions& options, const worker::Checkpoint& checkpoint);

  // In order of dependence.
  worker::Device one_;                        // without a group
  std::unique_ptr<worker::RankGroup> group_;  // null: `one_`
  std::unique_ptr<ProfilingBackend> backend_;
  std::unique_ptr<worker::Model> model_;
  const worker::Model* timed_ = nullptr;  // the model, or rank 0's part of it
};

}  // namespace pingti::tools
