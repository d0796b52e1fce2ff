// Attention of new tokens over a paged KV cache that already holds them and what came before
// (prefill, chunked prefill, prefix hits): variable lengths in one launch.
//
//   o[i, h] = sum_j softmax_j(softmax_scale * q[i, h] . k[j, g]) v[j, g]     g = h / (heads ratio)
//
// over the keys j < kv_len that query i may see. Query i of a sequence sits at position
// p = kv_len - q_len + i: causal keeps j <= p, a window keeps j > p - window. A query that sees no
// key gets zeros. Scores may be transformed before the softmax: capped, or with ALiBi added.
// Source: Dao et al., FlashAttention-2 (alg. 1) and FlashAttention-3 (sections 3.1 and 3.2,
// arXiv:2407.08608).
//
// Two launches: the plan orders the work of one step on the device, and every layer of that step
// uses it. Thread-safe: launches share nothing but the workspace they are given.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "pingti/kernels/dtype.h"
#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

// All pointers are device memory. Strides count elements.
struct PrefillAttentionParams {
  const void* q = nullptr;     // [total_q_tokens, num_q_heads, head_dim], 16-byte aligned
  int64_t q_token_stride = 0;  // multiples of 8
  int64_t q_head_stride = 0;
  void* out = nullptr;           // [total_q_tokens, num_q_heads, head_dim], 16-byte aligned
  int64_t out_token_stride = 0;  // multiples of 8
  int64_t out_head_stride = 0;

  PagedKv kv;               // head_dim 64 or 128, dtype kBf16: also the type of q and out
  int32_t num_q_heads = 0;  // a multiple of kv.num_kv_heads

  // Sequence s owns the rows [q_start[s], q_start[s + 1]) of q and out.
  const int32_t* q_start = nullptr;  // [num_seqs + 1], from 0 to at most total_q_tokens
  const int32_t* kv_len = nullptr;   // [num_seqs], tokens in the cache, the new ones included
  int32_t num_seqs = 0;              // at most kMaxPrefillSeqs
  int32_t total_q_tokens = 0;        // rows of q and out; q_start's last entry may be smaller

  float softmax_scale = 0;  // > 0; usually 1 / sqrt(head_dim)
  bool causal = true;
  int32_t window = 0;  // keys a query sees, itself included; 0: all. Needs causal.

  // [num_q_heads]: one more score per head, of no key, that takes part in its softmax; null: none.
  const float* sinks = nullptr;

  // Transforms of scaled scores, which need kBf16 and take the portable kernel on every card.
  float logit_softcap = 0;              // not 0: s becomes logit_softcap * tanh(s / logit_softcap)
  const float* alibi_slopes = nullptr;  // [num_q_heads]: slope * (j - p) is added; null: none

  // PrefillAttentionWorkspaceBytes() bytes, 256-byte aligned; the plan's result. Launches that run
  // at the same time need one each.
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

inline constexpr int32_t kMaxPrefillSeqs = 4096;

// Workspace for any batch of at most this many rows and sequences.
size_t PrefillAttentionWorkspaceBytes(int32_t total_q_tokens, int32_t num_seqs);

// Orders the work of a batch: reads q_start and kv_len, writes workspace. Of `params`, only the
// lengths, counts, head numbers, head_dim, dtype, causal, window and whether scores are transformed
// matter. Once for all layers
// that share them.
cudaError_t LaunchPrefillPlan(const PrefillAttentionParams& params, cudaStream_t stream);

// Runs a planned batch. Neither allocates nor synchronises; no rows or no sequences is a success
// that does nothing. Rows of `out` past q_start's last entry are not written. cudaErrorInvalidValue
// names a broken condition above; cudaErrorNotSupported a device older than sm_80, a head_dim or a
// dtype.
cudaError_t LaunchPrefillAttention(const PrefillAttentionParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
