// The CPU backend's kernels for one instruction set. The including file has set PINGTI_CPU_ISA (a
// namespace) and is compiled with that set's flags. Not for inclusion anywhere else.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstdint>

#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cpu::PINGTI_CPU_ISA {
namespace {

#include "worker/backend/cpu/simd.h"

#if defined(__AVX512F__)
inline constexpr int kMaxTileRows = 12;   // accumulators of a product tile fill 24 of 32 registers
inline constexpr int kAttentionRows = 6;  // x 4 vectors of 16 tokens
#else
inline constexpr int kMaxTileRows = 4;
inline constexpr int kAttentionRows = 1;
#endif

// exp(x), relative error below 3e-7, 0 below -87. Range reduction by ln 2 in two parts, then the
// Taylor polynomial of degree 7 on [-ln2/2, ln2/2].
inline Vf Exp(Vf x) {
  const Vf clamped = Min(Max(x, Set1(-87.33f)), Set1(88.37f));
  const Vf n = Round(Mul(clamped, Set1(1.44269504f)));
  Vf f = Fma(n, Set1(-0.693359375f), clamped);
  f = Fma(n, Set1(2.12194440e-4f), f);
  Vf p = Set1(1.0f / 5040);
  p = Fma(p, f, Set1(1.0f / 720));
  p = Fma(p, f, Set1(1.0f / 120));
  p = Fma(p, f, Set1(1.0f / 24));
  p = Fma(p, f, Set1(1.0f / 6));
  p = Fma(p, f, Set1(0.5f));
  p = Fma(p, f, Set1(1.0f));
  p = Fma(p, f, Set1(1.0f));
  return ZeroBelow(x, -87.33f, ScaleByPow2(p, n));
}

// First, for its loads and stores of tails.
#include "worker/backend/cpu/elementwise_impl.h"

// Before attention, which uses it.
#include "worker/backend/cpu/activation_impl.h"
#include "worker/backend/cpu/attention_impl.h"
#include "worker/backend/cpu/panel_impl.h"

}  // namespace

const CpuKernels* Kernels() {
  static constexpr CpuKernels kKernels = {
      .name = PINGTI_CPU_ISA_NAME,
      .panel_product = PanelProduct,
      .quantize_row = QuantizeRow,
      .float_to_bf16 = FloatToBf16Row,
      .float_to_f16 = FloatToF16Row,
      .f16_to_float = F16ToFloatRows,
      .rms_norm = RmsNorm,
      .layer_norm = LayerNorm,
      .add_in_place = AddInPlace,
      .activate_gated = ActivateGated,
      .activate = Activate,
      .rope = Rope,
      .attention_tile = AttentionTileKernel,
      .argmax = ArgMax,
      .sum_exp = SumExp,
  };
  return &kKernels;
}

}  // namespace pingti::worker::cpu::PINGTI_CPU_ISA
