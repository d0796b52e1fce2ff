// Columns in another order, with gaps: see gather_columns.h.
//
// Grid: (cols / 256, rows), a thread per element of the result. Bytes: 4 written and 4 of `columns`
//   read per element; what is read of x stays in the L2. Bound by the write.
// Architectures: sm_80 and newer.

#include <cmath>

#include "pingti/kernels/gather_columns.h"

namespace pingti::kernels {
namespace {

constexpr int kGatherThreads = 256;
constexpr int kMaxGatherRows = 65535;  // of a grid's second dimension

__global__ void __launch_bounds__(kGatherThreads) GatherColumnsKernel(const GatherColumnsParams p) {
  const int c = static_cast<int>(blockIdx.x) * kGatherThreads + static_cast<int>(threadIdx.x);
  if (c >= p.cols) return;
  const float column = p.columns[c];
  const float* x = p.x + blockIdx.y * p.x_stride;
  p.out[blockIdx.y * p.out_stride + c] =
      column < 0.0f ? -INFINITY : x[static_cast<int64_t>(column)];
}

}  // namespace

cudaError_t LaunchGatherColumns(const GatherColumnsParams& params, cudaStream_t stream) {
  if (params.rows < 0 || params.rows > kMaxGatherRows || params.cols < 0) {
    return cudaErrorInvalidValue;
  }
  if (params.rows == 0 || params.cols == 0) return cudaSuccess;
  if (params.x == nullptr || params.columns == nullptr || params.out == nullptr) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid((params.cols + kGatherThreads - 1) / kGatherThreads, params.rows);
  GatherColumnsKernel<<<grid, kGatherThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace pingti::kernels
