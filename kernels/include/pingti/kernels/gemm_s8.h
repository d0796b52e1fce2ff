// int8 W8A8 matrix product with scales, bias and residual applied, written as bf16:
//   y[m, n] = bf16(acc[m, n] * token_scale[m] * channel_scale[n] + bias[n] + residual[m, n])
//   acc[m, n] = sum over k of a[m, k] * w[n, k]        (s32, exact)
//
// Four kernel families behind one launcher, picked by a table (kernels/gemm/int8/table.h):
// prefill tiles, decode streams and split decode on sm_90a, mma.sync tiles on sm_80 and later.
// Thread-safe: launches share nothing but the workspace they are given.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace pingti::kernels {

// Strides count elements between rows; columns are contiguous. All pointers are device memory.
struct GemmS8Params {
  int m = 0;  // tokens
  int n = 0;  // output channels, a multiple of 8
  int k = 0;  // input channels, a multiple of 16, below 131,072

  const int8_t* a = nullptr;  // [m, k], 16-byte aligned
  int64_t a_row_stride = 0;   // multiple of 16
  const int8_t* w = nullptr;  // [n, k], 16-byte aligned
  int64_t w_row_stride = 0;   // multiple of 16

  const float* token_scale = nullptr;       // [m]
  const float* channel_scale = nullptr;     // [n], 8-byte aligned
  const __nv_bfloat16* bias = nullptr;      // [n] or null, 4-byte aligned
  const __nv_bfloat16* residual = nullptr;  // [m, n] or null, 4-byte aligned; may be y itself
  int64_t residual_row_stride = 0;          // even

  __nv_bfloat16* y = nullptr;  // [m, n], 16-byte aligned
  int64_t y_row_stride = 0;    // multiple of 8

  // When set, the accumulators go here instead: [m, n], 16-byte aligned, row stride n. Scales,
  // bias, residual and y are then not read or written. For tests, and for sums across ranks.
  int32_t* accumulators = nullptr;

  // Scratch of at least GemmS8WorkspaceBytes(), 256-byte aligned, zeroed once after allocation.
  // Every launch leaves it ready for the next; concurrent launches need one each.
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

// Bytes that any shape's launch on the current device needs; the same for every shape.
size_t GemmS8WorkspaceBytes();

// Launches the variant the table picks for this shape and the current device. Neither allocates nor
// synchronises; an empty m or n is a success that does nothing. cudaErrorInvalidValue names a
// broken condition above; cudaErrorNotSupported means a device older than sm_80.
cudaError_t LaunchGemmS8(const GemmS8Params& params, cudaStream_t stream);

}  // namespace pingti::kernels
