#include "bench/kernels/gemm/gemm_s8_case.h"
#include "bench/kernels/harness/fill.h"

namespace pingti::kernels::bench {

using testing::DeviceBuffer;

S8Case::S8Case(const S8Shape& shape, int m)
    : shape_(shape),
      m_(m),
      token_scale_(m),
      channel_scale_(shape.n),
      bias_(shape.n),
      workspace_(GemmS8WorkspaceBytes()),
      bad_(1) {
  const size_t set_bytes = size_t(shape.n) * shape.k + size_t(m) * shape.k;
  const int sets = SetsBeyondL2(set_bytes);
  for (int i = 0; i < sets; ++i) {
    w_.emplace_back(size_t(shape.n) * shape.k);
    a_.emplace_back(size_t(m) * shape.k);
    y_.emplace_back(size_t(m) * shape.n);
    PINGTI_CUDA(FillS8(w_.back().data(), w_.back().size(), 2 * i + 1));
    PINGTI_CUDA(FillS8(a_.back().data(), a_.back().size(), 2 * i + 2));
  }
  PINGTI_CUDA(FillF32(token_scale_.data(), m, 0.001f, 0.01f, 101));
  PINGTI_CUDA(FillF32(channel_scale_.data(), shape.n, 0.0005f, 0.002f, 102));
  PINGTI_CUDA(FillBf16(bias_.data(), shape.n, -1.0f, 1.0f, 103));
  workspace_.Zero();
  for (int i = 0; i < 2; ++i) s32_.emplace_back(size_t(m) * shape.n);
}

GemmS8Params S8Case::Params(int set) const {
  GemmS8Params p;
  p.m = m_;
  p.n = shape_.n;
  p.k = shape_.k;
  p.a = a_[set].data();
  p.w = w_[set].data();
  p.a_row_stride = p.w_row_stride = shape_.k;
  p.token_scale = token_scale_.data();
  p.channel_scale = channel_scale_.data();
  p.bias = bias_.data();
  p.y = y_[set].data();
  p.y_row_stride = shape_.n;
  p.workspace = workspace_.data();
  p.workspace_bytes = workspace_.bytes();
  return p;
}

unsigned long long S8Case::CountWrong(const CublasLt& reference, const GemmS8Variant& variant) {
  bad_.Zero();
  y_[0].Poison();
  s32_[1].Poison();
  PINGTI_CUDA(reference.Run(0, a_[0].data(), w_[0].data(), s32_[0].data(), nullptr));
  GemmS8Params raw = Params(0);
  raw.accumulators = s32_[1].data();
  PINGTI_CUDA(LaunchGemmS8Variant(raw, variant, nullptr));
  PINGTI_CUDA(LaunchGemmS8Variant(Params(0), variant, nullptr));
  PINGTI_CUDA(LaunchVerify(s32_[0].data(), s32_[1].data(), token_scale_.data(),
                           channel_scale_.data(), bias_.data(), y_[0].data(), m_, shape_.n,
                           bad_.data(), nullptr));
  return bad_.ToHost()[0];
}

Timing S8Case::Time(const GemmS8Variant& variant, const TimingOptions& options) {
  return TimeLaunches(
      "gemm_s8", sets(),
      [&](int set, cudaStream_t stream) {
        return LaunchGemmS8Variant(Params(set), variant, stream);
      },
      options);
}

int S8Case::BestAlgorithm(const CublasLt& lt) {
  int best = 0;
  double best_us = 0;
  TimingOptions options;
  options.samples = 3;
  for (int algorithm = 0; algorithm < lt.num_algorithms(); ++algorithm) {
    const double us = TimeBaseline(lt, algorithm, false, options).median_us;
    if (best_us == 0 || us < best_us) {
      best = algorithm;
      best_us = us;
    }
  }
  return best;
}

Timing S8Case::TimeBaseline(const CublasLt& lt, int algorithm, bool dequantize,
                            const TimingOptions& options) {
  const auto launch = [&](int set, cudaStream_t stream) {
    const cudaError_t error =
        lt.Run(algorithm, a_[set].data(), w_[set].data(), s32_[set % 2].data(), stream);
    if (error != cudaSuccess || !dequantize) return error;
    return LaunchDequantize(s32_[set % 2].data(), token_scale_.data(), channel_scale_.data(),
                            bias_.data(), y_[set].data(), m_, shape_.n, stream);
  };
  return TimeLaunches("cuBLASLt", sets(), launch, options);
}

}  // namespace pingti::kernels::bench
