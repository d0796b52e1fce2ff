// Dispatch of the grouped GEMM: parameter checks, and the choice of an instance by type and by how
// many rows an expert has on average. Host code only.
#include <algorithm>
#include <cstdint>

#include "kernels/common/status.h"
#include "kernels/moe/grouped_gemm/launch.h"

namespace pingti::kernels {
namespace {

constexpr int kMaxRowBlocks = 64;

template <typename T>
cudaError_t Launch(const GroupedGemmParams& p, cudaStream_t stream) {
  // Experts are chosen unevenly: a tile for twice the average.
  const int rows = CeilDiv(2 * p.expected_rows, p.num_experts);
  const auto row_blocks = [&](int tile) {
    return std::clamp(CeilDiv(rows, tile), 1, kMaxRowBlocks);
  };
  if (rows <= 32) return LaunchGroupedGemmAs<T, 16>(p, 1, stream);
  if (rows <= 128) return LaunchGroupedGemmAs<T, 64>(p, row_blocks(64), stream);
  return LaunchGroupedGemmAs<T, 128>(p, row_blocks(128), stream);
}

}  // namespace

cudaError_t LaunchGroupedGemm(const GroupedGemmParams& p, cudaStream_t stream) {
  const bool int8 = p.x_scale != nullptr;
  const int vector = int8 ? 16 : 8;
  if (p.num_rows < 0 || p.num_rows > INT32_MAX / 4 || p.expected_rows < 0 ||
      p.expected_rows > p.num_rows || p.num_experts < 1 || p.num_experts > kMaxExperts || p.n < 2 ||
      p.n % 2 != 0 || p.k < vector || p.k % vector != 0 || p.x_stride % vector != 0 ||
      p.y_stride % 2 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_rows == 0) return cudaSuccess;
  if (!IsPresent(p.x) || !IsPresent(p.w) || !IsPresent(p.y, 4) || p.first_row == nullptr ||
      p.span_of == nullptr || (int8 && !IsPresent(p.w_scale, 8)) || !IsAligned(p.bias, 4)) {
    return cudaErrorInvalidValue;
  }
  return int8 ? Launch<int8_t>(p, stream) : Launch<__nv_bfloat16>(p, stream);
}

}  // namespace pingti::kernels
