// Question: which variant of the grouped GEMM wins at which number of rows per expert, and how far
// is it from a dense product of equal work? Both products of a layer of experts, in bf16 and int8.
// Baseline, same run: a dense product of as many rows with one expert's matrix: LaunchGemmS8 for
// int8, the best of cuBLASLt's algorithms for bf16. `ratio`: of the library's choice to it.
//
//   bench_grouped_gemm [TOKENS...]      default: 512 2048 4096 8192
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/kernels/gemm/cublaslt.h"
#include "bench/kernels/harness/timing.h"
#include "bench/kernels/moe/moe_case.h"
#include "kernels/common/status.h"
#include "kernels/moe/grouped_gemm/table.h"
#include "pingti/kernels/gemm_s8.h"
#include "pingti/kernels/moe.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

// Products heat the card until it lowers its clock: a pause before each.
constexpr TimingOptions kOptions = {0, 1000, 7, 30};

// A stack that is multiplied by one variant.
template <typename T>
struct StackOfVariant {
  using X = T;
  const Matrix<T>& stack;
  GroupedGemmVariant variant;

  cudaError_t Launch(GroupedGemmParams p, cudaStream_t stream) const {
    p.w = stack.values.data();
    if (sizeof(T) == 1) p.w_scale = stack.scales.data();
    return LaunchGroupedGemmVariant(p, variant, stream);
  }
  std::vector<double> Row(int64_t row, int k) const { return stack.Row(row, k); }
};

double TimeDense(const Product<int8_t>& product, const Matrix<int8_t>& stack) {
  DeviceBuffer<uint8_t> workspace(GemmS8WorkspaceBytes());
  workspace.Zero();
  GemmS8Params p;
  p.m = product.rows;
  p.n = product.n;
  p.k = product.k;
  p.a = product.x.values.data();
  p.a_row_stride = product.k;
  p.w = stack.values.data();
  p.w_row_stride = product.k;
  p.token_scale = product.x.scales.data();
  p.channel_scale = stack.scales.data();
  p.y = product.y.data();
  p.y_row_stride = product.n;
  p.workspace = workspace.data();
  p.workspace_bytes = workspace.bytes();
  const auto launch = [&](int, cudaStream_t stream) { return LaunchGemmS8(p, stream); };
  return TimeLaunches("dense", 1, launch, kOptions).median_us;
}

double TimeDense(const Product<__nv_bfloat16>& product, const Matrix<__nv_bfloat16>& stack) {
  const CublasLt lt(LtTypes::kBf16, product.rows, product.n, product.k);
  double best = 0;
  for (int algorithm = 0; algorithm < std::min(3, lt.num_algorithms()); ++algorithm) {
    const auto launch = [&](int, cudaStream_t stream) {
      return lt.Run(algorithm, product.x.values.data(), stack.values.data(), product.y.data(),
                    stream);
    };
    const double us = TimeLaunches("cuBLASLt", 1, launch, kOptions).median_us;
    if (best == 0 || us < best) best = us;
  }
  return best;
}

std::string Name(const GroupedGemmVariant& v) {
  const std::string rows = std::to_string(v.rows);
  if (v.family == GroupedGemmFamily::kMma) return "mma " + rows;
  return rows + "x" + std::to_string(v.columns) + (v.cluster > 1 ? " x2" : "");
}

template <typename T>
void RunProduct(const Shape& shape, const Matrix<T>& stack, const std::vector<Routing>& routings,
                int n, int k, bool gathers) {
  const int tokens = routings[0].route.num_tokens;
  Product<T> product(shape, tokens, n, k, gathers);
  const GroupedGemmParams params = product.Params(routings[0]);
  DeviceTraits device;
  PINGTI_CUDA(ReadDeviceTraits(&device));
  const GroupedGemmVariant choice = PickGroupedGemmVariant(params, device);
  const double flops = 2.0 * routings[0].rows * n * k;
  std::printf("| %s | %s | %d | %s |", shape.name, Matrix<T>::kName, tokens,
              gathers ? "in" : "down");
  double chosen = 0;
  for (const GroupedGemmVariant& v : GroupedGemmVariants(params, device.compute_capability)) {
    if (v.family == GroupedGemmFamily::kMma && v.rows == 16 &&
        params.expected_rows > 64 * shape.held) {
      std::printf(" - |");  // one block would go through hundreds of tiles
      continue;
    }
    const double us = product.Time(StackOfVariant<T>{stack, v}, routings, kOptions);
    std::printf(" %.1f |", us);
    if (Name(v) == Name(choice)) chosen = us;
  }
  const double dense = TimeDense(product, stack);
  std::printf(" %s | %.0f | %.1f | %.2f |\n", Name(choice).c_str(), flops / chosen / 1e6, dense,
              dense / chosen);
  std::fflush(stdout);
}

template <typename T>
void Run(const Shape& shape, const std::vector<int>& batches) {
  const Matrix<T> in(shape.held, 2 * shape.inner, shape.hidden);
  const Matrix<T> down(shape.held, shape.hidden, shape.inner);
  for (const int tokens : batches) {
    std::vector<Routing> routings;
    routings.reserve(kRoutings);
    for (uint32_t i = 0; i < kRoutings; ++i) routings.emplace_back(shape, tokens, 7 + i);
    RunProduct(shape, in, routings, 2 * shape.inner, shape.hidden, /*gathers=*/true);
    RunProduct(shape, down, routings, shape.hidden, shape.inner, /*gathers=*/false);
  }
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  std::vector<int> batches;
  for (int i = 1; i < argc; ++i) batches.push_back(std::atoi(argv[i]));
  if (batches.empty()) batches = {512, 2048, 4096, 8192};
  const Shape shapes[] = {{"Qwen3-30B-A3B", 128, 8, 2048, 768, 128},
                          {"Mixtral 8x7B", 8, 2, 4096, 14336, 8},
                          {"DeepSeek-V3", 256, 8, 7168, 2048, 256},
                          {"gpt-oss-20b", 32, 4, 2880, 2880, 32}};
  std::printf(
      "us of each variant; RxC: tiles of wgmma, x2: in clusters of two\n"
      "| shape | type | tokens | product | mma 16 | mma 64 | mma 128 | 192x256 | "
      "128x256 | 128x256 x2 | choice | TFLOP/s | dense us | ratio |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (const Shape& shape : shapes) {
    Run<__nv_bfloat16>(shape, batches);
    Run<int8_t>(shape, batches);
  }
  return 0;
}
