// RMSNorm against float64: row lengths of every launch shape, one and many tokens, padded strides,
// residual in place, quantized output, both dtypes.

#include <cmath>
#include <string>
#include <vector>

#include "pingti/kernels/norm.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/quantized.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Shape {
  int tokens;
  int hidden;
  bool residual;
  bool out;
  bool quantized;
};

template <typename T>
void RunOn(TestRun* run, const Shape& shape, DType dtype, uint64_t seed) {
  Random random(seed);
  const int stride = shape.hidden + 16;
  const size_t size = static_cast<size_t>(shape.tokens) * stride;
  const std::vector<T> x = RandomNormal<T>(size, &random);
  const std::vector<T> residual = RandomNormal<T>(size, &random, 3.0f);
  const std::vector<float> weight = RandomNormal<float>(shape.hidden, &random);
  const DeviceBuffer<T> dx(x);
  const DeviceBuffer<T> dresidual(residual);
  const DeviceBuffer<float> dweight(weight);
  const DeviceBuffer<T> out(size);
  const DeviceBuffer<int8_t> quantized(size);
  const DeviceBuffer<float> scales(shape.tokens);
  RmsNormParams p;
  p.x = dx.data();
  p.residual = shape.residual ? dresidual.data() : nullptr;
  p.weight = dweight.data();
  p.out = shape.out ? out.data() : nullptr;
  p.quantized = shape.quantized ? quantized.data() : nullptr;
  p.scales = shape.quantized ? scales.data() : nullptr;
  p.x_stride = p.residual_stride = p.out_stride = p.quantized_stride = stride;
  p.num_tokens = shape.tokens;
  p.hidden = shape.hidden;
  p.dtype = dtype;
  const cudaError_t error = LaunchRmsNorm(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;

  const std::vector<T> got = out.ToHost();
  const std::vector<T> got_residual = dresidual.ToHost();
  const std::vector<int8_t> got_quantized = quantized.ToHost();
  const std::vector<float> got_scales = scales.ToHost();
  std::vector<T> got_rows;
  std::vector<double> want_rows;
  for (int64_t t = 0; t < shape.tokens; ++t) {
    std::vector<double> h(shape.hidden);
    double sum = 0;
    for (int i = 0; i < shape.hidden; ++i) {
      const T kept = shape.residual
                         ? FromFloat<T>(static_cast<float>(ToDouble(x[t * stride + i])) +
                                        static_cast<float>(ToDouble(residual[t * stride + i])))
                         : x[t * stride + i];
      h[i] = ToDouble(kept);
      sum += h[i] * h[i];
      if (shape.residual && ToDouble(got_residual[t * stride + i]) != h[i]) {
        run->Expect(false, "residual %lld,%d", static_cast<long long>(t), i);
        return;
      }
    }
    const double inverse = 1 / std::sqrt(sum / shape.hidden + p.eps);
    for (int i = 0; i < shape.hidden; ++i) h[i] *= inverse * weight[i];
    if (shape.quantized && !ExpectQuantizedRow(run, t, h.data(), &got_quantized[t * stride],
                                               got_scales[t], shape.hidden)) {
      return;
    }
    got_rows.insert(got_rows.end(), &got[t * stride], &got[t * stride] + shape.hidden);
    want_rows.insert(want_rows.end(), h.begin(), h.end());
    run->Expect(!shape.out || std::isnan(ToDouble(got[t * stride + shape.hidden])),
                "wrote past row %lld", static_cast<long long>(t));
  }
  if (!shape.out) return;
  const ErrorStats stats = Compare(got_rows, want_rows);
  const double bound =
      dtype == DType::kBf16 ? 3.5e-3 : 4.5e-4;  // rounding to dtype, short rows too
  run->Expect(stats.Finite() && stats.rel_l2 < bound, "rel %g, %zu bad", stats.rel_l2,
              stats.num_bad);
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  RmsNormParams p;
  p.hidden = 64;
  run->Expect(LaunchRmsNorm(p, nullptr) == cudaSuccess, "no tokens");
  p.num_tokens = 1;
  run->Expect(LaunchRmsNorm(p, nullptr) == cudaErrorInvalidValue, "null");
  p.dtype = DType::kF32;
  run->Expect(LaunchRmsNorm(p, nullptr) == cudaErrorNotSupported, "f32");
  p.dtype = DType::kBf16;
  p.hidden = 12;
  run->Expect(LaunchRmsNorm(p, nullptr) == cudaErrorInvalidValue, "hidden 12");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("rms_norm_test", argc, argv);
  uint64_t seed = 1;
  for (int tokens : {1, 3, 600}) {
    for (int hidden : {8, 72, 576, 3584, 8192, 8200, 16384, 32768}) {
      if (tokens == 600 && hidden > 8200) continue;
      for (int mode = 0; mode < 6; ++mode) {
        const Shape shape{tokens, hidden, mode % 2 == 1, mode / 2 != 1, mode / 2 >= 1};
        const std::string name = std::to_string(tokens) + "x" + std::to_string(hidden) +
                                 (shape.residual ? " residual" : "") + (shape.out ? " out" : "") +
                                 (shape.quantized ? " int8" : "");
        if (run.Begin(name + " bf16", ++seed))
          RunOn<__nv_bfloat16>(&run, shape, DType::kBf16, seed);
        if (run.Begin(name + " f16", ++seed)) RunOn<__half>(&run, shape, DType::kF16, seed);
      }
    }
  }
  RunRefusals(&run);
  return run.Finish();
}
