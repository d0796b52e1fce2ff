#include "tools/profile/profiled_model.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"
#include "worker/model/tensor_parallel_model.h"

namespace pingti::tools {
namespace {

worker::LoadOptions LoadOptionsOf(const ProfileOptions& options) {
  worker::LoadOptions load;
  load.format = options.format;
  load.kv_format = options.kv_format;
  if (options.expert_parallel) load.expert_split = worker::ExpertSplit::kExperts;
  return load;
}

// A GPU's memory is what it is, and cudaMalloc says only which piece came too late.
absl::Status CheckWeightsFit(const worker::Checkpoint& checkpoint, const ProfileOptions& options,
                             const worker::Device& device) {
  if (!device.is_gpu) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const int64_t taken, worker::TakenGpuBytes(device.gpu_index));
  PINGTI_ASSIGN_OR_RETURN(
      const int64_t weights,
      worker::EstimateRankBytes(checkpoint, LoadOptionsOf(options), options.tensor_parallel));
  if (weights <= device.memory_bytes - taken) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      Concat("the model does not fit: weights of about ", weights >> 20, " MiB",
             options.tensor_parallel == 1 ? "" : " on each GPU", "; ", device.name, " has ",
             (device.memory_bytes - taken) >> 20, " MiB free"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProfiledModel>> ProfiledModel::Load(
    const ProfileOptions& options, const worker::Checkpoint& checkpoint, const Clock* clock) {
  std::unique_ptr<ProfiledModel> made(new ProfiledModel());
  PINGTI_RETURN_IF_ERROR(made->OpenDevices(options));
  PINGTI_RETURN_IF_ERROR(CheckWeightsFit(checkpoint, options, made->device()));
  made->backend_ = std::make_unique<ProfilingBackend>(
      made->device().backend.get(), worker::DeclaredWeights(checkpoint.spec()), clock);
  if (made->group_ != nullptr) {
    PINGTI_RETURN_IF_ERROR(made->LoadRanks(options, checkpoint));
    return made;
  }
  PINGTI_ASSIGN_OR_RETURN(
      made->model_, worker::LoadModel(checkpoint, made->backend_.get(), LoadOptionsOf(options)));
  made->timed_ = made->model_.get();
  return made;
}

absl::Status ProfiledModel::OpenDevices(const ProfileOptions& options) {
  const worker::DeviceRequest request{options.device, options.gpu_index, options.threads};
  if (options.tensor_parallel > 1) {
    PINGTI_ASSIGN_OR_RETURN(group_, worker::RankGroup::Open(request, options.tensor_parallel));
  } else {
    PINGTI_ASSIGN_OR_RETURN(one_, worker::ChooseDevice(request));
  }
  return absl::OkStatus();
}

absl::Status ProfiledModel::LoadRanks(const ProfileOptions& options,
                                      const worker::Checkpoint& checkpoint) {
  using Part = std::unique_ptr<worker::RankModel>;
  const auto load_rank = [&](int rank) -> absl::StatusOr<Part> {
    std::unique_ptr<worker::Communicator> comm = group_->TakeCommunicator(rank);
    worker::Backend* backend = group_->device(rank).backend.get();
    if (rank == 0) {
      backend = backend_.get();
      comm = backend_->Timed(std::move(comm));
    }
    return worker::LoadRank(checkpoint, backend, LoadOptionsOf(options), std::move(comm));
  };
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<worker::TensorParallelModel> model,
                          worker::TensorParallelModel::Load(group_->threads(), load_rank, [] {}));
  timed_ = &model->rank(0);
  model_ = std::move(model);
  return absl::OkStatus();
}

absl::Status ProfiledModel::Allocate(const ProfileOptions& options, int32_t num_blocks,
                                     int32_t max_tokens) {
  const int32_t block_tokens = device().BestKvBlockTokens();
  if (device().is_gpu) {
    PINGTI_ASSIGN_OR_RETURN(const int64_t taken, worker::TakenGpuBytes(device().gpu_index));
    const int64_t free = device().memory_bytes - taken;
    const int64_t kv = num_blocks * timed_->KvBytesPerBlock(block_tokens);
    const int64_t workspace = timed_->WorkspaceBytes(max_tokens, options.batch);
    if (kv + workspace > free) {
      return absl::ResourceExhaustedError(Concat(
          "batch ", options.batch, " with context ", options.context, " does not fit: ", kv >> 20,
          " MiB of keys and values and ", workspace >> 20, " MiB for steps of ", max_tokens,
          " tokens; ", device().name, " has ", free >> 20, " MiB free beside the weights"));
    }
  }
  return model_->Allocate(num_blocks, block_tokens, max_tokens, options.batch);
}

}  // namespace pingti::tools
