// Question: what does a mixture of experts cost a layer, by batch, against the bytes of the experts
// that it hits? Shapes of Qwen3-30B-A3B, Mixtral 8x7B and one layer of DeepSeek-V3, in bf16, int8,
// and 4 bits in groups of 128; of the first and the last also what one rank of eight has: an eighth
// of every expert's columns, or of the experts.
// Baseline, same run: reading the hit experts' bytes at the card's read ceiling; for large batches
// the products' TFLOP/s count. Correctness: grouped_gemm_test, grouped_w4a16_test.
//
//   bench_moe [TOKENS...]      default: 1 8 32 64 128 512 4096
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/read_ceiling.h"
#include "bench/kernels/harness/timing.h"
#include "bench/kernels/moe/moe_case.h"
#include "kernels/common/status.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "pingti/kernels/moe.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

// The same in 4 bits.
struct Packed4 {
  using X = __nv_bfloat16;
  static constexpr int kGroup = 128;
  static constexpr double kBytes = 0.5 + 2.0 / kGroup;
  static constexpr const char* kName = "int4";

  Packed4(int experts, int n, int k)
      : num_rows(experts * n),
        words(PackedWeightBytes(num_rows, k, WeightBits::k4)),
        scales(static_cast<size_t>(num_rows) * CeilDiv(k, kGroup)) {
    PINGTI_CUDA(FillBits(words.data(), words.size(), 1));
    PINGTI_CUDA(FillBf16(scales.data(), scales.size(), 0.5f, 1.0f, 2));
  }
  cudaError_t Launch(GroupedGemmParams p, cudaStream_t stream) const {
    p.w = words.data();
    GroupScales groups;
    groups.group_size = kGroup;
    groups.scales = scales.data();
    groups.type = ScaleType::kBf16;
    return LaunchGroupedW4A16(p, groups, stream);
  }
  std::vector<double> Row(int64_t row, int k) const {
    constexpr int kRows = 32;  // that are packed together
    const DeviceBuffer<__nv_bfloat16> rows(static_cast<size_t>(kRows) * k);
    DequantizeWeightsParams p;
    p.n = num_rows;
    p.k = k;
    p.group_size = kGroup;
    p.packed = words.data();
    p.scales = scales.data();
    p.scale_type = ScaleType::kBf16;
    p.first_row = static_cast<int>(row / kRows * kRows);
    p.num_rows = kRows;
    p.out = rows.data();
    PINGTI_CUDA(LaunchDequantizeWeights(p, nullptr));
    std::vector<double> out;
    for (const auto value : HostRow(rows.data() + row % kRows * k, k)) {
      out.push_back(ToFloat(value));
    }
    return out;
  }

  int num_rows;
  DeviceBuffer<uint8_t> words;
  DeviceBuffer<__nv_bfloat16> scales;
};

template <typename W>
void Run(const Shape& shape, const std::vector<int>& batches, double ceiling_gbs) {
  const W in(shape.held, 2 * shape.inner, shape.hidden);
  const W down(shape.held, shape.hidden, shape.inner);
  for (const int tokens : batches) {
    std::vector<Routing> routings;
    routings.reserve(kRoutings);
    double hit = 0;
    double rows = 0;
    for (uint32_t i = 0; i < kRoutings; ++i) {
      routings.emplace_back(shape, tokens, 7 + i);
      hit += static_cast<double>(routings.back().hit) / kRoutings;
      rows += static_cast<double>(routings.back().rows) / kRoutings;
    }
    const double route =
        TimeLaunches("route", kRoutings, [&](int set, cudaStream_t stream) {
          const Routing& routing = routings[static_cast<size_t>(set)];
          const cudaError_t error = LaunchRouteExperts(routing.route, stream);
          return error != cudaSuccess ? error : LaunchSortExpertRows(routing.sort, stream);
        }).median_us;
    const double in_us = Product<typename W::X>(shape, tokens, 2 * shape.inner, shape.hidden,
                                                /*gathers=*/true)
                             .Time(in, routings, {});
    const double down_us = Product<typename W::X>(shape, tokens, shape.hidden, shape.inner,
                                                  /*gathers=*/false)
                               .Time(down, routings, {});
    const DeviceBuffer<__nv_bfloat16> x(static_cast<size_t>(shape.max_rows(tokens)) * shape.hidden);
    PINGTI_CUDA(FillBf16(x.data(), x.size(), -1, 1, 3));
    const DeviceBuffer<__nv_bfloat16> out(static_cast<size_t>(tokens) * shape.hidden);
    const double combine = TimeLaunches("combine", kRoutings, [&](int set, cudaStream_t stream) {
                             const Routing& routing = routings[static_cast<size_t>(set)];
                             CombineExpertsParams p;
                             p.rows = x.data();
                             p.rows_stride = shape.hidden;
                             p.row_of = routing.row_of.data();
                             p.weights = routing.weights.data();
                             p.out = out.data();
                             p.out_stride = shape.hidden;
                             p.num_tokens = tokens;
                             p.experts_per_token = shape.per_token;
                             p.width = shape.hidden;
                             return LaunchCombineExperts(p, stream);
                           }).median_us;
    const double bytes = hit * 3.0 * shape.inner * shape.hidden * W::kBytes;
    const double flops = 6.0 * rows * shape.inner * shape.hidden;
    const double gemm = in_us + down_us;
    std::printf(
        "| %-22s | %s | %5d | %5.1f | %7.2f | %8.2f | %8.2f | %7.2f | %7.0f | %5.2f | %6.1f |\n",
        shape.name, W::kName, tokens, hit, route, in_us, down_us, combine, bytes / gemm / 1e3,
        bytes / gemm / 1e3 / ceiling_gbs, flops / gemm / 1e6);
  }
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  std::vector<int> batches;
  for (int i = 1; i < argc; ++i) batches.push_back(std::atoi(argv[i]));
  if (batches.empty()) batches = {1, 8, 32, 64, 128, 512, 4096};
  // 8 ranks take units of 64 of Qwen3's 768 columns: two of them, or one.
  const Shape shapes[] = {{"Qwen3-30B-A3B", 128, 8, 2048, 768, 128},
                          {"Mixtral 8x7B", 8, 2, 4096, 14336, 8},
                          {"DeepSeek-V3", 256, 8, 7168, 2048, 256},
                          {"Qwen3, 128 columns", 128, 8, 2048, 128, 128},
                          {"Qwen3, 16 experts", 128, 8, 2048, 768, 16},
                          {"DeepSeek, 256 columns", 256, 8, 7168, 256, 256},
                          {"DeepSeek, 32 experts", 256, 8, 7168, 2048, 32}};
  const double ceiling = MeasureReadBytesPerSecond() / 1e9;
  std::printf(
      "read ceiling %.0f GB/s\n"
      "| shape | type | tokens | hit | route us | in us | down us | combine us | GB/s | of ceiling "
      "| "
      "TFLOP/s |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
      ceiling);
  for (const Shape& shape : shapes) {
    Run<Matrix<__nv_bfloat16>>(shape, batches, ceiling);
    Run<Matrix<int8_t>>(shape, batches, ceiling);
    Run<Packed4>(shape, batches, ceiling);
  }
  return 0;
}
