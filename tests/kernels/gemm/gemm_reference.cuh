// References of the GEMM families, written from the formula: exact integer sums, float64 epilogues,
// one thread an output. They run on the device only because the host would take minutes.
#pragma once

#include <cuda_bf16.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/kernels/testing/device.h"

namespace pingti::kernels::testing {

// acc[m, n] = sum over k of a[m, k] w[n, k].
static __global__ void ReferenceS8Kernel(const int8_t* a, int64_t a_stride, const int8_t* w,
                                         int64_t w_stride, int m, int n, int k, int32_t* acc) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= int64_t{m} * n) return;
  const int8_t* row = a + index / n * a_stride;
  const int8_t* col = w + index % n * w_stride;
  int32_t sum = 0;
  for (int i = 0; i < k; ++i) sum += int32_t{row[i]} * int32_t{col[i]};
  acc[index] = sum;
}

inline std::vector<int32_t> ReferenceS8(const int8_t* a, int64_t a_stride, const int8_t* w,
                                        int64_t w_stride, int m, int n, int k) {
  DeviceBuffer<int32_t> acc(size_t(m) * n);
  ReferenceS8Kernel<<<unsigned((acc.size() + 255) / 256), 256>>>(a, a_stride, w, w_stride, m, n, k,
                                                                 acc.data());
  PINGTI_CUDA(cudaGetLastError());
  return acc.ToHost();
}

// One bf16 unit in the last place at |value|.
inline double Bf16Ulp(double value) {
  if (value == 0.0) return 0x1p-133;
  return std::ldexp(1.0, std::max(std::ilogb(value), -126) - 7);
}

}  // namespace pingti::kernels::testing
