// Tensor maps and the launch of one kernel instance. Included by instances/*.cu only.
#pragma once

#include "kernels/attention/kv_map.h"
#include "kernels/attention/latent/kernel.cuh"
#include "kernels/attention/latent/launch.h"
#include "kernels/common/overlap.h"
#include "kernels/common/tensor_map.h"

namespace pingti::kernels::latent {

// q as [token, head, dim] in boxes of one tile's rows and 64 dims.
inline cudaError_t EncodeQueries(CUtensorMap* map, const LatentTensors& tensors,
                                 const RowPacking& packing) {
  TensorMapShape shape;
  shape.rank = 3;
  shape.dims[0] = kLatentKeyDim;
  shape.dims[1] = tensors.num_heads;
  shape.dims[2] = tensors.num_rows;
  shape.stride_bytes[0] = tensors.q_head_stride * 2;
  shape.stride_bytes[1] = tensors.q_token_stride * 2;
  shape.box[0] = kBoxDims;
  shape.box[1] = packing.heads;
  shape.box[2] = packing.tokens;
  return EncodeTensorMap(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, tensors.q, shape,
                         CU_TENSOR_MAP_SWIZZLE_128B);
}

// Where the products' warps find latents: the whole rows in bf16, or the rotated part of int8 ones.
inline cudaError_t EncodeLatents(CUtensorMap* map, const PagedKv& latents) {
  PagedKv pool = latents;
  const auto* base = static_cast<const uint8_t*>(latents.k);
  if (latents.dtype == DType::kI8) {
    base += kLatentValueDim;
    pool.dtype = DType::kBf16;
    pool.head_dim = kLatentRopeDim;
    pool.token_stride = latents.token_stride / 2;
    pool.head_stride = latents.head_stride / 2;
    pool.page_stride = latents.page_stride / 2;
  }
  return EncodeKvPool(map, pool, base, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kBoxDims, kTileTokens,
                      CU_TENSOR_MAP_SWIZZLE_128B);
}

template <class Source, bool kInt8>
cudaError_t LaunchInstance(const LatentTensors& tensors, const Args& args,
                           const typename Source::Args& source, int num_blocks,
                           int blocks_per_worker, cudaStream_t stream) {
  KernelArgs<Source> kernel{};
  kernel.args = args;
  kernel.source = source;
  kernel.blocks_per_worker = blocks_per_worker;
  PINGTI_CUDA_RETURN(EncodeQueries(&kernel.q_map, tensors, source.packing));
  PINGTI_CUDA_RETURN(EncodeLatents(&kernel.kv_map, tensors.kv));
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(LatentKernel<Source, kInt8>,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(sizeof(Shared))));
  return LaunchOverlapped(LatentKernel<Source, kInt8>, dim3(num_blocks), dim3(kThreads),
                          sizeof(Shared), stream, 90, kernel);
}

}  // namespace pingti::kernels::latent
