// The tensor map of a paged KV pool, which prefill and decode share. Host only.
// Next: common/tensor_map.h, kv_layout.h.
#pragma once

#include <algorithm>

#include "kernels/common/tensor_map.h"
#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

// `pool` (keys or values) as [page, head, token, dim] in boxes of box_dims dims by up to box_tokens
// tokens of one page and head. `dtype` has the size of the cache's elements.
inline cudaError_t EncodeKvPool(CUtensorMap* map, const PagedKv& kv, const void* pool,
                                CUtensorMapDataType dtype, int box_dims, int box_tokens,
                                CUtensorMapSwizzle swizzle) {
  const int64_t element = ElementBytes(kv.dtype);
  TensorMapShape shape;
  shape.rank = 4;
  shape.dims[0] = kv.head_dim;
  shape.dims[1] = kv.page_tokens;
  shape.dims[2] = kv.num_kv_heads;
  shape.dims[3] = kv.num_pages;
  shape.stride_bytes[0] = kv.token_stride * element;
  shape.stride_bytes[1] = kv.head_stride * element;
  shape.stride_bytes[2] = kv.page_stride * element;
  shape.box[0] = box_dims;
  shape.box[1] = std::min(kv.page_tokens, box_tokens);
  shape.box[2] = 1;
  shape.box[3] = 1;
  return EncodeTensorMap(map, dtype, pool, shape, swizzle);
}

}  // namespace pingti::kernels
