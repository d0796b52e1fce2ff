#include "worker/backend/cuda/cuda_latent.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/decode_attention.h"
#include "pingti/kernels/rope_latent.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

// Steps are split for both kinds of attention alike.
static_assert(kernels::kMaxLatentDecodeTokens >= kernels::kMaxDecodeQueryTokens);

// Partial sums of a tile of rows per multiprocessor, twice: 35 MB on an H200.
constexpr int64_t kMostDecodeBytes = int64_t{64} << 20;

kernels::LatentDecodeShape DecodeLimits(const StepLimits& limits, int32_t max_decode_len) {
  kernels::LatentDecodeShape shape;
  shape.num_seqs = static_cast<int32_t>(limits.max_seqs);
  shape.num_heads = static_cast<int32_t>(limits.latent.num_heads);
  shape.max_q_len = max_decode_len;
  return shape;
}

int64_t PrefillPlanBytes(const StepLimits& limits) {
  return static_cast<int64_t>(kernels::LatentPrefillWorkspaceBytes(
      static_cast<int32_t>(limits.max_tokens), static_cast<int32_t>(limits.max_seqs)));
}

absl::Status CheckLatentLimits(const StepLimits& limits) {
  const LatentAttentionShape& shape = limits.latent;
  if (shape.latent_dim != kernels::kLatentValueDim || shape.rope_dim != kernels::kLatentRopeDim ||
      shape.num_heads > kernels::kMaxLatentHeads) {
    return absl::UnimplementedError(
        Concat("CUDA latent attention: ", shape.num_heads, " heads over ", shape.latent_dim, " + ",
               shape.rope_dim, " elements; expected at most ", kernels::kMaxLatentHeads, " over ",
               kernels::kLatentValueDim, " + ", kernels::kLatentRopeDim));
  }
  if (limits.max_seqs > kernels::kMaxLatentPrefillSeqs) {
    return absl::InvalidArgumentError(Concat("CUDA latent attention: ", limits.max_seqs,
                                             " sequences; expected at most ",
                                             kernels::kMaxLatentPrefillSeqs));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t CudaLatent::BytesFor(const StepLimits& limits) {
  return limits.latent.num_heads == 0 ? 0 : kMostDecodeBytes + PrefillPlanBytes(limits);
}

absl::Status CudaLatent::Allocate(const StepLimits& limits, int32_t max_decode_len) {
  if (limits.latent.num_heads == 0) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(CheckLatentLimits(limits));
  const kernels::LatentDecodeShape shape = DecodeLimits(limits, max_decode_len);
  size_t bytes = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LatentDecodePlanBytes(shape, &bytes));
  PINGTI_ASSIGN_OR_RETURN(decode_plan_, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LatentDecodeWorkspaceBytes(shape, &bytes));
  PINGTI_ASSIGN_OR_RETURN(decode_workspace_, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  PINGTI_ASSIGN_OR_RETURN(prefill_plan_, CudaBuffer::MakeZeroed(PrefillPlanBytes(limits)));
  return absl::OkStatus();
}

absl::Status CudaLatent::RopeAndAppend(const StepPointers& arrays, const HeadsView& q,
                                       MatrixView kv, const LatentAttentionShape& shape,
                                       const float* norm_weight, float eps,
                                       const CudaKvCache& cache, int64_t layer,
                                       const HeadsView& out, cudaStream_t stream) {
  PINGTI_CHECK(Fits(shape, cache.shape().layers[static_cast<size_t>(layer)]) &&
               kv.cols == shape.key_dim() && q.cols == shape.rope_dim &&
               out.cols == shape.rope_dim && q.heads == shape.num_heads &&
               out.heads == shape.num_heads && kv.rows == arrays.num_tokens);
  kernels::RopeLatentParams params;
  params.q = static_cast<const uint16_t*>(q.matrix.data) + q.first;
  params.q_token_stride = q.matrix.stride;
  params.q_head_stride = q.stride;
  params.out = static_cast<uint16_t*>(out.matrix.data) + out.first;
  params.out_token_stride = out.matrix.stride;
  params.out_head_stride = out.stride;
  params.latents = kv.data;
  params.latents_stride = kv.stride;
  params.norm_weight = norm_weight;
  params.norm_eps = eps;
  params.cos = arrays.cos;
  params.sin = arrays.sin;
  params.kv = cache.View(layer);
  params.slots = arrays.slots;
  params.num_tokens = static_cast<int32_t>(kv.rows);
  params.num_heads = static_cast<int32_t>(shape.num_heads);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRopeLatent(params, stream));
  return absl::OkStatus();
}

absl::Status CudaLatent::RunDecode(const StepPointers& step, const kernels::LatentTensors& tensors,
                                   cudaStream_t stream) {
  kernels::LatentDecodeParams params;
  params.tensors = tensors;
  params.tensors.num_rows = step.num_decode_tokens;
  params.shape = {step.num_decode, tensors.num_heads, step.decode_len, step.context_len,
                  step.decode_start};
  if (decode_step_ != step_) {
    PINGTI_RETURN_IF_CUDA_ERROR(
        kernels::LaunchLatentDecodePlan(params.shape, decode_plan_->data(), stream));
    decode_step_ = step_;
  }
  params.plan = decode_plan_->data();
  params.workspace = decode_workspace_->data();
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLatentDecode(params, stream));
  return absl::OkStatus();
}

absl::Status CudaLatent::RunPrefill(const StepPointers& step, const kernels::LatentTensors& tensors,
                                    cudaStream_t stream) {
  kernels::LatentPrefillParams params;
  params.tensors = tensors;
  params.tensors.q =
      static_cast<const uint16_t*>(tensors.q) + step.num_decode_tokens * tensors.q_token_stride;
  params.tensors.out =
      static_cast<uint16_t*>(tensors.out) + step.num_decode_tokens * tensors.out_token_stride;
  params.tensors.num_rows = step.num_tokens - step.num_decode_tokens;
  params.tensors.kv.block_table += step.num_decode * tensors.kv.block_table_stride;
  params.q_start = step.prefill_start;
  params.kv_len = step.context_len + step.num_decode;
  params.num_seqs = step.num_seqs - step.num_decode;
  params.workspace = prefill_plan_->data();
  params.workspace_bytes = static_cast<size_t>(prefill_plan_->bytes());
  if (prefill_step_ != step_) {
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLatentPrefillPlan(params, stream));
    prefill_step_ = step_;
  }
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLatentPrefill(params, stream));
  return absl::OkStatus();
}

absl::Status CudaLatent::Run(const StepPointers& arrays, MatrixView q,
                             const LatentAttentionShape& shape, const CudaKvCache& cache,
                             int64_t layer, MatrixView out, cudaStream_t stream) {
  PINGTI_CHECK(Fits(shape, cache.shape().layers[static_cast<size_t>(layer)]) &&
               decode_plan_ != nullptr && q.rows == arrays.num_tokens &&
               out.rows == arrays.num_tokens && q.cols == shape.num_heads * shape.key_dim() &&
               out.cols == shape.num_heads * shape.latent_dim);
  kernels::LatentTensors tensors;
  tensors.q = q.data;
  tensors.q_token_stride = q.stride;
  tensors.q_head_stride = shape.key_dim();
  tensors.out = out.data;
  tensors.out_token_stride = out.stride;
  tensors.out_head_stride = shape.latent_dim;
  tensors.num_heads = static_cast<int32_t>(shape.num_heads);
  tensors.kv = cache.View(layer);
  tensors.kv.block_table = arrays.block_table;
  tensors.kv.block_table_stride = arrays.block_table_stride;
  tensors.softmax_scale = shape.scale;
  if (arrays.num_decode > 0) PINGTI_RETURN_IF_ERROR(RunDecode(arrays, tensors, stream));
  if (arrays.num_seqs > arrays.num_decode) {
    PINGTI_RETURN_IF_ERROR(RunPrefill(arrays, tensors, stream));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
