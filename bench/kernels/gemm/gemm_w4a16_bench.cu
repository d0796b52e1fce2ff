// Question: what share of memory bandwidth does the weight-only GEMM reach on the layer shapes of a
// 72B model, group size 128? Baseline in the same run: the best of cuBLASLt's bf16 algorithms on
// the unquantized weights, which must read four (or two) times the bytes. Results are checked first
// against a float64 sum on a sample of outputs; the full check is tests/kernels/gemm.
//
// For prompts, `dq` is the other way: rows of weights turned into bf16, a slice at a time, and
// multiplied by the best of cuBLASLt's algorithms for that slice.
//
//   bench_gemm_w4a16 [--w8] [--group SIZE] [--zeros] [--shape NAME] [--no-baseline] [M...]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/kernels/gemm/cublaslt.h"
#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/read_ceiling.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

struct Shape {
  const char* name;
  int n, k;
};

constexpr Shape kShapes[] = {
    {"qkv", 10240, 8192}, {"o", 8192, 8192}, {"gate_up", 59136, 8192}, {"down", 8192, 29568}};

struct Options {
  WeightBits bits = WeightBits::k4;
  int group_size = 128;
  bool zeros = false;
  bool baseline = true;
  std::string shape;
  std::vector<int> tokens;
};

// Float64 sum of sampled outputs, straight from compressed-tensors words [n, k / p].
__global__ void SampleKernel(const __nv_bfloat16* a, const uint32_t* words,
                             const __nv_bfloat16* scales, const uint8_t* zeros, int n, int k,
                             int bits, int group_size, int middle, double* out) {
  const int col = static_cast<int>((threadIdx.x * 7919ll + blockIdx.x * 104729ll) % n);
  const int per_word = 32 / bits;
  double sum = 0;
  for (int i = 0; i < k; ++i) {
    const uint32_t word = words[int64_t{col} * (k / per_word) + i / per_word];
    const int q = (word >> (i % per_word * bits)) & ((1 << bits) - 1);
    const int64_t g = int64_t{i / group_size} * n + col;
    const int zero = zeros != nullptr ? zeros[g] : middle;
    sum += double(__bfloat162float(a[int64_t{blockIdx.x} * k + i])) * (q - zero) *
           double(__bfloat162float(scales[g]));
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

class Case {
 public:
  Case(const Shape& shape, int m, const Options& options)
      : shape_(shape),
        m_(m),
        options_(options),
        bits_(options.bits == WeightBits::k4 ? 4 : 8),
        groups_((shape.k + options.group_size - 1) / options.group_size),
        words_(size_t(shape.n) * shape.k * bits_ / 32),
        scales_(size_t(groups_) * shape.n),
        zeros_(size_t(groups_) * shape.n),
        a_(size_t(m) * shape.k),
        y_(size_t(m) * shape.n),
        workspace_(GemmW4A16WorkspaceBytes()) {
    PINGTI_CUDA(FillBits(words_.data(), words_.bytes(), 1));
    PINGTI_CUDA(FillBf16(scales_.data(), scales_.size(), 0.001f, 0.01f, 2));
    PINGTI_CUDA(cudaMemset(zeros_.data(), 7, zeros_.bytes()));
    PINGTI_CUDA(FillBf16(a_.data(), a_.size(), -1.0f, 1.0f, 4));
    workspace_.Zero();
    const size_t bytes = PackedWeightBytes(shape.n, shape.k, options.bits);
    for (int i = 0; i < SetsBeyondL2(bytes); ++i) {
      packed_.emplace_back(bytes);
      RepackWeightsParams repack;
      repack.n = shape.n;
      repack.k = shape.k;
      repack.bits = options.bits;
      repack.layout = WeightLayout::kRowMajor;
      repack.source = words_.data();
      repack.packed = packed_.back().data();
      PINGTI_CUDA(LaunchRepackWeights(repack, nullptr));
    }
  }

  double Bytes() const {
    return double(shape_.n) * shape_.k * bits_ / 8 +
           double(groups_) * shape_.n * (options_.zeros ? 3 : 2);
  }

  cudaError_t Launch(int set, cudaStream_t stream) const {
    GemmW4A16Params p;
    p.m = m_;
    p.n = shape_.n;
    p.k = shape_.k;
    p.bits = options_.bits;
    p.group_size = options_.group_size;
    p.a = a_.data();
    p.a_row_stride = shape_.k;
    p.packed = packed_[set].data();
    p.scales = scales_.data();
    p.scale_type = ScaleType::kBf16;
    if (options_.zeros) p.zeros = zeros_.data();
    p.y = y_.data();
    p.y_row_stride = shape_.n;
    p.workspace = workspace_.data();
    p.workspace_bytes = workspace_.bytes();
    return LaunchGemmW4A16(p, stream);
  }

  // Relative l2 error of sampled outputs.
  double Error() {
    y_.Poison();
    PINGTI_CUDA(Launch(0, nullptr));
    DeviceBuffer<double> expected(size_t(m_) * 32);
    SampleKernel<<<m_, 32>>>(a_.data(), words_.data(), scales_.data(),
                             options_.zeros ? zeros_.data() : nullptr, shape_.n, shape_.k, bits_,
                             options_.group_size, bits_ == 4 ? 8 : 128, expected.data());
    PINGTI_CUDA(cudaGetLastError());
    const std::vector<double> reference = expected.ToHost();
    const std::vector<__nv_bfloat16> y = y_.ToHost();
    double difference = 0;
    double norm = 0;
    for (int m = 0; m < m_; ++m) {
      for (int i = 0; i < 32; ++i) {
        const int col = static_cast<int>((i * 7919ll + m * 104729ll) % shape_.n);
        const double r = reference[m * 32 + i];
        const double d = double(__bfloat162float(y[size_t(m) * shape_.n + col])) - r;
        difference += d * d;
        norm += r * r;
      }
    }
    return std::sqrt(difference / norm);
  }

  Timing Time() const {
    return TimeLaunches("gemm_w4a16", static_cast<int>(packed_.size()),
                        [&](int set, cudaStream_t stream) { return Launch(set, stream); });
  }

  Timing TimeBaseline() {
    CublasLt lt(LtTypes::kBf16, m_, shape_.n, shape_.k);
    std::vector<DeviceBuffer<__nv_bfloat16>> weights;
    for (int i = 0; i < SetsBeyondL2(size_t(shape_.n) * shape_.k * 2); ++i) {
      weights.emplace_back(size_t(shape_.n) * shape_.k);
      PINGTI_CUDA(FillBf16(weights.back().data(), weights.back().size(), -0.1f, 0.1f, 10 + i));
    }
    Timing best;
    TimingOptions options;
    options.samples = 5;
    for (int algorithm = 0; algorithm < lt.num_algorithms(); ++algorithm) {
      const Timing timing = TimeLaunches(
          "cuBLASLt", static_cast<int>(weights.size()),
          [&](int set, cudaStream_t stream) {
            return lt.Run(algorithm, a_.data(), weights[set].data(), y_.data(), stream);
          },
          options);
      if (best.median_us == 0 || timing.median_us < best.median_us) best = timing;
    }
    return best;
  }

  // Slices of the matrix as CudaLinear takes them (worker/backend/cuda), the last one not whole.
  Timing TimeDequantized() {
    const int slice = std::min(kSliceRows, shape_.n);
    CublasLt whole(LtTypes::kBf16, m_, slice, shape_.k);
    const int rest_rows = shape_.n % slice;
    CublasLt rest(LtTypes::kBf16, m_, rest_rows == 0 ? slice : rest_rows, shape_.k);
    const DeviceBuffer<__nv_bfloat16> dense(size_t(slice) * shape_.k);
    DequantizeWeightsParams p;
    p.n = shape_.n;
    p.k = shape_.k;
    p.bits = options_.bits;
    p.group_size = options_.group_size;
    p.scales = scales_.data();
    p.scale_type = ScaleType::kBf16;
    if (options_.zeros) p.zeros = zeros_.data();
    p.out = dense.data();
    Timing best;
    TimingOptions timing_options;
    timing_options.samples = 5;
    const int algorithms = std::min(whole.num_algorithms(), rest.num_algorithms());
    for (int algorithm = 0; algorithm < algorithms; ++algorithm) {
      const Timing timing = TimeLaunches(
          "dequantized", static_cast<int>(packed_.size()),
          [&](int set, cudaStream_t stream) {
            DequantizeWeightsParams part = p;
            part.packed = packed_[set].data();
            for (part.first_row = 0; part.first_row < shape_.n; part.first_row += slice) {
              part.num_rows = std::min(slice, shape_.n - part.first_row);
              if (const cudaError_t error = LaunchDequantizeWeights(part, stream)) return error;
              const CublasLt& lt = part.num_rows == slice ? whole : rest;
              const cudaError_t error = lt.Run(algorithm, a_.data(), dense.data(),
                                               y_.data() + int64_t{m_} * part.first_row, stream);
              if (error != cudaSuccess) return error;
            }
            return cudaSuccess;
          },
          timing_options);
      if (best.median_us == 0 || timing.median_us < best.median_us) best = timing;
    }
    return best;
  }

 private:
  static constexpr int kSliceRows = 4096;

  Shape shape_;
  int m_;
  Options options_;
  int bits_;
  int groups_;
  DeviceBuffer<uint32_t> words_;
  DeviceBuffer<__nv_bfloat16> scales_;
  DeviceBuffer<uint8_t> zeros_;
  DeviceBuffer<__nv_bfloat16> a_, y_;
  DeviceBuffer<uint8_t> workspace_;
  std::vector<DeviceBuffer<uint8_t>> packed_;
};

// `ceiling`: what the card reads, in TB/s.
bool RunCase(const Shape& shape, int m, const Options& options, double ceiling) {
  Case c(shape, m, options);
  const double error = c.Error();
  if (!(error < 4e-3)) {
    std::printf("%s m=%d: relative error %g WRONG\n", shape.name, m, error);
    return false;
  }
  const Timing t = c.Time();
  const double rate = c.Bytes() / t.median_us * 1e-6;
  std::printf("%-8s %5d  w%d/g%-4d %9.1f %9.1f %9.1f %7.3f %5.0f%%", shape.name, m,
              options.bits == WeightBits::k4 ? 4 : 8, options.group_size, t.median_us, t.p10_us,
              t.p90_us, rate, 100 * rate / ceiling);
  if (options.baseline) {
    const Timing lt = c.TimeBaseline();
    const Timing dq = c.TimeDequantized();
    std::printf(" %9.1f %6.2f %9.1f %6.0f", lt.median_us, lt.median_us / t.median_us, dq.median_us,
                2e-6 * m * shape.n * shape.k / dq.median_us);
  }
  std::printf("\n");
  std::fflush(stdout);
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--w8") == 0) {
      options.bits = WeightBits::k8;
    } else if (std::strcmp(argv[i], "--zeros") == 0) {
      options.zeros = true;
    } else if (std::strcmp(argv[i], "--no-baseline") == 0) {
      options.baseline = false;
    } else if (std::strcmp(argv[i], "--group") == 0 && i + 1 < argc) {
      options.group_size = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--shape") == 0 && i + 1 < argc) {
      options.shape = argv[++i];
    } else if (const int m = std::atoi(argv[i]); m > 0) {
      options.tokens.push_back(m);
    } else {
      std::printf("unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  if (options.tokens.empty()) options.tokens = {1, 8, 16, 32, 64};
  const double ceiling = MeasureReadBytesPerSecond() * 1e-12;
  std::printf(
      "weight-only GEMM; share: of the %.2f TB/s that this card reads; baseline lt: cuBLASLt bf16 "
      "on unquantized weights\n",
      ceiling);
  std::printf("%-8s %5s  %-8s %9s %9s %9s %7s %6s %9s %6s %9s %6s\n", "shape", "m", "weights", "us",
              "p10", "p90", "TB/s", "share", "lt us", "x lt", "dq us", "TFLOP/s");
  bool correct = true;
  for (const int m : options.tokens) {
    for (const Shape& shape : kShapes) {
      if (!options.shape.empty() && options.shape != shape.name) continue;
      correct &= RunCase(shape, m, options, ceiling);
    }
  }
  return correct ? 0 : 1;
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) { return pingti::kernels::bench::Main(argc, argv); }
