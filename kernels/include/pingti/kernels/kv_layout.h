// The paged KV cache as every kernel sees it (append, prefill, decode): one description, one
// layout. Owns nothing: a view of device memory. Next: prefill_attention.h, decode_attention.h.
//
// Layout. K and V each are a pool [num_pages, num_kv_heads, page_tokens, head_dim], head_dim
// innermost and dense: the tokens of one (page, head) are one dense tile of page_tokens x head_dim
// elements. Why head before token: a kernel always works on one KV head, so a page is one
// contiguous piece for it (16 KB at 64 x 128 x 2 bytes), which TMA and 16-byte vector loads both
// fetch whole, and a tensor-parallel shard is a slice of the head axis. K and V may be two
// allocations or one [num_pages, 2, ...] allocation: only the strides differ.
//
// page_tokens is a power of two from 16 to 256. 64 and 128 are the sizes to use: one to two copies
// fill a tile.
#pragma once

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

struct PagedKv {
  const void* k =
      nullptr;  // device, [num_pages, num_kv_heads, page_tokens, head_dim], 16-byte aligned
  const void* v = nullptr;  // device, same shape and strides as k

  // int8 KV only (dtype kI8), else null: symmetric scale per token and head, value = scale * int8.
  const float* k_scale = nullptr;  // device, [num_pages, num_kv_heads, page_tokens]
  const float* v_scale = nullptr;  // device, same shape and strides as k_scale

  // block_table[s * block_table_stride + i] is the page that holds tokens [i*page_tokens,
  // (i+1)*page_tokens) of sequence s. Entries at or past ceil(kv_len / page_tokens) are never read;
  // page contents at or past kv_len never reach a result, whatever they hold (NaN included).
  const int32_t* block_table = nullptr;  // device, [num_seqs, block_table_stride]
  int64_t block_table_stride = 0;        // elements

  int64_t page_stride = 0;  // elements between pages; times the element size a multiple of 16 bytes
  int64_t head_stride = 0;  // elements between heads; dense: page_tokens * head_dim
  int64_t token_stride = 0;  // elements between tokens; dense: head_dim

  int64_t scale_page_stride =
      0;  // elements of k_scale / v_scale; dense: num_kv_heads * page_tokens
  int64_t scale_head_stride = 0;  // dense: page_tokens; tokens are adjacent

  int32_t num_pages = 0;
  int32_t num_kv_heads = 0;
  int32_t page_tokens = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kBf16;
};

// Fills the strides for two dense pools (or, with pool_planes = 2, for one [num_pages, 2, ...]
// allocation).
inline void SetDenseStrides(PagedKv* kv, int pool_planes = 1) {
  kv->token_stride = kv->head_dim;
  kv->head_stride = kv->token_stride * kv->page_tokens;
  kv->page_stride = kv->head_stride * kv->num_kv_heads * pool_planes;
  kv->scale_head_stride = kv->page_tokens;
  kv->scale_page_stride = kv->scale_head_stride * kv->num_kv_heads * pool_planes;
}

// Has the scales in one pool [num_pages, num_kv_heads, 2, page_tokens]: those of a page's keys and,
// behind them, of its values. Decoding reads both at once.
inline void SetPairedScales(PagedKv* kv, const float* scales) {
  kv->k_scale = scales;
  kv->v_scale = scales + kv->page_tokens;
  kv->scale_head_stride = 2 * kv->page_tokens;
  kv->scale_page_stride = kv->scale_head_stride * kv->num_kv_heads;
}
inline bool HasPairedScales(const PagedKv& kv) {
  return kv.k_scale != nullptr && kv.v_scale == kv.k_scale + kv.page_tokens &&
         kv.scale_head_stride == 2 * kv.page_tokens;
}

}  // namespace pingti::kernels
