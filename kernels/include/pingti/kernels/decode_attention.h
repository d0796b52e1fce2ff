// Paged decode attention: one to eight query tokens per sequence against a paged KV cache, every
// sequence of a batch in one launch whatever its length. Owns nothing; host only.
//
// Use, once a step:   LaunchDecodePlan            deals the KV tiles of the step out to workers
//      once a layer:  LaunchDecodeAttention       reads that plan
// Both take lengths from device memory, so a captured graph replays with new lengths.
// Next: kv_layout.h (the cache), kernels/attention/decode/kernel.cuh (the kernel).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "pingti/kernels/dtype.h"
#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

inline constexpr int kMaxDecodeQueryTokens = 8;
inline constexpr int kMaxDecodeRows = 128;  // query tokens x (query heads / KV heads)
inline constexpr int kMaxDecodeSequences = 8192;

// What the plan depends on: equal for all layers that share a plan.
struct DecodeShape {
  int32_t num_seqs = 0;     // 0..kMaxDecodeSequences
  int32_t num_q_heads = 0;  // a multiple of num_kv_heads
  int32_t num_kv_heads = 0;
  int32_t max_q_len = 1;  // 1..kMaxDecodeQueryTokens query tokens per sequence
  // A query sees itself and the window-1 tokens before it; <= 0: no limit.
  int32_t window = 0;
  // KV length of each sequence, its new tokens included: the last query token of sequence s is at
  // position kv_lens[s] - 1. 0 marks an unused slot: its output rows are written as zero.
  const int32_t* kv_lens = nullptr;  // device, [num_seqs]
  // First row of each sequence in q and out; null: sequence s owns rows
  // [s * max_q_len, (s + 1) * max_q_len). With it, sequence s has q_starts[s+1] - q_starts[s] <=
  // max_q_len query tokens (0 allowed).
  const int32_t* q_starts = nullptr;  // device, [num_seqs + 1] or null
};

// Bytes of the plan buffer for up to `num_seqs` sequences on the current device; 32-byte aligned.
cudaError_t DecodePlanBytes(int num_seqs, int num_kv_heads, size_t* bytes);

// Bytes of the workspace that holds partial results, on the current device; 16-byte aligned. It
// needs no initialisation and may be shared by launches of one stream.
cudaError_t DecodeWorkspaceBytes(const DecodeShape& shape, int head_dim, size_t* bytes);

// Writes the plan of this step to `plan` (device, DecodePlanBytes).
// cudaErrorInvalidValue: a shape outside the ranges above or a null pointer.
cudaError_t LaunchDecodePlan(const DecodeShape& shape, void* plan, cudaStream_t stream);

struct DecodeAttentionParams {
  DecodeShape shape;  // as given to LaunchDecodePlan
  PagedKv kv;         // head_dim 64 or 128; dtype: `dtype` below, or kI8 with scales;
                      // page_tokens 16..256; K, V 16-byte aligned, strides multiples of 16 bytes
  const void* plan = nullptr;  // device, written by LaunchDecodePlan for the same shape; its merge
                               // counters are used and left zero, so launches that share it must
                               // run one after the other
  void* workspace = nullptr;   // device, DecodeWorkspaceBytes

  const void* q = nullptr;       // device, bf16 [num_rows, num_q_heads, head_dim], dense head_dim
  int64_t q_token_stride = 0;    // elements, even
  int64_t q_head_stride = 0;     // elements, even
  void* out = nullptr;           // device, same shape and dtype as q, 8-byte aligned rows
  int64_t out_token_stride = 0;  // elements, multiples of 4
  int64_t out_head_stride = 0;
  float softmax_scale = 0.0f;  // usually 1 / sqrt(head_dim)
  // device, [num_q_heads]: one more score per head, of no key, that takes part in its softmax
  // (Xiao et al., "Efficient Streaming Language Models with Attention Sinks"); null: none.
  const float* sinks = nullptr;
};

// out[r, h] = softmax(softmax_scale * q[r, h] . K^T + causal and window mask) V, accumulated in
// float; P is rounded to bf16 before it multiplies V. Query head h reads KV head
// h / (num_q_heads / num_kv_heads). Deterministic for one plan on one device.
// cudaErrorInvalidValue: a null pointer, misalignment, or a shape outside the ranges above.
// cudaErrorNotSupported: a device older than sm_80, or a head size or a KV type not listed.
cudaError_t LaunchDecodeAttention(const DecodeAttentionParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
