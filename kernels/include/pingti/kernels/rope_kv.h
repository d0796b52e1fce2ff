// What stands between the qkv product and attention, in one pass: bias, q and k head norms, rotary
// embedding, and the append to the paged KV cache (int8 cache: quantized). Host only.
// Next: kv_layout.h, kernels/rope/rope_kv.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"
#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

enum class RopeStyle : uint8_t {
  kHalves,  // element i turns with i + head_dim / 2 (GPT-NeoX; Llama and Qwen as in transformers)
  kInterleaved,  // element 2i turns with 2i + 1
};

// Per token: q, k, v heads of `qkv` + bias; q and k heads normalised to rms 1 times their weight
// (when given); pair i of q and k rotated by the angle whose cosine and sine are cos[row, i],
// sin[row, i], row = positions[t] (or t without positions): any frequency scaling is in the table.
// q goes to q_out, k and v to slot slots[t] of the cache.
struct RopeKvParams {
  const void* qkv = nullptr;   // device, [num_tokens, (num_q_heads + 2 * num_kv_heads) * head_dim]
  int64_t qkv_stride = 0;      // elements between tokens, a multiple of 8
  const void* bias = nullptr;  // device, one row of qkv, its dtype; null: none
  const float* q_norm = nullptr;  // device, [head_dim]; null: none
  const float* k_norm = nullptr;  // device, [head_dim]; null: none
  float norm_eps = 1e-6f;
  const float* cos = nullptr;          // device, [rows, head_dim / 2]
  const float* sin = nullptr;          // device, same shape
  const int32_t* positions = nullptr;  // device, [num_tokens], or null
  void* q_out = nullptr;  // device, [num_tokens, num_q_heads * head_dim]; may be qkv (in place)
  int64_t q_out_stride = 0;
  // kv.k, v and scales are written (the view's const is the readers'); block_table is not used.
  // kv.dtype: `dtype`, or kI8: scale = max |row| / 127 per token and head.
  PagedKv kv;
  // page * page_tokens + offset in the page; < 0: the token is not appended (padding).
  const int64_t* slots = nullptr;  // device, [num_tokens]
  int32_t num_tokens = 0;
  int32_t num_q_heads = 0;
  RopeStyle style = RopeStyle::kHalves;
  DType dtype = DType::kBf16;  // of qkv, bias and q_out: kBf16 or kF16
};

// Computes in float. head_dim 64 or 128, all arrays 16-byte aligned. cudaErrorInvalidValue: a null
// pointer, misalignment or a bad stride; cudaErrorNotSupported: another head size or dtype.
cudaError_t LaunchRopeKv(const RopeKvParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
