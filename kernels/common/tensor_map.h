// Host side of the tensor copy engine: encodes tensor maps. Header-only, thread-safe. The driver's
// encoder is looked up through the runtime, so nothing links against libcuda.
//
// Read next: tma.cuh (the device side that takes the maps).
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/status.h"

namespace pingti::kernels {

// A tensor of up to five dimensions in global memory, innermost first, and the box one copy moves.
struct TensorMapShape {
  int rank = 2;
  uint64_t dims[5] = {};          // elements
  uint64_t stride_bytes[4] = {};  // of dimensions 1..rank-1; multiples of 16
  uint32_t box[5] = {};           // elements, each at most 256; box[0] bytes fit the swizzle
};

// Encodes `map` for `base` (16-byte aligned). cudaErrorInvalidValue if the driver refuses a shape,
// stride or alignment; cudaErrorNotSupported if the driver has no encoder.
inline cudaError_t EncodeTensorMap(CUtensorMap* map, CUtensorMapDataType dtype, const void* base,
                                   const TensorMapShape& shape, CUtensorMapSwizzle swizzle) {
  using Encoder =
      CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                   const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                   CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static_assert(sizeof(uint64_t) == sizeof(cuuint64_t));
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  PINGTI_CUDA_RETURN(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                      cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  const cuuint32_t element_strides[5] = {1, 1, 1, 1, 1};
  cuuint64_t dims[5];
  cuuint64_t strides[4];
  for (int i = 0; i < shape.rank; ++i) dims[i] = shape.dims[i];
  for (int i = 0; i + 1 < shape.rank; ++i) strides[i] = shape.stride_bytes[i];
  const CUresult result = reinterpret_cast<Encoder>(entry)(
      map, dtype, shape.rank, const_cast<void*>(base), dims, strides, shape.box, element_strides,
      CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

// Row-major matrix [rows, cols] with `row_stride` elements of `element_bytes` between rows, moved
// in boxes of [box_rows, box_cols].
inline cudaError_t EncodeMatrixMap(CUtensorMap* map, CUtensorMapDataType dtype, int element_bytes,
                                   const void* base, int64_t rows, int64_t cols, int64_t row_stride,
                                   int box_rows, int box_cols, CUtensorMapSwizzle swizzle) {
  TensorMapShape shape;
  shape.rank = 2;
  shape.dims[0] = static_cast<uint64_t>(cols);
  shape.dims[1] = static_cast<uint64_t>(rows);
  shape.stride_bytes[0] = static_cast<uint64_t>(row_stride * element_bytes);
  shape.box[0] = static_cast<uint32_t>(box_cols);
  shape.box[1] = static_cast<uint32_t>(box_rows);
  return EncodeTensorMap(map, dtype, base, shape, swizzle);
}

}  // namespace pingti::kernels
