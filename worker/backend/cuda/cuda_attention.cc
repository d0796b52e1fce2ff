#include "worker/backend/cuda/cuda_attention.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/decode_attention.h"
#include "pingti/kernels/kv_dequantize.h"
#include "pingti/kernels/prefill_attention.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

bool TransformsScores(const AttentionShape& shape) {
  return shape.alibi_slopes != nullptr || shape.logit_softcap != 0.0f;
}

const float* SinksOf(const AttentionShape& shape) {
  return shape.sinks == nullptr ? nullptr : static_cast<const float*>(shape.sinks->data());
}

// What the plans depend on beside the step's arrays.
bool SharePlans(const AttentionShape& a, const AttentionShape& b) {
  return a.num_heads == b.num_heads && a.num_kv_heads == b.num_kv_heads &&
         a.head_dim == b.head_dim && a.window == b.window &&
         TransformsScores(a) == TransformsScores(b);
}

}  // namespace

int64_t CudaAttention::BytesFor(const StepLimits& limits) {
  if (limits.num_heads == 0) return 0;
  constexpr int64_t kDecodeBytes = int64_t{64} << 20;
  return kDecodeBytes +
         static_cast<int64_t>(kernels::PrefillAttentionWorkspaceBytes(
             static_cast<int32_t>(limits.max_tokens), static_cast<int32_t>(limits.max_seqs)));
}

absl::Status CudaAttention::Allocate(const StepLimits& limits, int32_t max_decode_len) {
  if (limits.max_seqs > kernels::kMaxPrefillSeqs) {
    return absl::InvalidArgumentError(Concat("CUDA attention: ", limits.max_seqs,
                                             " sequences; expected at most ",
                                             kernels::kMaxPrefillSeqs));
  }
  limits_ = limits;
  max_decode_len_ = max_decode_len;
  plans_.clear();
  if (limits.num_heads == 0) return absl::OkStatus();
  return PlansFor({limits.num_heads, limits.num_kv_heads, limits.head_dim, 1.0f, 0}).status();
}

// A model has one or two kinds of layers; the second one's plans are made in its first step.
absl::StatusOr<CudaAttention::Plans*> CudaAttention::PlansFor(const AttentionShape& shape) {
  for (Plans& plans : plans_) {
    if (SharePlans(plans.shape, shape)) return &plans;
  }
  Plans plans;
  plans.shape = shape;
  kernels::DecodeShape decode;
  decode.num_seqs = static_cast<int32_t>(limits_.max_seqs);
  decode.num_q_heads = static_cast<int32_t>(shape.num_heads);
  decode.num_kv_heads = static_cast<int32_t>(shape.num_kv_heads);
  decode.max_q_len = max_decode_len_;
  size_t bytes = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(
      kernels::DecodeWorkspaceBytes(decode, static_cast<int>(shape.head_dim), &bytes));
  PINGTI_ASSIGN_OR_RETURN(plans.decode_workspace, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  PINGTI_RETURN_IF_CUDA_ERROR(
      kernels::DecodePlanBytes(decode.num_seqs, decode.num_kv_heads, &bytes));
  PINGTI_ASSIGN_OR_RETURN(plans.decode, CudaBuffer::MakeZeroed(static_cast<int64_t>(bytes)));
  bytes = kernels::PrefillAttentionWorkspaceBytes(static_cast<int32_t>(limits_.max_tokens),
                                                  static_cast<int32_t>(limits_.max_seqs));
  PINGTI_ASSIGN_OR_RETURN(plans.prefill, CudaBuffer::MakeZeroed(static_cast<int64_t>(bytes)));
  plans_.push_back(std::move(plans));
  return &plans_.back();
}

absl::Status CudaAttention::RunDecode(const StepPointers& step, MatrixView qkv,
                                      const AttentionShape& shape, const kernels::PagedKv& kv,
                                      Plans* plans, MatrixView out, cudaStream_t stream) {
  kernels::DecodeAttentionParams params;
  params.shape.num_seqs = step.num_decode;
  params.shape.max_q_len = step.decode_len;
  params.shape.q_starts = step.decode_start;
  params.shape.num_q_heads = static_cast<int32_t>(shape.num_heads);
  params.shape.num_kv_heads = static_cast<int32_t>(shape.num_kv_heads);
  params.shape.window = static_cast<int32_t>(shape.window);
  params.shape.kv_lens = step.context_len;
  if (plans->decode_step != step_) {
    PINGTI_RETURN_IF_CUDA_ERROR(
        kernels::LaunchDecodePlan(params.shape, plans->decode->data(), stream));
    plans->decode_step = step_;
  }
  params.kv = kv;
  params.plan = plans->decode->data();
  params.workspace = plans->decode_workspace->data();
  params.q = qkv.data;
  params.q_token_stride = qkv.stride;
  params.q_head_stride = shape.head_dim;
  params.out = out.data;
  params.out_token_stride = out.stride;
  params.out_head_stride = shape.head_dim;
  params.softmax_scale = shape.scale;
  params.sinks = SinksOf(shape);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchDecodeAttention(params, stream));
  return absl::OkStatus();
}

namespace {

// Makes `kv`, the prefill sequences' pages of an int8 layer, the same pages in bf16.
absl::Status WidenPages(const StepPointers& step, const CudaKvCache& cache, int64_t layer,
                        kernels::PagedKv* kv, cudaStream_t stream) {
  kernels::PagedKv widened = cache.WidenedView(layer);
  widened.block_table = kv->block_table;
  widened.block_table_stride = kv->block_table_stride;
  kernels::DequantizeKvPagesParams params;
  params.kv = *kv;
  params.k_out = const_cast<void*>(widened.k);
  params.v_out = const_cast<void*>(widened.v);
  params.kv_len = step.context_len + step.num_decode;
  params.num_seqs = step.num_seqs - step.num_decode;
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchDequantizeKvPages(params, stream));
  *kv = widened;
  return absl::OkStatus();
}

}  // namespace

absl::Status CudaAttention::RunPrefill(const StepPointers& step, MatrixView qkv,
                                       const AttentionShape& shape, const CudaKvCache& cache,
                                       int64_t layer, kernels::PagedKv kv, Plans* plans,
                                       MatrixView out, cudaStream_t stream) {
  const int64_t first = step.num_decode;
  const MatrixView q = qkv.Rows(step.num_decode_tokens, qkv.rows - step.num_decode_tokens);
  const MatrixView result = out.Rows(step.num_decode_tokens, out.rows - step.num_decode_tokens);
  kernels::PrefillAttentionParams params;
  params.q = q.data;
  params.q_token_stride = q.stride;
  params.q_head_stride = shape.head_dim;
  params.out = result.data;
  params.out_token_stride = result.stride;
  params.out_head_stride = shape.head_dim;
  kv.block_table += first * kv.block_table_stride;
  if (cache.is_int8()) {
    PINGTI_RETURN_IF_ERROR(WidenPages(step, cache, layer, &kv, stream));
  }
  params.kv = kv;
  params.num_q_heads = static_cast<int32_t>(shape.num_heads);
  params.q_start = step.prefill_start;
  params.kv_len = step.context_len + first;
  params.num_seqs = step.num_seqs - step.num_decode;
  params.total_q_tokens = step.num_tokens - step.num_decode_tokens;
  params.softmax_scale = shape.scale;
  params.window = static_cast<int32_t>(shape.window);
  params.sinks = SinksOf(shape);
  params.logit_softcap = shape.logit_softcap;
  if (shape.alibi_slopes != nullptr) {
    params.alibi_slopes = static_cast<const float*>(shape.alibi_slopes->data());
  }
  params.workspace = plans->prefill->data();
  params.workspace_bytes = static_cast<size_t>(plans->prefill->bytes());
  if (plans->prefill_step != step_) {
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchPrefillPlan(params, stream));
    plans->prefill_step = step_;
  }
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchPrefillAttention(params, stream));
  return absl::OkStatus();
}

absl::Status CudaAttention::Run(const StepPointers& arrays, MatrixView qkv,
                                const AttentionShape& shape, const CudaKvCache& cache,
                                int64_t layer, MatrixView out, cudaStream_t stream) {
  PINGTI_CHECK(Fits(shape, cache.shape().layers[static_cast<size_t>(layer)]) &&
               qkv.rows == arrays.num_tokens && out.rows == arrays.num_tokens);
  StepPointers step = arrays;
  if (TransformsScores(shape)) {
    // The prefill kernel alone can do it: it takes all sequences.
    step.num_decode = 0;
    step.num_decode_tokens = 0;
    step.prefill_start = arrays.query_start;
  }
  PINGTI_ASSIGN_OR_RETURN(Plans * plans, PlansFor(shape));
  kernels::PagedKv kv = cache.View(layer);
  kv.block_table = step.block_table;
  kv.block_table_stride = step.block_table_stride;
  if (step.num_decode > 0) {
    PINGTI_RETURN_IF_ERROR(RunDecode(step, qkv, shape, kv, plans, out, stream));
  }
  if (step.num_seqs > step.num_decode) {
    PINGTI_RETURN_IF_ERROR(RunPrefill(step, qkv, shape, cache, layer, kv, plans, out, stream));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
