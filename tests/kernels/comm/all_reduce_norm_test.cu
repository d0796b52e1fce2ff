// All-reduce with residual, RMSNorm and int8 quantization against float64: rows of every launch
// shape and cluster, one and many tokens, padded strides, both ways; the same bits on all ranks.

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "pingti/kernels/all_reduce.h"
#include "tests/kernels/comm/ranks.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/quantized.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

using T = __nv_bfloat16;

struct Shape {
  int tokens;
  int hidden;
  bool residual;
  bool out;
  bool quantized;
  AllReduceShape how;
};

// What one rank holds on its device.
struct RankData {
  DeviceBuffer<T> x;
  DeviceBuffer<T> residual;
  DeviceBuffer<float> weight;
  DeviceBuffer<T> out;
  DeviceBuffer<int8_t> quantized;
  DeviceBuffer<float> scales;
};

RmsNormParams NormOf(const RankData& data, const Shape& shape, int stride) {
  RmsNormParams p;
  p.x = data.x.data();
  p.residual = shape.residual ? data.residual.data() : nullptr;
  p.weight = data.weight.data();
  p.out = shape.out ? data.out.data() : nullptr;
  p.quantized = shape.quantized ? data.quantized.data() : nullptr;
  p.scales = shape.quantized ? data.scales.data() : nullptr;
  p.x_stride = p.residual_stride = p.out_stride = p.quantized_stride = stride;
  p.num_tokens = shape.tokens;
  p.hidden = shape.hidden;
  return p;
}

template <typename U>
bool SameBytes(const DeviceBuffer<U>& a, const DeviceBuffer<U>& b) {
  const std::vector<U> left = a.ToHost();
  const std::vector<U> right = b.ToHost();
  return std::memcmp(left.data(), right.data(), left.size() * sizeof(U)) == 0;
}

// h of one row by the formula: the sum in rank order rounded once, then the residual, rounded.
std::vector<double> Hidden(const std::vector<std::vector<T>>& parts, const std::vector<T>& residual,
                           const Shape& shape, size_t begin) {
  std::vector<double> h(shape.hidden);
  for (int i = 0; i < shape.hidden; ++i) {
    float sum = static_cast<float>(ToDouble(parts[0][begin + i]));
    for (size_t r = 1; r < parts.size(); ++r) {
      sum += static_cast<float>(ToDouble(parts[r][begin + i]));
    }
    T kept = FromFloat<T>(sum);
    if (shape.residual) {
      kept = FromFloat<T>(static_cast<float>(ToDouble(kept)) +
                          static_cast<float>(ToDouble(residual[begin + i])));
    }
    h[i] = ToDouble(kept);
  }
  return h;
}

// Rank 0's results against the formula.
void CheckRank(TestRun* run, const Shape& shape, int stride, const RankData& data, float eps,
               const std::vector<std::vector<T>>& parts, const std::vector<T>& residual,
               const std::vector<float>& weight) {
  const std::vector<T> got = data.out.ToHost();
  const std::vector<T> got_residual = data.residual.ToHost();
  const std::vector<int8_t> got_quantized = data.quantized.ToHost();
  const std::vector<float> got_scales = data.scales.ToHost();
  std::vector<T> got_rows;
  std::vector<double> want_rows;
  for (int t = 0; t < shape.tokens; ++t) {
    const size_t begin = static_cast<size_t>(t) * stride;
    std::vector<double> h = Hidden(parts, residual, shape, begin);
    double squares = 0;
    for (int i = 0; i < shape.hidden; ++i) {
      squares += h[i] * h[i];
      if (shape.residual && ToDouble(got_residual[begin + i]) != h[i]) {
        run->Expect(false, "residual %d,%d: %g, want %g", t, i, ToDouble(got_residual[begin + i]),
                    h[i]);
        return;
      }
    }
    const double inverse = 1 / std::sqrt(squares / shape.hidden + eps);
    for (int i = 0; i < shape.hidden; ++i) h[i] *= inverse * weight[i];
    if (shape.quantized &&
        !ExpectQuantizedRow(run, t, h.data(), &got_quantized[begin], got_scales[t], shape.hidden)) {
      return;
    }
    got_rows.insert(got_rows.end(), &got[begin], &got[begin] + shape.hidden);
    want_rows.insert(want_rows.end(), h.begin(), h.end());
    run->Expect(!shape.out || std::isnan(ToDouble(got[begin + shape.hidden])), "wrote past row %d",
                t);
  }
  if (!shape.out) return;
  const ErrorStats stats = Compare(got_rows, want_rows);
  run->Expect(stats.Finite() && stats.rel_l2 < 3.5e-3, "rel %g, %zu bad", stats.rel_l2,
              stats.num_bad);
}

void RunCase(TestRun* run, Ranks& ranks, const Shape& shape, uint64_t seed) {
  Random random(seed);
  const int stride = shape.hidden + 16;
  const size_t size = static_cast<size_t>(shape.tokens) * stride;
  const std::vector<T> residual = RandomNormal<T>(size, &random, 3.0f);
  const std::vector<float> weight = RandomNormal<float>(shape.hidden, &random);
  std::vector<std::vector<T>> parts;
  std::vector<RankData> data;
  for (int r = 0; r < ranks.size(); ++r) {
    ranks.Use(r);
    parts.push_back(RandomNormal<T>(size, &random));
    data.push_back({DeviceBuffer<T>(parts.back()), DeviceBuffer<T>(residual),
                    DeviceBuffer<float>(weight), DeviceBuffer<T>(size), DeviceBuffer<int8_t>(size),
                    DeviceBuffer<float>(shape.tokens)});
  }
  ranks.SynchronizeDevices();
  AllReduceRmsNormParams p;
  p.shape = shape.how;
  for (int r = 0; r < ranks.size(); ++r) {
    ranks.Use(r);
    if (random.Below(4) == 0) ranks.Delay(r, 1000 * (1 + random.Below(100)));
    p.link = ranks.group().link(r);
    p.norm = NormOf(data[r], shape, stride);
    const cudaError_t error = LaunchAllReduceRmsNorm(p, ranks.stream(r));
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  }
  ranks.Synchronize();
  run->Expect(!ranks.group().aborted(), "the group was aborted");
  CheckRank(run, shape, stride, data[0], p.norm.eps, parts, residual, weight);
  for (int r = 1; r < ranks.size(); ++r) {
    run->Expect(SameBytes(data[r].residual, data[0].residual) &&
                    SameBytes(data[r].out, data[0].out) &&
                    SameBytes(data[r].quantized, data[0].quantized) &&
                    SameBytes(data[r].scales, data[0].scales),
                "rank %d differs from rank 0", r);
  }
}

std::string NameOf(const Shape& shape, const Ranks& ranks) {
  return std::to_string(shape.tokens) + "x" + std::to_string(shape.hidden) +
         (shape.residual ? " residual" : "") + (shape.out ? " out" : "") +
         (shape.quantized ? " int8" : "") + " shots " + std::to_string(shape.how.shots) +
         " cluster " + std::to_string(shape.how.cluster) + ", " + ranks.name();
}

void RunGroup(TestRun* run, const std::vector<int>& devices) {
  Ranks ranks(devices);
  uint64_t seed = 1;
  for (int tokens : {1, 3, 40}) {
    for (int hidden : {8, 72, 576, 3584, 8192, 8200, 32768}) {
      if (tokens == 40 && hidden > 8200) continue;
      for (int shots = 1; shots <= (ranks.size() == 2 ? 1 : 2); ++shots) {
        for (int cluster : {0, 1, 2, 4, 8}) {
          // More than the threads of such a cluster hold; and devices that have none.
          if (cluster > 0 && hidden > cluster * 8192) continue;
          if (cluster > 1 && run->compute_major() < 9) continue;
          if (hidden > 8192 && run->compute_major() < 9) continue;
          const int mode = static_cast<int>(++seed % 6);
          const Shape shape{tokens,        hidden,        mode % 2 == 1,
                            mode / 2 != 1, mode / 2 >= 1, {shots, 0, cluster, 0}};
          if (run->Begin(NameOf(shape, ranks), seed)) RunCase(run, ranks, shape, seed);
        }
      }
    }
  }
  AllReduceGroupOptions options{.timeout = Ranks::kTimeout};
  options.buffer_bytes = 128 << 10;
  Ranks small(devices, options);
  const Shape shape{60, 3584, true, true, true, {}};
  if (run->Begin("larger than a buffer, " + small.name(), ++seed)) {
    RunCase(run, small, shape, seed);
  }
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  Ranks ranks(OneDeviceForAll(2));
  AllReduceRmsNormParams p;
  p.link = ranks.group().link(0);
  p.norm.hidden = 64;
  run->Expect(LaunchAllReduceRmsNorm(p, nullptr) == cudaSuccess, "no tokens");
  p.norm.num_tokens = 1;
  run->Expect(LaunchAllReduceRmsNorm(p, nullptr) == cudaErrorInvalidValue, "null");
  p.norm.dtype = DType::kF16;
  run->Expect(LaunchAllReduceRmsNorm(p, nullptr) == cudaErrorNotSupported, "f16");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  PrepareForRanks();
  TestRun run("all_reduce_norm_test", argc, argv);
  for (int num_ranks : {2, 4, 8}) {
    RunGroup(&run, OneDeviceForAll(num_ranks));
    const std::vector<int> devices = DeviceForEach(num_ranks);
    if (devices.empty()) {
      std::printf("all_reduce_norm_test: no %d devices that reach each other: ranks share one\n",
                  num_ranks);
    } else {
      RunGroup(&run, devices);
    }
  }
  RunRefusals(&run);
  return run.Finish();
}
