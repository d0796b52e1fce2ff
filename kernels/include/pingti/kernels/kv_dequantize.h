// Widens sequences' pages of one layer's int8 KV cache to bf16, into pools of the same pages: what
// prefill attention, which fetches 16-bit tiles whole, reads where the cache is int8. Decode
// attention reads int8 itself. Host only. Next: kv_layout.h, kernels/kvcache/dequantize_pages.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

// out[page, head, token, :] = scale[page, head, token] * kv[page, head, token, :], rounded to bf16,
// for keys and values and every page that holds a token of a sequence. Sequences may share pages.
struct DequantizeKvPagesParams {
  PagedKv kv;             // kI8 with dense tokens and heads; block_table [num_seqs, ...] is used
  void* k_out = nullptr;  // device, bf16 [num_pages, num_kv_heads, page_tokens, head_dim], dense
  void* v_out = nullptr;  // the same
  const int32_t* kv_len = nullptr;  // device, [num_seqs]: tokens of each sequence
  int32_t num_seqs = 0;
};

// Neither allocates nor synchronises; no sequences: nothing to do. cudaErrorInvalidValue: a null or
// misaligned pointer, or strides that are not dense within a page. cudaErrorNotSupported: another
// dtype than kI8, or a head_dim that is no multiple of 16.
cudaError_t LaunchDequantizeKvPages(const DequantizeKvPagesParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
