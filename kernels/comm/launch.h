// What the launchers of sums and gathers hand to their kernels, and the instances of those: one
// file in instances/ for each number of ranks. Next: launch.cu, which chooses.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/all_reduce.h"

namespace pingti::kernels {

inline constexpr int kMaxCommThreads = 512;
inline constexpr int kSumStretch = 128;  // vectors that a rank sums in a row, with two shots
// Of kMaxCommThreads each, that registers and shared memory allow.
constexpr int CommBlocksPerSm(int num_ranks) { return num_ranks == 2 ? 2 : 1; }

// One kernel's part of a sum or gather: vectors [first_vector, first_vector + num_vectors), where a
// row has vectors_per_row of them, the last one perhaps in part.
struct CommArgs {
  AllReduceLink link;
  const void* x = nullptr;
  int64_t x_stride = 0;
  void* out = nullptr;
  int64_t out_stride = 0;
  int32_t cols = 0;  // of x
  uint32_t vectors_per_row = 0;
  uint32_t first_vector = 0;
  int32_t num_vectors = 0;
  bool is_aligned = false;  // every row of x and out starts at 16 bytes
};

struct NormArgs {
  AllReduceLink link;
  RmsNormParams norm;
  int32_t cluster = 1;
};

struct CommLaunch {
  int shots = 1;
  int threads = 0;
  int blocks = 0;
  int vectors_per_thread = 1;  // of the norm kernel: 1 or 2
  int compute_capability = 0;
};

template <int kRanks>
cudaError_t LaunchSumKernel(const CommArgs& args, DType dtype, const CommLaunch& launch,
                            cudaStream_t stream);
template <int kRanks>
cudaError_t LaunchGatherKernel(const CommArgs& args, DType dtype, const CommLaunch& launch,
                               cudaStream_t stream);
template <int kRanks>
cudaError_t LaunchNormKernel(const NormArgs& args, const CommLaunch& launch, cudaStream_t stream);

}  // namespace pingti::kernels
