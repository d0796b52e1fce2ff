// What the benches of a mixture of experts share: shapes, routings, stacks of experts' matrices, a
// spot check against the formula, and the time of a grouped product. Bench code: an error ends the
// program with a message. Single thread.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/moe.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {

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

inline float ToFloat(int8_t value) { return value; }
inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

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

// The operands of one grouped product beside its weights: rows of X, with a scale each.
template <typename X>
struct Product {
  Product(const Shape& shape, int tokens, int n, int k, bool gathers)
      : shape(shape),
        tokens(tokens),
        n(n),
        k(k),
        gathers(gathers),
        rows(shape.max_rows(tokens)),
        x(1, rows, k),
        y(static_cast<size_t>(rows) * n) {}

  GroupedGemmParams Params(const Routing& routing) const {
    GroupedGemmParams p;
    p.x = x.values.data();
    p.x_stride = k;
    if (sizeof(X) == 1) p.x_scale = x.scales.data();
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
  }

  // Microseconds of the product with these weights, after a spot check.
  template <typename W>
  double Time(const W& w, const std::vector<Routing>& routings, const TimingOptions& options) {
    y.Poison();
    Verify(w, Params(routings[0]), routings[0]);
    const auto launch = [&](int set, cudaStream_t stream) {
      return w.Launch(Params(routings[static_cast<size_t>(set)]), stream);
    };
    return TimeLaunches("grouped GEMM", kRoutings, launch, options).median_us;
  }

  Shape shape;
  int tokens, n, k;
  bool gathers;
  int rows;
  Matrix<X> x;
  DeviceBuffer<__nv_bfloat16> y;
};

}  // namespace pingti::kernels::bench
