// Launch shape of kernels that keep one row in a block's registers, eight elements per vector: how
// many vectors a thread holds and how many threads a block has. Host only.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

namespace pingti::kernels {

inline constexpr int kMaxRowElements = 32768;

struct RowLaunch {
  int vectors_per_thread = 0;  // 1, 2, 4 or 8; 0: the row is too long
  int threads = 0;
};

// Few rows: wide blocks, for latency. Many rows: narrow blocks, several an SM, so that one block's
// loads cover another's reduction. Measured on an H100 by bench_fused.
inline RowLaunch ChooseRowLaunch(int64_t rows, int elements, int num_sms) {
  const int vectors = elements / 8;
  const int preferred = rows <= 2 * num_sms ? 1024 : 256;
  for (int limit = preferred; limit <= 1024; limit *= 2) {
    for (int per_thread = 1; per_thread <= 8; per_thread *= 2) {
      if (per_thread == 8 && limit > 512) continue;  // would not fit the registers
      const int threads = (vectors + per_thread - 1) / per_thread;
      if (threads <= limit) return {per_thread, (threads + 31) / 32 * 32};
    }
  }
  return {};
}

// launch(n) with n = `vectors_per_thread` as a compile-time constant.
template <typename Launch>
cudaError_t LaunchWithVectors(int vectors_per_thread, const Launch& launch) {
  switch (vectors_per_thread) {
    case 1:
      return launch(std::integral_constant<int, 1>());
    case 2:
      return launch(std::integral_constant<int, 2>());
    case 4:
      return launch(std::integral_constant<int, 4>());
    case 8:
      return launch(std::integral_constant<int, 8>());
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace pingti::kernels
