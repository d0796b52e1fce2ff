// Every variant of the grouped GEMM, and the library's choice, against a float64 reference: rows
// of random experts, some without any, in order or through a list. y must be within one bf16 ulp
// (plus what f32 sums of k products leave), and what no expert has stays as it is. A row's result
// does not depend on the rows beside it: two rows of one expert that read the same row of x have
// the same bits, in every tile of a family (int8: of both), in every run. What may not be read is
// NaN: weights (int8: scales) of experts without rows, and rows of x that the list does not name.
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/moe/grouped_gemm/table.h"
#include "pingti/kernels/moe.h"
#include "tests/kernels/moe/expert_rows.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Problem {
  int experts, n, k;
  bool bias, gathers;
  Rows rows;
  int num_rows;  // that experts have
  int spare;     // further rows that y has room for
};

// In float64: the sum of products, and of their absolute values.
template <typename T>
__global__ void ReferenceKernel(const T* x, int64_t x_stride, const int* x_row,
                                const int* expert_of, const T* w, int rows, int n, int k,
                                double* sum, double* magnitude) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= int64_t{rows} * n) return;
  const int row = static_cast<int>(index / n);
  const T* from = x + x_row[row] * x_stride;
  const T* weights = w + (int64_t{expert_of[row]} * n + index % n) * k;
  double total = 0;
  double absolute = 0;
  for (int i = 0; i < k; ++i) {
    const double product =
        static_cast<double>(static_cast<float>(from[i])) * static_cast<float>(weights[i]);
    total += product;
    absolute += fabs(product);
  }
  sum[index] = total;
  magnitude[index] = absolute;
}

template <typename T>
class Fixture {
 public:
  static constexpr bool kInt8 = sizeof(T) == 1;

  Fixture(const Problem& p, uint64_t seed)
      : p_(p), random_(seed), rows_(p.rows, p.experts, p.num_rows, p.spare, &random_) {
    MakeWeights();
    MakeX();
    bias_ = RandomNormal<__nv_bfloat16>(size_t(p.experts) * p.n, &random_);
    device_bias_ = DeviceBuffer<__nv_bfloat16>(bias_);
    first_row_ = DeviceBuffer<int>(rows_.first_row);
    span_of_ = DeviceBuffer<int2>(rows_.span_of);
    y_ = DeviceBuffer<__nv_bfloat16>(size_t(p.num_rows + p.spare) * YStride());
    Reference();
  }

  void Check(TestRun* run) {
    std::map<GroupedGemmFamily, std::vector<__nv_bfloat16>> first_of;
    for (const GroupedGemmVariant& variant :
         GroupedGemmVariants(Params(), 10 * run->compute_major())) {
      std::vector<__nv_bfloat16>& first =
          first_of[kInt8 ? GroupedGemmFamily::kMma : variant.family];
      for (int repeat = 0; repeat < 2; ++repeat) {
        y_.Poison();
        const cudaError_t error = LaunchGroupedGemmVariant(Params(), variant, nullptr);
        if (!run->Expect(error == cudaSuccess, "%s: launch: %s", Name(variant).c_str(),
                         cudaGetErrorString(error)) ||
            !run->ExpectDeviceOk()) {
          return;
        }
        const std::vector<__nv_bfloat16> y = y_.ToHost();
        if (first.empty()) first = y;
        run->Expect(std::memcmp(y.data(), first.data(), y.size() * 2) == 0,
                    "%s: other bits than the family's first variant", Name(variant).c_str());
        if (repeat == 0) CheckValues(y, Name(variant), run);
      }
    }
    y_.Poison();
    const cudaError_t error = LaunchGroupedGemm(Params(), nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (run->ExpectDeviceOk()) CheckValues(y_.ToHost(), "the library's choice", run);
  }

 private:
  static std::string Name(const GroupedGemmVariant& v) {
    return (v.family == GroupedGemmFamily::kMma ? "mma " : "tile ") + std::to_string(v.rows) + "x" +
           std::to_string(v.columns) + " cluster " + std::to_string(v.cluster);
  }

  // n that allow vectors of 16 bytes keep them.
  int YStride() const { return p_.n % 8 == 0 ? p_.n + 8 : p_.n + 2; }
  int XStride() const { return p_.k + 16; }

  void MakeWeights() {
    std::vector<T> w(size_t(p_.experts) * p_.n * p_.k);
    std::memset(static_cast<void*>(w.data()), 0xFF, w.size() * sizeof(T));
    w_scale_.assign(size_t(p_.experts) * p_.n, std::nanf(""));
    for (int e = 0; e < p_.experts; ++e) {
      if (!rows_.HasRows(e)) continue;
      for (size_t i = size_t(e) * p_.n; i < size_t(e + 1) * p_.n; ++i) {
        for (int k = 0; k < p_.k; ++k) w[i * p_.k + k] = Value();
        w_scale_[i] = kInt8 ? 0.002f + 0.01f * std::abs(random_.Uniform()) : 1.0f;
      }
    }
    w_ = DeviceBuffer<T>(w);
    device_w_scale_ = DeviceBuffer<float>(w_scale_);
  }

  T Value() {
    if constexpr (kInt8) {
      return static_cast<T>(static_cast<int>(random_.Below(255)) - 127);
    } else {
      return FromFloat<T>(random_.Normal());
    }
  }

  void MakeX() {
    // Lists: rows of half as many, in an order of their own, many of them more than once.
    const int room = p_.num_rows + p_.spare;
    const int x_rows = std::max(1, p_.gathers ? p_.num_rows / 2 + 1 : room);
    std::vector<T> x(size_t(x_rows) * XStride());
    std::memset(static_cast<void*>(x.data()), 0xFF, x.size() * sizeof(T));
    x_scale_.assign(x_rows, std::nanf(""));
    for (int row = 0; row < p_.num_rows; ++row) {
      const auto any = static_cast<int>(random_.Below(static_cast<uint32_t>(x_rows)));
      x_row_.push_back(p_.gathers ? any : row);
      if (!std::isnan(x_scale_[x_row_.back()])) continue;
      x_scale_[x_row_.back()] = kInt8 ? 0.01f + 0.1f * std::abs(random_.Uniform()) : 1.0f;
      for (int k = 0; k < p_.k; ++k) x[size_t(x_row_.back()) * XStride() + k] = Value();
    }
    x_ = DeviceBuffer<T>(x);
    device_x_scale_ = DeviceBuffer<float>(x_scale_);
    std::vector<int> padded = x_row_;
    padded.resize(size_t(room), -1);
    device_x_row_ = DeviceBuffer<int>(padded);
  }

  void Reference() {
    const DeviceBuffer<double> sum(size_t(p_.num_rows) * p_.n), magnitude(sum.size());
    if (sum.size() == 0) return;
    const DeviceBuffer<int> expert_of(rows_.expert_of);
    ReferenceKernel<<<unsigned((sum.size() + 255) / 256), 256>>>(
        x_.data(), XStride(), device_x_row_.data(), expert_of.data(), w_.data(), p_.num_rows, p_.n,
        p_.k, sum.data(), magnitude.data());
    PINGTI_CUDA(cudaGetLastError());
    sum_ = sum.ToHost();
    magnitude_ = magnitude.ToHost();
  }

  GroupedGemmParams Params() const {
    GroupedGemmParams params;
    params.x = x_.data();
    params.x_stride = XStride();
    if (kInt8) params.x_scale = device_x_scale_.data();
    if (p_.gathers) params.x_row = device_x_row_.data();
    params.w = w_.data();
    if (kInt8) params.w_scale = device_w_scale_.data();
    if (p_.bias) params.bias = device_bias_.data();
    params.first_row = first_row_.data();
    params.span_of = span_of_.data();
    params.y = y_.data();
    params.y_stride = YStride();
    params.num_rows = p_.num_rows + p_.spare;
    params.expected_rows = p_.num_rows;
    params.num_experts = p_.experts;
    params.n = p_.n;
    params.k = p_.k;
    return params;
  }

  void CheckValues(const std::vector<__nv_bfloat16>& y, const std::string& who, TestRun* run) {
    std::map<std::pair<int, int>, int> row_of;  // of an expert and a row of x: the first one
    for (int row = 0; row < p_.num_rows + p_.spare; ++row) {
      for (int col = 0; col < YStride(); ++col) {
        const double got = ToDouble(y[size_t(row) * YStride() + col]);
        if (row >= p_.num_rows || col >= p_.n) {
          if (!run->Expect(std::isnan(got), "%s: y [%d, %d] was written", who.c_str(), row, col)) {
            return;
          }
          continue;
        }
        const size_t at = size_t(row) * p_.n + col;
        const size_t stack = size_t(rows_.expert_of[row]) * p_.n + col;
        const double bias = p_.bias ? ToDouble(bias_[stack]) : 0.0;
        const double scale = double(w_scale_[stack]) * x_scale_[x_row_[row]];
        const double expected = sum_[at] * scale + bias;
        // int8 sums are exact; f32 sums and the epilogue round.
        const double magnitude = (kInt8 ? std::abs(sum_[at]) : magnitude_[at]) * scale;
        const double allowed = std::abs(expected) * 0x1p-8 + 0x1p-19 * (magnitude + std::abs(bias));
        if (!run->Expect(std::abs(got - expected) <= allowed,
                         "%s: y [%d, %d] of expert %d is %g, not %g", who.c_str(), row, col,
                         rows_.expert_of[row], got, expected)) {
          return;
        }
      }
      if (row >= p_.num_rows) continue;
      const auto [first, is_new] = row_of.try_emplace({rows_.expert_of[row], x_row_[row]}, row);
      run->Expect(is_new || std::memcmp(&y[size_t(row) * YStride()],
                                        &y[size_t(first->second) * YStride()], 2 * p_.n) == 0,
                  "%s: rows %d and %d are the same, their results are not", who.c_str(), row,
                  first->second);
    }
  }

  Problem p_;
  Random random_;
  ExpertRows rows_;
  std::vector<int> x_row_;
  std::vector<float> w_scale_, x_scale_;
  std::vector<double> sum_, magnitude_;
  std::vector<__nv_bfloat16> bias_;
  DeviceBuffer<T> w_, x_;
  DeviceBuffer<float> device_w_scale_, device_x_scale_;
  DeviceBuffer<__nv_bfloat16> device_bias_, y_;
  DeviceBuffer<int> device_x_row_, first_row_;
  DeviceBuffer<int2> span_of_;
};

const Problem kProblems[] = {
    // Fewer rows than experts.
    {16, 136, 768, false, true, Rows::kRandom, 5, 3},
    {128, 64, 96, true, false, Rows::kAllOfLast, 100, 20},
    // Around an expert's row tiles, with tails in n and k; segments begin anywhere.
    {6, 256, 1408, false, true, Rows::kRandom, 190, 7},
    {6, 264, 1536, true, false, Rows::kRandom, 400, 0},
    {3, 136, 2048, true, true, Rows::kRandom, 130, 1},
    {5, 520, 2880, true, true, Rows::kRandom, 333, 17},
    {4, 72, 7168, false, false, Rows::kRandom, 257, 0},
    {2, 384, 14336, false, true, Rows::kRandom, 65, 0},
    {7, 768, 400, false, false, Rows::kRandom, 1000, 40},
    // Too narrow for tiles of wgmma, which then refuse.
    {4, 38, 208, true, true, Rows::kRandom, 150, 2},
    // One expert has all rows, more than a few tiles and more than rows of a walk's group.
    {9, 128, 256, true, true, Rows::kAllOfOne, 700, 12},
    {1, 640, 144, false, false, Rows::kAllOfOne, 129, 0},
    {4, 288, 128, false, true, Rows::kAllOfLast, 2500, 60},
    {2, 1032, 32, false, false, Rows::kAllOfLast, 4200, 0},
    // As many experts as there may be; one row for each and more.
    {512, 16, 160, false, true, Rows::kRandom, 900, 0},
    {257, 24, 272, true, false, Rows::kRandom, 2000, 5},
    // No expert has any.
    {4, 64, 256, false, true, Rows::kNone, 0, 20},
};

std::string Name(const char* type, const Problem& p) {
  const char* rows[] = {"random", "all of one", "all of the last", "none"};
  return std::string(type) + " experts " + std::to_string(p.experts) + " n" + std::to_string(p.n) +
         " k" + std::to_string(p.k) + " rows " + std::to_string(p.num_rows) + " " +
         rows[static_cast<int>(p.rows)] + (p.bias ? " bias" : "") + (p.gathers ? " gathered" : "");
}

void TestEmptyAndInvalid(TestRun* run) {
  if (!run->Begin("empty and invalid", 1)) return;
  GroupedGemmParams params;
  params.num_experts = 2;
  params.n = 64;
  params.k = 64;
  run->Expect(LaunchGroupedGemm(params, nullptr) == cudaSuccess, "no rows: no success");
  params.num_rows = 4;
  run->Expect(LaunchGroupedGemm(params, nullptr) == cudaErrorInvalidValue,
              "null operands accepted");
  params.num_rows = 0;
  params.k = 60;
  run->Expect(LaunchGroupedGemm(params, nullptr) == cudaErrorInvalidValue, "k of 60 accepted");
  params.k = 64;
  params.num_experts = kMaxExperts + 1;
  run->Expect(LaunchGroupedGemm(params, nullptr) == cudaErrorInvalidValue,
              "too many experts accepted");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("grouped_gemm_test", argc, argv);
  TestEmptyAndInvalid(&run);
  uint64_t seed = 40;
  for (const Problem& problem : kProblems) {
    ++seed;
    if (run.Begin(Name("bf16", problem), seed)) Fixture<__nv_bfloat16>(problem, seed).Check(&run);
    if (run.Begin(Name("int8", problem), seed)) Fixture<int8_t>(problem, seed).Check(&run);
  }
  return run.Finish();
}
