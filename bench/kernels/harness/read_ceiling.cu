#include <algorithm>
#include <cstdint>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/read_ceiling.h"
#include "bench/kernels/harness/timing.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

constexpr size_t kBytes = size_t{2} << 30;
constexpr int kThreads = 512;
constexpr int kUnroll = 8;  // 16-byte loads of one thread in flight

// Blocks take turns with stretches of kThreads * kUnroll vectors. `sink` is written only by a sum
// that does not occur, so that the loads stay.
__global__ void __launch_bounds__(kThreads)
    ReadKernel(const uint4* data, size_t size, uint32_t* sink) {
  constexpr size_t kStretch = size_t{kThreads} * kUnroll;
  uint32_t sum = 0;
  for (size_t begin = blockIdx.x * kStretch; begin < size; begin += gridDim.x * kStretch) {
    uint4 values[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      values[i] = __ldcs(data + begin + static_cast<size_t>(i) * kThreads + threadIdx.x);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      sum |= values[i].x ^ values[i].y ^ values[i].z ^ values[i].w;
    }
  }
  if (sum == 0) *sink = sum;
}

}  // namespace

double MeasureReadBytesPerSecond() {
  testing::DeviceBuffer<uint4> data(kBytes / sizeof(uint4));
  testing::DeviceBuffer<uint32_t> sink(1);
  PINGTI_CUDA(FillBits(data.data(), kBytes, 1));
  int device = 0;
  int num_sms = 0;
  PINGTI_CUDA(cudaGetDevice(&device));
  PINGTI_CUDA(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device));
  double best = 0.0;
  for (const int blocks_per_sm : {1, 2, 4, 16}) {
    const Timing timing = TimeLaunches("read ceiling", 1, [&](int, cudaStream_t stream) {
      ReadKernel<<<num_sms * blocks_per_sm, kThreads, 0, stream>>>(
          data.data(), kBytes / sizeof(uint4), sink.data());
      return cudaGetLastError();
    });
    best = std::max(best, kBytes / (timing.median_us * 1e-6));
  }
  return best;
}

}  // namespace pingti::kernels::bench
