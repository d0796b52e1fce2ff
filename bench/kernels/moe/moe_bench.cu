// Question: what does a mixture of experts cost a layer, by batch, against the bytes of the experts
// that it hits? Shapes of Qwen3-30B-A3B, Mixtral 8x7B and one layer of DeepSeek-V3, in bf16, int8,
// and 4 bits in groups of 128; of the first and the last also what one rank of eight has: an eighth
// of every expert's columns, or of the experts.
// Baseline, same run: reading the hit experts' bytes at the card's read ceiling; for large batches
// the products' TFLOP/s count. Correctness: grouped_w4a16_test, worker_backend_cuda_ops_test.
//
//   bench_moe [TOKENS...]      default: 1 8 32 64 128 512 4096
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/read_ceiling.h"
#include "bench/kernels/harness/timing.h"
#include "kernels/common/status.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "pingti/kernels/moe.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

struct Shape {
  const char* name;
  int experts;
  int per_token;
  int hidden;
  int inner;
  int held;  // experts whose matrices there are, the first ones

  int max_rows(int tokens) const { return tokens * std::min(per_token, held); }
};

// Different routings take turns, so that an expert is out of the L2 when its turn comes again.
constexpr int kRoutings = 6;

struct Routing {
  explicit Routing(const Shape& shape, int tokens, uint32_t seed)
      : logits(static_cast<size_t>(tokens) * shape.experts),
        experts(static_cast<size_t>(tokens) * shape.per_token),
        row_of(experts.size()),
        token_of(static_cast<size_t>(shape.max_rows(tokens))),
        first_row(shape.held + 1),
        span_of(token_of.size()),
        weights(experts.size()) {
    PINGTI_CUDA(FillF32(logits.data(), logits.size(), -2, 2, seed));
    route.logits = logits.data();
    route.logits_stride = shape.experts;
    route.experts = experts.data();
    route.weights = weights.data();
    route.num_tokens = tokens;
    route.num_experts = shape.experts;
    route.experts_per_token = shape.per_token;
    route.normalize = true;
    sort.experts = experts.data();
    sort.row_of = row_of.data();
    sort.token_of = token_of.data();
    sort.first_row = first_row.data();
    sort.span_of = span_of.data();
    sort.num_tokens = tokens;
    sort.experts_per_token = shape.per_token;
    sort.num_experts = shape.held;
    PINGTI_CUDA(LaunchRouteExperts(route, nullptr));
    PINGTI_CUDA(LaunchSortExpertRows(sort, nullptr));
    const std::vector<int32_t> first = first_row.ToHost();
    for (size_t e = 0; e + 1 < first.size(); ++e) hit += first[e + 1] > first[e] ? 1 : 0;
    rows = first.back();
  }

  DeviceBuffer<float> logits;
  DeviceBuffer<int32_t> experts, row_of, token_of, first_row;
  DeviceBuffer<int2> span_of;
  DeviceBuffer<float> weights;
  RouteExpertsParams route;
  SortExpertRowsParams sort;
  int hit = 0;
  int rows = 0;
};

float ToFloat(int8_t value) { return value; }
float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
std::vector<T> HostRow(const T* device, int count) {
  std::vector<T> row(static_cast<size_t>(count));
  PINGTI_CUDA(cudaMemcpy(row.data(), device, sizeof(T) * count, cudaMemcpyDeviceToHost));
  return row;
}

// A stack of experts' matrices of T, or rows of x, with a scale per row.
template <typename T>
struct Matrix {
  using X = T;                                 // type of the rows that it is multiplied with
  static constexpr double kBytes = sizeof(T);  // per weight
  static constexpr const char* kName = sizeof(T) == 1 ? "int8" : "bf16";

  Matrix(int experts, int n, int k)
      : values(static_cast<size_t>(experts) * n * k), scales(static_cast<size_t>(experts) * n) {
    if constexpr (sizeof(T) == 1) {
      PINGTI_CUDA(FillS8(values.data(), values.size(), 1));
    } else {
      PINGTI_CUDA(FillBf16(values.data(), values.size(), -1, 1, 1));
    }
    PINGTI_CUDA(FillF32(scales.data(), scales.size(), 0.5f, 1.0f, 2));
  }
  cudaError_t Launch(GroupedGemmParams p, cudaStream_t stream) const {
    p.w = values.data();
    if (sizeof(T) == 1) p.w_scale = scales.data();
    return LaunchGroupedGemm(p, stream);
  }
  // The weights of a row of the stack.
  std::vector<double> Row(int64_t row, int k) const {
    const double scale = sizeof(T) == 1 ? HostRow(scales.data() + row, 1)[0] : 1.0;
    std::vector<double> out;
    for (const T value : HostRow(values.data() + row * k, k)) out.push_back(scale * ToFloat(value));
    return out;
  }

  DeviceBuffer<T> values;
  DeviceBuffer<float> scales;
};

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

// Some elements against the formula; a wrong one ends the program.
template <typename W>
void Verify(const W& weights, const GroupedGemmParams& p, const Routing& routing) {
  PINGTI_CUDA(weights.Launch(p, nullptr));
  const std::vector<int32_t> first_row = routing.first_row.ToHost();
  const std::vector<int32_t> token_of = routing.token_of.ToHost();
  for (int i = 0; i < 16; ++i) {
    if (routing.rows == 0) return;
    const int row = static_cast<int>(int64_t{7919} * i % routing.rows);
    const int col = static_cast<int>(int64_t{104729} * (i + 1) % p.n);
    int expert = 0;
    while (first_row[static_cast<size_t>(expert) + 1] <= row) ++expert;
    const int from = p.x_row == nullptr ? row : token_of[static_cast<size_t>(row)];
    const auto x = HostRow(static_cast<const typename W::X*>(p.x) + from * p.x_stride, p.k);
    const std::vector<double> w = weights.Row(int64_t{expert} * p.n + col, p.k);
    double sum = 0, size = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      const double product = ToFloat(x[k]) * w[k];
      sum += product;
      size += product * product;
    }
    const double scale = p.x_scale != nullptr ? HostRow(p.x_scale + from, 1)[0] : 1.0;
    const double y = ToFloat(HostRow(p.y + row * p.y_stride + col, 1)[0]);
    const double rounding = std::abs(sum * scale) / 256;  // of y to bf16
    if (std::abs(y - sum * scale) <= 0.01 * std::sqrt(size) * scale + rounding) continue;
    std::printf("row %d column %d is %g; expected %g\n", row, col, y, sum * scale);
    std::exit(1);
  }
}

template <typename W>
double TimeProduct(const W& w, const std::vector<Routing>& routings, const Shape& shape, int n,
                   int k, bool gathers) {
  const int tokens = routings[0].route.num_tokens;
  const int rows = shape.max_rows(tokens);
  const Matrix<typename W::X> x(1, rows, k);  // with a scale per row
  const DeviceBuffer<__nv_bfloat16> y(static_cast<size_t>(rows) * n);
  const auto params = [&](const Routing& routing) {
    GroupedGemmParams p;
    p.x = x.values.data();
    p.x_stride = k;
    if (sizeof(typename W::X) == 1) p.x_scale = x.scales.data();
    if (gathers) p.x_row = routing.token_of.data();
    p.first_row = routing.first_row.data();
    p.span_of = routing.span_of.data();
    p.y = y.data();
    p.y_stride = n;
    p.num_rows = rows;
    p.expected_rows = tokens * shape.per_token * shape.held / shape.experts;
    p.num_experts = shape.held;
    p.n = n;
    p.k = k;
    return p;
  };
  Verify(w, params(routings[0]), routings[0]);
  const auto launch = [&](int set, cudaStream_t stream) {
    return w.Launch(params(routings[static_cast<size_t>(set)]), stream);
  };
  return TimeLaunches("grouped GEMM", kRoutings, launch).median_us;
}

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
    const double in_us =
        TimeProduct(in, routings, shape, 2 * shape.inner, shape.hidden, /*gathers=*/true);
    const double down_us =
        TimeProduct(down, routings, shape, shape.hidden, shape.inner, /*gathers=*/false);
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
