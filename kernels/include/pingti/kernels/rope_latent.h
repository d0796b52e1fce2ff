// What stands between the products and latent attention (latent_attention.h), in one pass: the
// latent's norm, the rotation of the key that all heads share and of the queries, the append to the
// cache. Host only. Next: kv_layout.h, kernels/rope/rope_latent.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

// Per token t: the first 512 elements of its row of `latents`, normalised to rms 1 times
// norm_weight, and the 64 behind them, rotated, go to slot slots[t] of the cache (to kI8 pages the
// 512 as int8: of each 64, scale = the largest magnitude / 127, rounded up to bf16); the 64
// elements of each head of `q` go to `out`, rotated. Rotation turns element 2i with 2i + 1 by the
// angle whose cosine and sine are cos[t, i], sin[t, i]. Strides count elements.
struct RopeLatentParams {
  const void* q = nullptr;             // device, bf16 [num_tokens, num_heads, 64], 4-byte aligned
  int64_t q_token_stride = 0;          // even
  int64_t q_head_stride = 0;           // even
  void* out = nullptr;                 // device, bf16, same shape; not q
  int64_t out_token_stride = 0;        // even
  int64_t out_head_stride = 0;         // even
  const void* latents = nullptr;       // device, bf16 [num_tokens, 576], 16-byte aligned
  int64_t latents_stride = 0;          // a multiple of 8
  const float* norm_weight = nullptr;  // device, [512], 16-byte aligned
  float norm_eps = 1e-6f;
  const float* cos = nullptr;  // device, [num_tokens, 32]
  const float* sin = nullptr;  // device, same shape
  // Pages of latents (latent_attention.h); kv.k is written (the view's const is the readers').
  // Strides: kBf16 multiples of 8; kI8 those of dense pages. block_table is not used.
  PagedKv kv;
  // page * page_tokens + offset in the page; < 0: the token is not appended (padding).
  const int64_t* slots = nullptr;  // device, [num_tokens]
  int32_t num_tokens = 0;
  int32_t num_heads = 0;
};

// Computes in float; each result is rounded once, an int8 one to the nearest.
// cudaErrorInvalidValue: a null pointer, misalignment or a bad stride; cudaErrorNotSupported: a
// cache of another type or head_dim.
cudaError_t LaunchRopeLatent(const RopeLatentParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
