// The int8 GEMM against an exact integer reference and a float64 epilogue, for every variant: the
// accumulators bit for bit, y within one bf16 ulp (plus what f32 rounding leaves after
// cancellation). Outputs are poisoned first; rows between m and the stride, and columns beyond n,
// must stay so.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/status.h"
#include "kernels/gemm/int8/table.h"
#include "pingti/kernels/gemm_s8.h"
#include "tests/kernels/gemm/gemm_reference.cuh"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Problem {
  int m, n, k;
  int a_pad, w_pad, y_pad;  // extra elements between rows
  bool bias, residual;
};

std::vector<int8_t> RandomBytes(size_t size, Random* random) {
  std::vector<int8_t> values(size);
  for (int8_t& v : values) v = static_cast<int8_t>(random->Next());
  return values;
}

class Fixture {
 public:
  Fixture(const Problem& p, uint64_t seed)
      : p_(p),
        random_(seed),
        host_bias_(RandomNormal<__nv_bfloat16>(p.n, &random_)),
        host_residual_(RandomNormal<__nv_bfloat16>(size_t(p.m) * (p.n + p.y_pad), &random_)),
        host_token_scale_(p.m),
        host_channel_scale_(p.n),
        a_(RandomBytes(size_t(p.m) * (p.k + p.a_pad), &random_)),
        w_(RandomBytes(size_t(p.n) * (p.k + p.w_pad), &random_)),
        bias_(host_bias_),
        residual_(host_residual_),
        y_(size_t(p.m) * (p.n + p.y_pad)),
        accumulators_(size_t(p.m) * p.n),
        workspace_(GemmS8WorkspaceBytes()) {
    for (float& s : host_token_scale_) s = 0.001f + 0.004f * std::abs(random_.Uniform());
    for (float& s : host_channel_scale_) s = 0.001f + 0.002f * std::abs(random_.Uniform());
    token_scale_ = DeviceBuffer<float>(host_token_scale_);
    channel_scale_ = DeviceBuffer<float>(host_channel_scale_);
    workspace_.Zero();
    reference_ = ReferenceS8(a_.data(), p.k + p.a_pad, w_.data(), p.k + p.w_pad, p.m, p.n, p.k);
  }

  GemmS8Params Params() const {
    GemmS8Params params;
    params.m = p_.m;
    params.n = p_.n;
    params.k = p_.k;
    params.a = a_.data();
    params.a_row_stride = p_.k + p_.a_pad;
    params.w = w_.data();
    params.w_row_stride = p_.k + p_.w_pad;
    params.token_scale = token_scale_.data();
    params.channel_scale = channel_scale_.data();
    if (p_.bias) params.bias = bias_.data();
    if (p_.residual) {
      params.residual = residual_.data();
      params.residual_row_stride = p_.n + p_.y_pad;
    }
    params.y = y_.data();
    params.y_row_stride = p_.n + p_.y_pad;
    params.workspace = workspace_.data();
    params.workspace_bytes = workspace_.bytes();
    return params;
  }

  void CheckAccumulators(const GemmS8Variant& variant, TestRun* run) {
    accumulators_.Poison();
    GemmS8Params params = Params();
    params.accumulators = accumulators_.data();
    const cudaError_t error = LaunchGemmS8Variant(params, variant, nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return;
    const std::vector<int32_t> got = accumulators_.ToHost();
    for (size_t i = 0; i < got.size(); ++i) {
      if (!run->Expect(got[i] == reference_[i], "accumulator [%zu, %zu] is %d, expected %d",
                       i / p_.n, i % p_.n, got[i], reference_[i])) {
        return;
      }
    }
  }

  void CheckOutput(const GemmS8Variant& variant, TestRun* run) {
    y_.Poison();
    const cudaError_t error = LaunchGemmS8Variant(Params(), variant, nullptr);
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    if (!run->ExpectDeviceOk()) return;
    const std::vector<__nv_bfloat16> got = y_.ToHost();
    const int stride = p_.n + p_.y_pad;
    for (int m = 0; m < p_.m; ++m) {
      for (int n = 0; n < stride; ++n) {
        const size_t i = size_t(m) * stride + n;
        const double y = ToDouble(got[i]);
        if (n >= p_.n) {
          if (!run->Expect(std::isnan(y), "padding [%d, %d] was written", m, n)) return;
          continue;
        }
        const double product = double(reference_[size_t(m) * p_.n + n]) * host_token_scale_[m] *
                               host_channel_scale_[n];
        const double bias = p_.bias ? ToDouble(host_bias_[n]) : 0.0;
        const double residual = p_.residual ? ToDouble(host_residual_[i]) : 0.0;
        const double expected = product + bias + residual;
        const double f32_rounding =
            0x1p-22 * (std::abs(product) + std::abs(bias) + std::abs(residual));
        if (!run->Expect(std::abs(y - expected) <= Bf16Ulp(expected) + f32_rounding,
                         "y [%d, %d] is %g, expected %g", m, n, y, expected)) {
          return;
        }
      }
    }
  }

 private:
  Problem p_;
  Random random_;
  std::vector<__nv_bfloat16> host_bias_, host_residual_;
  std::vector<float> host_token_scale_, host_channel_scale_;
  DeviceBuffer<int8_t> a_, w_;
  DeviceBuffer<float> token_scale_, channel_scale_;
  DeviceBuffer<__nv_bfloat16> bias_, residual_, y_;
  DeviceBuffer<int32_t> accumulators_;
  DeviceBuffer<uint8_t> workspace_;
  std::vector<int32_t> reference_;
};

std::string Name(const Problem& p, const GemmS8Variant& v) {
  return std::string(GemmS8FamilyName(v.family)) + " " + std::to_string(v.block) + " cluster " +
         std::to_string(v.cluster) + " stages " + std::to_string(v.stages) + " m" +
         std::to_string(p.m) + " n" + std::to_string(p.n) + " k" + std::to_string(p.k) +
         (p.bias ? " bias" : "") + (p.residual ? " residual" : "");
}

// Odd sizes, tails in every dimension, one token, tiles cut by stream-K, several waves.
const Problem kProblems[] = {
    {1, 8, 16, 0, 0, 0, false, false},         {1, 4096, 4096, 0, 0, 0, true, false},
    {3, 136, 144, 16, 32, 8, true, true},      {7, 10240, 1040, 0, 0, 0, false, true},
    {8, 1000, 272, 0, 0, 0, false, false},     {16, 2048, 8192, 0, 0, 0, true, false},
    {17, 904, 2064, 16, 0, 8, true, true},     {32, 3584, 3584, 0, 0, 0, true, false},
    {63, 1288, 1040, 0, 16, 0, true, true},    {64, 8192, 1024, 0, 0, 0, false, false},
    {77, 512, 18944, 0, 0, 0, true, true},     {96, 2568, 640, 0, 0, 8, false, true},
    {113, 2000, 2000, 32, 32, 16, true, true}, {128, 4608, 3584, 0, 0, 0, true, false},
    {129, 264, 128, 0, 0, 0, true, true},      {203, 1000, 1040, 16, 16, 8, true, true},
    {256, 8192, 512, 0, 0, 0, false, false},   {799, 520, 272, 0, 0, 0, true, true},
    {1023, 3592, 384, 0, 0, 8, true, true},    {2048, 2560, 640, 0, 0, 0, true, false},
};

void TestEmptyAndInvalid(TestRun* run) {
  if (!run->Begin("empty and invalid", 1)) return;
  DeviceBuffer<uint8_t> workspace(GemmS8WorkspaceBytes());
  GemmS8Params params;
  params.n = 64;
  params.k = 64;
  params.a_row_stride = params.w_row_stride = 64;
  params.workspace = workspace.data();
  params.workspace_bytes = workspace.bytes();
  run->Expect(LaunchGemmS8(params, nullptr) == cudaSuccess, "m = 0 is not a success");
  params.m = 4;
  run->Expect(LaunchGemmS8(params, nullptr) == cudaErrorInvalidValue, "null operands accepted");
  params.m = 0;
  params.k = 24;
  run->Expect(LaunchGemmS8(params, nullptr) == cudaErrorInvalidValue, "k = 24 accepted");
}

// What the table picks can hold m and exists, for sizes around every border, on an A100, an H100
// and an H200.
void TestTable(const DeviceTraits& device, TestRun* run) {
  for (const auto& [compute_capability, bus_bits] : {std::pair{80, 5120}, {90, 5120}, {90, 6144}}) {
    const std::string name = std::to_string(compute_capability) + ", " + std::to_string(bus_bits);
    if (!run->Begin("table for sm_" + name + " bits", 1)) continue;
    DeviceTraits card = device;
    card.compute_capability = compute_capability;
    card.memory_bus_bits = bus_bits;
    for (const int m : {1, 8, 9, 64, 96, 128, 129, 192, 256, 257, 500, 2048, 8192, 20000}) {
      for (const auto& [n, k] : {std::pair{8192, 8192}, {10240, 8192}, {3584, 18944}, {1000, 64}}) {
        const GemmS8Variant pick = PickGemmS8Variant(m, n, k, card);
        const std::vector<GemmS8Variant> variants = GemmS8Variants(m, compute_capability);
        const bool exists =
            std::any_of(variants.begin(), variants.end(), [&](const GemmS8Variant& v) {
              return v.family == pick.family && v.block == pick.block &&
                     v.cluster == pick.cluster && v.stages == pick.stages;
            });
        run->Expect(exists, "m %d n %d k %d: %s %d/%d does not exist", m, n, k,
                    GemmS8FamilyName(pick.family), pick.block, pick.cluster);
      }
    }
  }
}

int Main(int argc, char** argv) {
  TestRun run("gemm_s8_test", argc, argv);
  DeviceTraits device;
  PINGTI_CUDA(ReadDeviceTraits(&device));
  TestEmptyAndInvalid(&run);
  TestTable(device, &run);
  uint64_t seed = 20;
  for (const Problem& problem : kProblems) {
    ++seed;
    Fixture fixture(problem, seed);
    for (const GemmS8Variant& variant : GemmS8Variants(problem.m, device.compute_capability)) {
      if (!run.Begin(Name(problem, variant), seed)) continue;
      fixture.CheckAccumulators(variant, &run);
      fixture.CheckOutput(variant, &run);
      fixture.CheckOutput(variant, &run);  // the workspace is as it was
    }
  }
  return run.Finish();
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) { return pingti::kernels::testing::Main(argc, argv); }
