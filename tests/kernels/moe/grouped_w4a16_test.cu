// The weight-only grouped GEMM against a float64 reference: random q, zeros and scales of a stack
// of experts, repacked by the library, multiplied with rows that come in order or through a list. y
// must be within one bf16 ulp (plus what f32 sums of k products leave), rows that no expert has
// stay as they are, and two runs give the same bits. What may not be read is NaN: the scales of
// experts without rows, and rows of x that the list does not name.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "pingti/kernels/gemm_w4a16.h"
#include "pingti/kernels/moe.h"
#include "tests/kernels/moe/expert_rows.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Problem {
  int experts, n, k, group_size;
  WeightBits bits;
  ScaleType scale_type;
  bool zeros, bias, gathers;
  Rows rows;
  int num_rows;  // that experts have
  int spare;     // further rows that y has room for
  int expected;  // rows, for the choice of a tile
  bool fp4 = false;
};

// What 4-bit floats are.
constexpr double kFp4[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

constexpr uint16_t kNanBits = 0x7FFF;  // in f16 and in bf16

__global__ void ReferenceKernel(const __nv_bfloat16* x, int64_t x_stride, const int* x_row,
                                const int* expert_of, const uint8_t* q, const double* scale,
                                const uint8_t* zero, const double* value_of, int rows, int experts,
                                int n, int k, int group_size, double* sum, double* magnitude) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= int64_t{rows} * n) return;
  const int row = static_cast<int>(index / n);
  const int64_t col = int64_t{expert_of[row]} * n + index % n;  // of the stack
  double total = 0;
  double absolute = 0;
  for (int i = 0; i < k; ++i) {
    const int64_t g = int64_t{i / group_size} * experts * n + col;
    const double value = value_of[q[col * k + i]] - value_of[zero[g]];
    const double product =
        static_cast<double>(__bfloat162float(x[x_row[row] * x_stride + i])) * value * scale[g];
    total += product;
    absolute += fabs(product);
  }
  sum[index] = total;
  magnitude[index] = absolute;
}

class Fixture {
 public:
  Fixture(const Problem& p, uint64_t seed)
      : p_(p), random_(seed), rows_(p.rows, p.experts, p.num_rows, p.spare, &random_) {
    bits_ = p.bits == WeightBits::k4 ? 4 : 8;
    groups_ = (p.k + p.group_size - 1) / p.group_size;
    MakeWeights();
    MakeX();
    bias_ = RandomNormal<__nv_bfloat16>(size_t(p.experts) * p.n, &random_);
    device_bias_ = DeviceBuffer<__nv_bfloat16>(bias_);
  }

  void Check(TestRun* run) {
    std::vector<double> sum, magnitude;
    Reference(&sum, &magnitude);
    const std::vector<__nv_bfloat16> first = Launch(run);
    const std::vector<__nv_bfloat16> second = Launch(run);
    if (first.empty() || second.empty()) return;
    run->Expect(std::memcmp(first.data(), second.data(), first.size() * 2) == 0, "two runs differ");
    for (int row = 0; row < p_.num_rows + p_.spare; ++row) {
      for (int col = 0; col < YStride(); ++col) {
        const double y = ToDouble(first[size_t(row) * YStride() + col]);
        if (row >= p_.num_rows || col >= p_.n) {
          if (!run->Expect(std::isnan(y), "y [%d, %d] was written", row, col)) return;
          continue;
        }
        const size_t at = size_t(row) * p_.n + col;
        const double bias =
            p_.bias ? ToDouble(bias_[size_t(rows_.expert_of[row]) * p_.n + col]) : 0.0;
        const double expected = sum[at] + bias;
        // f32 sums inside a group and over groups: a few roundings of the running magnitude.
        const double allowed =
            std::abs(expected) * 0x1p-8 + 0x1p-19 * (magnitude[at] + std::abs(bias));
        if (!run->Expect(std::abs(y - expected) <= allowed, "y [%d, %d] of expert %d is %g, not %g",
                         row, col, rows_.expert_of[row], y, expected)) {
          return;
        }
      }
    }
  }

 private:
  int YStride() const { return p_.n + 2; }
  int XStride() const { return p_.k + 8; }

  void MakeWeights() {
    const int stack = p_.experts * p_.n;
    const int mask = (1 << bits_) - 1;
    q_.resize(size_t(stack) * p_.k);
    for (uint8_t& q : q_) q = random_.Next() & mask;
    zeros_.assign(size_t(groups_) * stack, p_.fp4 ? 0 : bits_ == 4 ? 8 : 128);
    if (p_.zeros) {
      for (uint8_t& zero : zeros_) zero = random_.Next() & mask;
    }
    std::vector<uint16_t> scale_bits(zeros_.size(), kNanBits);
    scales_.resize(zeros_.size());
    for (size_t i = 0; i < scales_.size(); ++i) {
      if (!rows_.HasRows(static_cast<int>(i) % stack / p_.n)) continue;
      const float scale = 0.002f + 0.01f * std::abs(random_.Uniform());
      if (p_.scale_type == ScaleType::kF16) {
        scales_[i] = StoreAs<__half>(scale, &scale_bits[i]);
      } else {
        scales_[i] = StoreAs<__nv_bfloat16>(scale, &scale_bits[i]);
      }
    }
    device_scales_ = DeviceBuffer<uint16_t>(scale_bits);
    device_zeros_ = DeviceBuffer<uint8_t>(zeros_);
    Repack(stack);
  }

  template <typename T>
  static double StoreAs(float value, uint16_t* bits) {
    const T stored = FromFloat<T>(value);
    std::memcpy(bits, &stored, 2);
    return ToDouble(stored);
  }

  void Repack(int stack) {
    const int per_word = 32 / bits_;
    const int words_per_row = (p_.k + per_word - 1) / per_word;
    std::vector<uint32_t> words(size_t(stack) * words_per_row, 0);
    for (size_t i = 0; i < q_.size(); ++i) {
      const int k = static_cast<int>(i % p_.k);
      words[i / p_.k * words_per_row + k / per_word] |= uint32_t{q_[i]} << (k % per_word * bits_);
    }
    const DeviceBuffer<uint32_t> source(words);
    packed_ = DeviceBuffer<uint8_t>(PackedWeightBytes(stack, p_.k, p_.bits));
    RepackWeightsParams repack;
    repack.n = stack;
    repack.k = p_.k;
    repack.bits = p_.bits;
    repack.layout = WeightLayout::kRowMajor;
    repack.source = source.data();
    repack.packed = packed_.data();
    PINGTI_CUDA(LaunchRepackWeights(repack, nullptr));
    PINGTI_CUDA(cudaDeviceSynchronize());
  }

  void MakeX() {
    // Gathered rows: two of three of x, in an order of their own, some more than once.
    const int x_rows = p_.gathers ? p_.num_rows * 3 / 2 + 3 : std::max(1, p_.num_rows);
    std::vector<__nv_bfloat16> x(size_t(x_rows) * XStride());
    std::memset(static_cast<void*>(x.data()), 0xFF, x.size() * 2);
    for (int row = 0; row < p_.num_rows; ++row) {
      const auto any = static_cast<int>(random_.Below(static_cast<uint32_t>(x_rows)));
      x_row_.push_back(p_.gathers ? any : row);
      for (int k = 0; k < p_.k; ++k) {
        x[size_t(x_row_.back()) * XStride() + k] = FromFloat<__nv_bfloat16>(random_.Normal());
      }
    }
    x_ = DeviceBuffer<__nv_bfloat16>(x);
    std::vector<int> padded = x_row_;
    padded.resize(size_t(p_.num_rows + p_.spare), -1);
    device_x_row_ = DeviceBuffer<int>(padded);
  }

  void Reference(std::vector<double>* sum, std::vector<double>* magnitude) const {
    const DeviceBuffer<uint8_t> q(q_);
    const DeviceBuffer<int> expert_of(rows_.expert_of), x_row(x_row_);
    // Of each code: itself, or the float that it is.
    std::vector<double> value_of(256);
    for (int q = 0; q < 256; ++q) value_of[q] = p_.fp4 ? kFp4[q % 16] : q;
    const DeviceBuffer<double> values(value_of), scales(scales_),
        device_sum(size_t(p_.num_rows) * p_.n), device_magnitude(device_sum.size());
    if (device_sum.size() == 0) return;
    ReferenceKernel<<<unsigned((device_sum.size() + 255) / 256), 256>>>(
        x_.data(), XStride(), x_row.data(), expert_of.data(), q.data(), scales.data(),
        device_zeros_.data(), values.data(), p_.num_rows, p_.experts, p_.n, p_.k, p_.group_size,
        device_sum.data(), device_magnitude.data());
    PINGTI_CUDA(cudaGetLastError());
    *sum = device_sum.ToHost();
    *magnitude = device_magnitude.ToHost();
  }

  std::vector<__nv_bfloat16> Launch(TestRun* run) {
    const DeviceBuffer<__nv_bfloat16> y(size_t(p_.num_rows + p_.spare) * YStride());
    const DeviceBuffer<int> first_row(rows_.first_row);
    const DeviceBuffer<int2> span_of(rows_.span_of);
    GroupedGemmParams params;
    params.x = x_.data();
    params.x_stride = XStride();
    if (p_.gathers) params.x_row = device_x_row_.data();
    params.w = packed_.data();
    if (p_.bias) params.bias = device_bias_.data();
    params.first_row = first_row.data();
    params.span_of = span_of.data();
    params.y = y.data();
    params.y_stride = YStride();
    params.num_rows = p_.num_rows + p_.spare;
    params.expected_rows = p_.expected;
    params.num_experts = p_.experts;
    params.n = p_.n;
    params.k = p_.k;
    GroupScales scales;
    scales.bits = p_.bits;
    scales.group_size = p_.group_size;
    scales.scales = device_scales_.data();
    scales.type = p_.scale_type;
    if (p_.zeros) scales.zeros = device_zeros_.data();
    scales.is_fp4 = p_.fp4;
    const cudaError_t error = LaunchGroupedW4A16(params, scales, nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return {};
    return y.ToHost();
  }

  Problem p_;
  Random random_;
  int bits_ = 4;
  int groups_ = 1;
  ExpertRows rows_;
  std::vector<int> x_row_;
  std::vector<uint8_t> q_, zeros_;  // [experts * n, k], [groups, experts * n]
  std::vector<double> scales_;
  std::vector<__nv_bfloat16> bias_;
  DeviceBuffer<__nv_bfloat16> x_, device_bias_;
  DeviceBuffer<int> device_x_row_;
  DeviceBuffer<uint8_t> packed_, device_zeros_;
  DeviceBuffer<uint16_t> device_scales_;
};

constexpr auto k4 = WeightBits::k4;
constexpr auto k8 = WeightBits::k8;
constexpr auto kF16 = ScaleType::kF16;
constexpr auto kBf16 = ScaleType::kBf16;

const Problem kProblems[] = {
    // Fewer rows than experts.
    {8, 96, 128, 128, k4, kF16, false, false, true, Rows::kRandom, 1, 0, 1},
    {16, 1536, 2048, 128, k4, kBf16, false, true, true, Rows::kRandom, 8, 5, 8},
    {128, 64, 768, 32, k4, kF16, true, false, false, Rows::kRandom, 60, 64, 60},
    {128, 32, 200, 64, k4, kF16, true, true, true, Rows::kAllOfLast, 127, 0, 127},
    // The same with tiles whose k is shared, one of them with more rows than a tile.
    {4, 96, 2600, 128, k4, kF16, true, true, true, Rows::kRandom, 3, 2, 3},
    {9, 128, 1024, 64, k4, kF16, false, true, true, Rows::kAllOfOne, 100, 0, 9},
    {4, 160, 1032, 32, k8, kBf16, true, false, true, Rows::kRandom, 4, 1, 4},
    // Each tile size, with tails in n, k and rows.
    {6, 160, 520, 128, k4, kF16, true, true, true, Rows::kRandom, 17, 3, 20},
    {6, 1056, 1280, 32, k4, kBf16, false, false, true, Rows::kRandom, 40, 0, 40},
    {5, 224, 392, 64, k4, kF16, true, true, false, Rows::kRandom, 61, 9, 60},
    {4, 352, 648, 128, k4, kBf16, true, false, true, Rows::kRandom, 120, 1, 64},
    {4, 352, 648, 32, k4, kF16, false, true, true, Rows::kRandom, 333, 17, 300},
    // One group for all of k, and groups of more than a chunk.
    {3, 64, 1000, 1000, k4, kF16, true, false, true, Rows::kRandom, 31, 0, 6},
    {3, 64, 1024, 512, k4, kBf16, false, false, true, Rows::kRandom, 31, 0, 31},
    // One expert has all rows, more than a tile, whatever is expected.
    {9, 128, 256, 128, k4, kF16, false, true, true, Rows::kAllOfOne, 100, 0, 9},
    {9, 128, 256, 64, k4, kF16, false, true, true, Rows::kAllOfOne, 700, 12, 700},
    {1, 288, 256, 32, k4, kBf16, true, true, false, Rows::kAllOfOne, 77, 0, 77},
    // No expert has any.
    {4, 64, 256, 128, k4, kF16, false, false, true, Rows::kNone, 0, 20, 8},
    // 4-bit floats, in each tile size.
    {32, 96, 2880, 32, k4, kBf16, false, true, true, Rows::kRandom, 4, 1, 4, true},
    {6, 160, 520, 32, k4, kBf16, false, true, true, Rows::kRandom, 40, 3, 40, true},
    {5, 224, 392, 32, k4, kF16, false, false, false, Rows::kRandom, 61, 9, 70, true},
    {4, 1056, 648, 32, k4, kBf16, false, true, true, Rows::kRandom, 333, 17, 300, true},
    // 8 bits.
    {12, 96, 520, 32, k8, kF16, false, true, true, Rows::kRandom, 7, 2, 7},
    {6, 160, 520, 128, k8, kBf16, true, true, true, Rows::kRandom, 50, 3, 40},
    {5, 224, 392, 64, k8, kF16, false, false, false, Rows::kRandom, 61, 9, 70},
    {4, 1056, 648, 32, k8, kF16, true, true, true, Rows::kRandom, 333, 17, 300},
    {3, 64, 1000, 1000, k8, kBf16, false, false, true, Rows::kAllOfLast, 90, 0, 6},
};

std::string Name(const Problem& p) {
  const char* rows[] = {"random", "all of one", "all of the last", "none"};
  return std::string(p.fp4          ? "fp4"
                     : p.bits == k4 ? "w4"
                                    : "w8") +
         " experts " + std::to_string(p.experts) + " n" + std::to_string(p.n) + " k" +
         std::to_string(p.k) + " group " + std::to_string(p.group_size) + " rows " +
         std::to_string(p.num_rows) + " " + rows[static_cast<int>(p.rows)] + " expected " +
         std::to_string(p.expected) + (p.zeros ? " zeros" : "") + (p.bias ? " bias" : "") +
         (p.gathers ? " gathered" : "");
}

void TestEmptyAndInvalid(TestRun* run) {
  if (!run->Begin("empty and invalid", 1)) return;
  GroupedGemmParams params;
  params.num_experts = 2;
  params.n = 64;
  params.k = 64;
  GroupScales scales;
  run->Expect(LaunchGroupedW4A16(params, scales, nullptr) == cudaSuccess, "no rows: no success");
  params.num_rows = 4;
  run->Expect(LaunchGroupedW4A16(params, scales, nullptr) == cudaErrorInvalidValue,
              "null operands accepted");
  params.num_rows = 0;
  params.n = 40;
  run->Expect(LaunchGroupedW4A16(params, scales, nullptr) == cudaErrorInvalidValue,
              "experts of 40 rows accepted");
}

void TestUnknownGroup(TestRun* run) {
  if (!run->Begin("a group size that no instance has", 1)) return;
  const DeviceBuffer<uint8_t> any(4096);
  GroupedGemmParams params;
  params.x = params.w = any.data();
  params.first_row = reinterpret_cast<const int32_t*>(any.data());
  params.span_of = reinterpret_cast<const int2*>(any.data());
  params.y = reinterpret_cast<__nv_bfloat16*>(any.data());
  params.num_rows = 1;
  params.num_experts = 1;
  params.n = 32;
  params.k = 96;
  GroupScales scales;
  scales.scales = any.data();
  scales.group_size = 48;
  run->Expect(LaunchGroupedW4A16(params, scales, nullptr) == cudaErrorNotSupported,
              "groups of 48 accepted");
  scales.group_size = 64;
  scales.is_fp4 = true;
  run->Expect(LaunchGroupedW4A16(params, scales, nullptr) == cudaErrorNotSupported,
              "floats in groups of 64 accepted");
  scales.group_size = 32;
  scales.zeros = any.data();
  run->Expect(LaunchGroupedW4A16(params, scales, nullptr) == cudaErrorInvalidValue,
              "floats with zeros accepted");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("grouped_w4a16_test", argc, argv);
  TestEmptyAndInvalid(&run);
  TestUnknownGroup(&run);
  uint64_t seed = 80;
  for (const Problem& problem : kProblems) {
    if (run.Begin(Name(problem), ++seed)) Fixture(problem, seed).Check(&run);
  }
  return run.Finish();
}
