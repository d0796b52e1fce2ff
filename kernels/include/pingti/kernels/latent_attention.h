// Latent attention (MLA) over a paged cache of latents, in its absorbed form: every head reads the
// same 576 elements per token, and the first 512 of them are the values, too.
//
//   out[i, h] = sum_j softmax_j(softmax_scale * q[i, h] . c[j]) c[j][0 .. 511]
//
// over the tokens j that query i may see: the query at position p sees j <= p. The cache holds c in
// bf16, or its first 512 elements in int8 with scales.
// Source: DeepSeek-V2 (arXiv:2405.04434), section 2.1 and appendix C.
//
// Two forms of one kernel. Decode: one to eight query tokens per sequence, the latents of a
// sequence shared out among blocks; lengths come from device memory, so a captured graph replays
// with new ones. Prefill: any number of query tokens. Each has a plan, made once per step and
// shared by its layers. Thread-safe: launches share nothing but the buffers that they are given.
// sm_90a alone. Next: kv_layout.h (the cache), kernels/attention/latent/kernel.cuh (the kernel).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

inline constexpr int kLatentValueDim = 512;
inline constexpr int kLatentRopeDim = 64;
inline constexpr int kLatentKeyDim = kLatentValueDim + kLatentRopeDim;
inline constexpr int kMaxLatentHeads = 128;
inline constexpr int kMaxLatentDecodeTokens = 8;  // query tokens per sequence
inline constexpr int kMaxLatentDecodeSeqs = 8192;
inline constexpr int kMaxLatentPrefillSeqs = 4096;

// Pages of latents, as PagedKv's k tells them: v and the scales of keys are not used, there is one
// KV head, and head_dim is 576.
// kBf16: rows of 576 elements.
// kI8: page_tokens rows of 640 bytes, 512 int8 and behind them the rotated 64 in bf16; then
// page_tokens times the 8 scales of a row, in bf16, one per 64 elements. A latent is scale * int8,
// rounded to bf16.
inline constexpr int kLatentScaleGroup = 64;
inline constexpr int kLatentScales = kLatentValueDim / kLatentScaleGroup;
inline constexpr int kLatentInt8RowBytes = kLatentValueDim + 2 * kLatentRopeDim;
inline constexpr int kLatentInt8Bytes = kLatentInt8RowBytes + 2 * kLatentScales;  // of a token

// Fills sizes and strides of dense pages; dtype and page_tokens are given. Strides of kI8 count
// bytes.
inline void SetLatentStrides(PagedKv* kv) {
  const bool is_int8 = kv->dtype == DType::kI8;
  kv->num_kv_heads = 1;
  kv->head_dim = kLatentKeyDim;
  kv->token_stride = is_int8 ? kLatentInt8RowBytes : kLatentKeyDim;
  kv->head_stride = kv->page_tokens * (is_int8 ? kLatentInt8Bytes : kLatentKeyDim);
  kv->page_stride = kv->head_stride;
}

// Whether sizes and strides are those that SetLatentStrides sets.
inline bool HasDenseLatents(const PagedKv& kv) {
  PagedKv dense = kv;
  SetLatentStrides(&dense);
  return kv.num_kv_heads == 1 && kv.head_dim == kLatentKeyDim &&
         kv.token_stride == dense.token_stride && kv.page_stride == dense.page_stride;
}

// What both forms read and write. Strides count elements.
struct LatentTensors {
  const void* q = nullptr;     // device, bf16 [num_rows, num_heads, 576], 16-byte aligned
  int64_t q_token_stride = 0;  // multiples of 8
  int64_t q_head_stride = 0;
  void* out = nullptr;           // device, bf16 [num_rows, num_heads, 512], 16-byte aligned
  int64_t out_token_stride = 0;  // multiples of 8
  int64_t out_head_stride = 0;
  int32_t num_rows = 0;   // query tokens that q and out have
  int32_t num_heads = 0;  // 1 .. kMaxLatentHeads
  // Pages of latents; page_tokens 16..256. Strides: kBf16 multiples of 8; kI8 those of dense pages.
  PagedKv kv;
  float softmax_scale = 0.0f;
};

// What the decode plan depends on.
struct LatentDecodeShape {
  int32_t num_seqs = 0;   // 0 .. kMaxLatentDecodeSeqs
  int32_t num_heads = 0;  // as in LatentTensors
  int32_t max_q_len = 1;  // 1 .. kMaxLatentDecodeTokens query tokens per sequence
  // Tokens of each sequence in the cache, the new ones included. 0 marks an unused slot, whose rows
  // of `out` become zero.
  const int32_t* kv_lens = nullptr;  // device, [num_seqs]
  // First row of each sequence in q and out, as in decode_attention.h; null: max_q_len rows each.
  const int32_t* q_starts = nullptr;  // device, [num_seqs + 1] or null
};

// Bytes of the plan (32-byte aligned) and of the workspace for partial results (16-byte aligned),
// for any step of up to so many sequences and query tokens, on the current device. Neither needs
// initialisation; launches of one stream may share them.
cudaError_t LatentDecodePlanBytes(const LatentDecodeShape& shape, size_t* bytes);
cudaError_t LatentDecodeWorkspaceBytes(const LatentDecodeShape& shape, size_t* bytes);

// Writes the plan of a step. cudaErrorInvalidValue: a shape outside the ranges above, a null
// pointer.
cudaError_t LaunchLatentDecodePlan(const LatentDecodeShape& shape, void* plan, cudaStream_t stream);

struct LatentDecodeParams {
  LatentTensors tensors;
  LatentDecodeShape shape;     // as given to LaunchLatentDecodePlan
  const void* plan = nullptr;  // device, its result
  void* workspace = nullptr;   // device, LatentDecodeWorkspaceBytes
};

// Sums are f32; P is rounded to bf16 before it multiplies the values. Deterministic for one plan.
// Neither allocates nor synchronises. cudaErrorInvalidValue: a null pointer, misalignment, or a
// size outside the ranges above; cudaErrorNotSupported: a device that is not sm_90, or a cache of
// another type or head_dim.
cudaError_t LaunchLatentDecode(const LatentDecodeParams& params, cudaStream_t stream);

struct LatentPrefillParams {
  LatentTensors tensors;
  // Sequence s owns the rows [q_start[s], q_start[s + 1]) of q and out.
  const int32_t* q_start = nullptr;  // device, [num_seqs + 1], from 0 to at most num_rows
  const int32_t* kv_len = nullptr;   // device, [num_seqs], the new tokens included
  int32_t num_seqs = 0;              // at most kMaxLatentPrefillSeqs
  // LatentPrefillWorkspaceBytes, 256-byte aligned: the plan's result. Launches that run at the same
  // time need one each.
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

// For any batch of at most so many query tokens and sequences.
size_t LatentPrefillWorkspaceBytes(int32_t num_rows, int32_t num_seqs);

// Orders the work of a batch: reads q_start and kv_len, writes workspace; of the tensors only
// num_rows and num_heads matter. Errors as for LaunchLatentDecodePlan.
cudaError_t LaunchLatentPrefillPlan(const LatentPrefillParams& params, cudaStream_t stream);

// Runs a planned batch; rows of `out` past q_start's last entry are not written. Errors and
// accuracy as for LaunchLatentDecode.
cudaError_t LaunchLatentPrefill(const LatentPrefillParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
