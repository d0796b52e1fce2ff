// The weight-only GEMM against a float64 reference, from checkpoint words to y: random q, zeros and
// scales are packed on the host as GPTQ, AWQ and compressed-tensors files pack them, repacked by
// the library, and multiplied. y must be within one bf16 ulp (plus what f32 sums of k products
// leave). Outputs are poisoned first and run twice: stream-K must give the same bits both times.
// Weights turned back into bf16 must be the nearest ones to scale * (q - zero), all or a part.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/gemm/common/stream_k.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "tests/kernels/gemm/gemm_reference.cuh"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Problem {
  int m, n, k, group_size;
  WeightBits bits;
  WeightLayout layout;
  ScaleType scale_type;
  bool zeros, bias, residual;
  int pad;  // extra elements between rows of a and y
};

constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};

// Packs values [rows, cols] along columns, element i of a word being order[i] of its columns.
std::vector<uint32_t> PackColumns(const std::vector<uint8_t>& values, int rows, int cols, int bits,
                                  const int* order) {
  const int per_word = 32 / bits;
  const int words = (cols + per_word - 1) / per_word;
  std::vector<uint32_t> packed(size_t(rows) * words, 0);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < words; ++c) {
      for (int i = 0; i < per_word; ++i) {
        const int col = c * per_word + (order != nullptr ? order[i] : i);
        if (col >= cols) continue;
        packed[size_t(r) * words + c] |= uint32_t{values[size_t(r) * cols + col]} << (i * bits);
      }
    }
  }
  return packed;
}

std::vector<uint8_t> Transpose(const std::vector<uint8_t>& values, int rows, int cols) {
  std::vector<uint8_t> out(values.size());
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) out[size_t(c) * rows + r] = values[size_t(r) * cols + c];
  }
  return out;
}

// Packs values [rows, cols] along rows: word (r, c) holds rows p r + i of column c.
std::vector<uint32_t> PackRows(const std::vector<uint8_t>& values, int rows, int cols, int bits) {
  const std::vector<uint32_t> packed =
      PackColumns(Transpose(values, rows, cols), cols, rows, bits, nullptr);  // [cols, words]
  const int words = static_cast<int>(packed.size()) / cols;
  std::vector<uint32_t> out(packed.size());
  for (int c = 0; c < cols; ++c) {
    for (int r = 0; r < words; ++r) out[size_t(r) * cols + c] = packed[size_t(c) * words + r];
  }
  return out;
}

__global__ void ReferenceKernel(const __nv_bfloat16* a, int64_t a_stride, const uint8_t* q,
                                const double* scale, const uint8_t* zero, int m, int n, int k,
                                int group_size, double* sum, double* magnitude) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= int64_t{m} * n) return;
  const int64_t row = index / n;
  const int64_t col = index % n;
  double total = 0;
  double absolute = 0;
  for (int i = 0; i < k; ++i) {
    const int64_t g = int64_t{i / group_size} * n + col;
    const double product = static_cast<double>(__bfloat162float(a[row * a_stride + i])) *
                           (int{q[col * k + i]} - int{zero[g]}) * scale[g];
    total += product;
    absolute += fabs(product);
  }
  sum[index] = total;
  magnitude[index] = absolute;
}

class Fixture {
 public:
  Fixture(const Problem& p, uint64_t seed) : p_(p), random_(seed) {
    bits_ = p.bits == WeightBits::k4 ? 4 : 8;
    groups_ = (p.k + p.group_size - 1) / p.group_size;
    const int mask = (1 << bits_) - 1;
    q_.resize(size_t(p.n) * p.k);
    for (uint8_t& q : q_) q = random_.Next() & mask;
    zeros_.assign(size_t(groups_) * p.n, bits_ == 4 ? 8 : 128);
    if (p.zeros) {
      for (uint8_t& z : zeros_) z = random_.Next() & mask;
    }
    scale_bits_.resize(zeros_.size());
    scales_.resize(zeros_.size());
    for (size_t i = 0; i < scales_.size(); ++i) {
      const float scale = 0.002f + 0.01f * std::abs(random_.Uniform());
      if (p.scale_type == ScaleType::kF16) {
        const __half h = __float2half_rn(scale);
        std::memcpy(&scale_bits_[i], &h, 2);
        scales_[i] = ToDouble(h);
      } else {
        const __nv_bfloat16 b = __float2bfloat16_rn(scale);
        std::memcpy(&scale_bits_[i], &b, 2);
        scales_[i] = ToDouble(b);
      }
    }
    host_bias_ = RandomNormal<__nv_bfloat16>(p.n, &random_);
    host_residual_ = RandomNormal<__nv_bfloat16>(size_t(p.m) * (p.n + p.pad), &random_);
    a_ = DeviceBuffer<__nv_bfloat16>(
        RandomNormal<__nv_bfloat16>(size_t(p.m) * (p.k + p.pad), &random_));
    Repack();
    bias_ = DeviceBuffer<__nv_bfloat16>(host_bias_);
    residual_ = DeviceBuffer<__nv_bfloat16>(host_residual_);
    workspace_ = DeviceBuffer<uint8_t>(GemmW4A16WorkspaceBytes());
    workspace_.Zero();
  }

  void Check(TestRun* run) {
    std::vector<double> sum, magnitude;
    Reference(&sum, &magnitude);
    CheckOutput<__nv_bfloat16>(run, sum, magnitude, Bf16Ulp);
    CheckOutput<float>(run, sum, magnitude, [](double) { return 0.0; });
    CheckDequantized(run, 0, p_.n);
    if (p_.n > 32) CheckDequantized(run, 32, std::min(p_.n - 32, 41));
  }

 private:
  // y in type T, within `ulp(y)` and what f32 sums lose.
  template <typename T, typename Ulp>
  void CheckOutput(TestRun* run, const std::vector<double>& sum,
                   const std::vector<double>& magnitude, const Ulp& ulp) {
    const std::vector<T> first = Launch<T>(run);
    const std::vector<T> second = Launch<T>(run);
    if (first.empty() || second.empty()) return;
    run->Expect(std::memcmp(first.data(), second.data(), first.size() * sizeof(T)) == 0,
                "two runs differ");
    const int stride = p_.n + p_.pad;
    for (int m = 0; m < p_.m; ++m) {
      for (int n = 0; n < stride; ++n) {
        const size_t i = size_t(m) * stride + n;
        const double y = ToDouble(first[i]);
        if (n >= p_.n) {
          if (!run->Expect(std::isnan(y), "padding [%d, %d] was written", m, n)) return;
          continue;
        }
        const size_t o = size_t(m) * p_.n + n;
        const double bias = p_.bias ? ToDouble(host_bias_[n]) : 0.0;
        const double residual = p_.residual ? ToDouble(host_residual_[i]) : 0.0;
        const double expected = sum[o] + bias + residual;
        // f32 sums inside a group and over groups: a few roundings of the running magnitude.
        const double f32_rounding = 0x1p-19 * (magnitude[o] + std::abs(bias) + std::abs(residual));
        if (!run->Expect(std::abs(y - expected) <= ulp(expected) + f32_rounding,
                         "y [%d, %d] is %g, expected %g", m, n, y, expected)) {
          return;
        }
      }
    }
  }

  void CheckDequantized(TestRun* run, int first_row, int num_rows) {
    DequantizeWeightsParams params;
    params.n = p_.n;
    params.k = p_.k;
    params.bits = p_.bits;
    params.group_size = p_.group_size;
    params.packed = packed_.data();
    params.scales = scales_device_.data();
    params.scale_type = p_.scale_type;
    if (p_.zeros) params.zeros = zeros_device_.data();
    params.first_row = first_row;
    params.num_rows = num_rows;
    // A row more than is asked for must stay as it is.
    const DeviceBuffer<__nv_bfloat16> out(size_t(num_rows + 1) * p_.k);
    params.out = out.data();
    const cudaError_t error = LaunchDequantizeWeights(params, nullptr);
    run->Expect(error == cudaSuccess, "dequantize: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return;
    const std::vector<__nv_bfloat16> got = out.ToHost();
    for (int r = 0; r <= num_rows; ++r) {
      const int row = first_row + r;
      for (int k = 0; k < p_.k; ++k) {
        const double value = ToDouble(got[size_t(r) * p_.k + k]);
        if (r == num_rows) {
          if (!run->Expect(std::isnan(value), "a row past %d was written", num_rows)) return;
          continue;
        }
        const size_t group = size_t(k / p_.group_size) * p_.n + row;
        const double exact =
            scales_[group] * (int{q_[size_t(row) * p_.k + k]} - int{zeros_[group]});
        const double nearest = ToDouble(__float2bfloat16_rn(static_cast<float>(exact)));
        if (!run->Expect(value == nearest, "weight [%d, %d] is %g, expected %g", row, k, value,
                         nearest)) {
          return;
        }
      }
    }
  }

  void Repack() {
    packed_ = DeviceBuffer<uint8_t>(PackedWeightBytes(p_.n, p_.k, p_.bits));
    scales_device_ = DeviceBuffer<uint16_t>(scale_bits_);
    zeros_device_ = DeviceBuffer<uint8_t>(zeros_.size());
    const std::vector<uint8_t> by_k = Transpose(q_, p_.n, p_.k);  // [k, n]
    std::vector<uint32_t> weights, zeros;
    int offset = 0;
    switch (p_.layout) {
      case WeightLayout::kGptq: {
        weights = PackRows(by_k, p_.k, p_.n, bits_);
        offset = 1;
        std::vector<uint8_t> less_one = zeros_;
        for (uint8_t& z : less_one) z = (z - 1) & ((1 << bits_) - 1);
        zeros = PackColumns(less_one, groups_, p_.n, bits_, nullptr);
        break;
      }
      case WeightLayout::kAwq:
        weights = PackColumns(by_k, p_.k, p_.n, bits_, kAwqOrder);
        zeros = PackColumns(zeros_, groups_, p_.n, bits_, kAwqOrder);
        break;
      case WeightLayout::kRowMajor: {
        weights = PackColumns(q_, p_.n, p_.k, bits_, nullptr);
        zeros = PackRows(Transpose(zeros_, groups_, p_.n), p_.n, groups_, bits_);
        std::vector<uint16_t> by_row(scale_bits_.size());
        for (int g = 0; g < groups_; ++g) {
          for (int n = 0; n < p_.n; ++n) {
            by_row[size_t(n) * groups_ + g] = scale_bits_[size_t(g) * p_.n + n];
          }
        }
        DeviceBuffer<uint16_t> source(by_row);
        PINGTI_CUDA(
            LaunchTransposeScales(source.data(), scales_device_.data(), p_.n, groups_, nullptr));
        PINGTI_CUDA(cudaDeviceSynchronize());
        break;
      }
    }
    DeviceBuffer<uint32_t> weight_words(weights), zero_words(zeros);
    RepackWeightsParams repack;
    repack.n = p_.n;
    repack.k = p_.k;
    repack.bits = p_.bits;
    repack.layout = p_.layout;
    repack.source = weight_words.data();
    repack.packed = packed_.data();
    PINGTI_CUDA(LaunchRepackWeights(repack, nullptr));
    UnpackZerosParams unpack;
    unpack.n = p_.n;
    unpack.num_groups = groups_;
    unpack.bits = p_.bits;
    unpack.layout = p_.layout;
    unpack.source = zero_words.data();
    unpack.offset = offset;
    unpack.zeros = zeros_device_.data();
    PINGTI_CUDA(LaunchUnpackZeros(unpack, nullptr));
    PINGTI_CUDA(cudaDeviceSynchronize());
  }

  void Reference(std::vector<double>* sum, std::vector<double>* magnitude) const {
    DeviceBuffer<uint8_t> q(q_), zeros(zeros_);
    DeviceBuffer<double> scales(scales_), device_sum(size_t(p_.m) * p_.n),
        device_magnitude(size_t(p_.m) * p_.n);
    ReferenceKernel<<<unsigned((device_sum.size() + 255) / 256), 256>>>(
        a_.data(), p_.k + p_.pad, q.data(), scales.data(), zeros.data(), p_.m, p_.n, p_.k,
        p_.group_size, device_sum.data(), device_magnitude.data());
    PINGTI_CUDA(cudaGetLastError());
    *sum = device_sum.ToHost();
    *magnitude = device_magnitude.ToHost();
  }

  template <typename T>
  std::vector<T> Launch(TestRun* run) {
    DeviceBuffer<T> y(size_t(p_.m) * (p_.n + p_.pad));
    y.Poison();
    GemmW4A16Params params;
    params.m = p_.m;
    params.n = p_.n;
    params.k = p_.k;
    params.bits = p_.bits;
    params.group_size = p_.group_size;
    params.a = a_.data();
    params.a_row_stride = p_.k + p_.pad;
    params.packed = packed_.data();
    params.scales = scales_device_.data();
    params.scale_type = p_.scale_type;
    if (p_.zeros) params.zeros = zeros_device_.data();
    if (p_.bias) params.bias = bias_.data();
    if (p_.residual) {
      params.residual = residual_.data();
      params.residual_row_stride = p_.n + p_.pad;
    }
    if constexpr (std::is_same_v<T, float>) {
      params.y_f32 = y.data();
    } else {
      params.y = y.data();
    }
    params.y_row_stride = p_.n + p_.pad;
    params.workspace = workspace_.data();
    params.workspace_bytes = workspace_.bytes();
    const cudaError_t error = LaunchGemmW4A16(params, nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return {};
    return y.ToHost();
  }

  Problem p_;
  Random random_;
  int bits_ = 4;
  int groups_ = 1;
  std::vector<uint8_t> q_, zeros_;  // [n, k], [groups, n]
  std::vector<uint16_t> scale_bits_;
  std::vector<double> scales_;
  std::vector<__nv_bfloat16> host_bias_, host_residual_;
  DeviceBuffer<__nv_bfloat16> a_, bias_, residual_;
  DeviceBuffer<uint8_t> packed_, zeros_device_, workspace_;
  DeviceBuffer<uint16_t> scales_device_;
};

constexpr auto k4 = WeightBits::k4;
constexpr auto k8 = WeightBits::k8;
constexpr auto kGptq = WeightLayout::kGptq;
constexpr auto kAwq = WeightLayout::kAwq;
constexpr auto kRow = WeightLayout::kRowMajor;
constexpr auto kF16 = ScaleType::kF16;
constexpr auto kBf16 = ScaleType::kBf16;

const Problem kProblems[] = {
    {1, 8, 8, 128, k4, kGptq, kF16, true, false, false, 0},
    {1, 4096, 4096, 128, k4, kAwq, kF16, true, true, false, 0},
    {3, 136, 200, 32, k4, kGptq, kF16, true, true, true, 8},
    {7, 4608, 3584, 64, k4, kRow, kBf16, true, true, false, 0},
    {8, 1000, 1160, 128, k4, kGptq, kF16, true, true, true, 16},
    {9, 264, 2176, 32, k4, kAwq, kBf16, true, false, true, 8},
    {16, 3584, 3584, 128, k4, kRow, kBf16, false, false, true, 0},
    {16, 1000, 1048, 64, k4, kAwq, kF16, true, true, true, 16},
    {17, 2048, 8192, 128, k4, kGptq, kF16, false, false, false, 0},
    {32, 520, 4096, 4096, k4, kRow, kBf16, true, true, false, 8},
    {33, 1288, 1280, 32, k4, kAwq, kBf16, true, true, true, 0},
    {64, 4608, 3584, 128, k4, kGptq, kF16, true, true, false, 0},
    {150, 264, 640, 128, k4, kAwq, kF16, true, true, true, 8},
    {1, 4096, 4096, 128, k8, kGptq, kF16, false, true, false, 0},
    {6, 2048, 4096, 64, k8, kRow, kBf16, true, false, true, 0},
    {8, 904, 1000, 32, k8, kGptq, kF16, true, true, true, 8},
    {16, 1000, 1048, 32, k8, kRow, kBf16, true, true, true, 8},
    {31, 2048, 2048, 256, k8, kGptq, kF16, true, false, false, 0},
    {64, 904, 4096, 64, k8, kGptq, kBf16, false, true, true, 8},
    {77, 512, 1000, 1000, k8, kRow, kF16, false, false, false, 0},
};

std::string Name(const Problem& p) {
  const char* layouts[] = {"gptq", "awq", "row-major"};
  return std::string(p.bits == k4 ? "w4" : "w8") + " " + layouts[static_cast<int>(p.layout)] +
         " m" + std::to_string(p.m) + " n" + std::to_string(p.n) + " k" + std::to_string(p.k) +
         " group " + std::to_string(p.group_size) + (p.zeros ? " zeros" : "") +
         (p.bias ? " bias" : "") + (p.residual ? " residual" : "");
}

// Whatever the sizes: ranges follow each other, none is empty or longer than another by two, and
// Owner finds the range of each unit.
void TestStreamK(TestRun* run) {
  if (!run->Begin("stream-K ranges", 2)) return;
  Random random(2);
  for (int i = 0; i < 200; ++i) {
    const int tiles = 1 + static_cast<int>(random.Next() % 500);
    const int k_blocks = 1 + static_cast<int>(random.Next() % 300);
    const int most = 1 + static_cast<int>(random.Next() % 300);
    const StreamK split = {tiles * k_blocks, StreamKBlocks(tiles, k_blocks, most)};
    run->Expect(split.blocks >= 1 && split.blocks <= most, "%d of %d blocks", split.blocks, most);
    run->Expect(split.Start(0) == 0 && split.Start(split.blocks) == split.units,
                "%d units in %d blocks: the ends are cut off", split.units, split.blocks);
    for (int block = 0; block < split.blocks; ++block) {
      const int first = split.Start(block);
      const int last = split.Start(block + 1) - 1;
      const int length = last - first + 1;
      const int even = split.units / split.blocks;
      run->Expect(length == even || length == even + 1, "block %d of %d has %d of %d units", block,
                  split.blocks, length, split.units);
      run->Expect(split.Owner(first) == block && split.Owner(last) == block,
                  "%d units in %d blocks: block %d is not the owner of its own", split.units,
                  split.blocks, block);
    }
  }
}

void TestEmptyAndInvalid(TestRun* run) {
  if (!run->Begin("empty and invalid", 1)) return;
  DeviceBuffer<uint8_t> workspace(GemmW4A16WorkspaceBytes());
  GemmW4A16Params params;
  params.n = 64;
  params.k = 64;
  params.workspace = workspace.data();
  params.workspace_bytes = workspace.bytes();
  run->Expect(LaunchGemmW4A16(params, nullptr) == cudaSuccess, "m = 0 is not a success");
  params.m = 4;
  run->Expect(LaunchGemmW4A16(params, nullptr) == cudaErrorInvalidValue, "null operands accepted");
  RepackWeightsParams repack;
  repack.n = 64;
  repack.k = 64;
  repack.bits = k8;
  repack.layout = kAwq;
  run->Expect(LaunchRepackWeights(repack, nullptr) == cudaErrorNotSupported, "8-bit AWQ accepted");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("gemm_w4a16_test", argc, argv);
  TestEmptyAndInvalid(&run);
  TestStreamK(&run);
  uint64_t seed = 40;
  for (const Problem& problem : kProblems) {
    if (run.Begin(Name(problem), ++seed)) Fixture(problem, seed).Check(&run);
  }
  return run.Finish();
}
