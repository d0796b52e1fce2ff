// Layer norm against float64: row lengths of every launch shape, one and many tokens, padded
// strides, rows whose mean is not 0, residual in place, with and without bias, quantized output.

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
  bool bias;
  bool out;
  bool quantized;
};

void RunCase(TestRun* run, const Shape& shape, uint64_t seed) {
  using T = __nv_bfloat16;
  Random random(seed);
  const int stride = shape.hidden + 16;
  const size_t size = static_cast<size_t>(shape.tokens) * stride;
  std::vector<T> x = RandomNormal<T>(size, &random);
  for (T& value : x) value = FromFloat<T>(static_cast<float>(ToDouble(value)) + 2.0f);
  const std::vector<T> residual = RandomNormal<T>(size, &random, 3.0f);
  const std::vector<float> weight = RandomNormal<float>(shape.hidden, &random);
  const std::vector<float> bias = RandomNormal<float>(shape.hidden, &random);
  const DeviceBuffer<float> dbias(bias);
  const DeviceBuffer<T> dx(x);
  const DeviceBuffer<T> dresidual(residual);
  const DeviceBuffer<float> dweight(weight);
  const DeviceBuffer<T> out(size);
  const DeviceBuffer<int8_t> quantized(size);
  const DeviceBuffer<float> scales(shape.tokens);
  LayerNormParams p;
  p.x = dx.data();
  p.residual = shape.residual ? dresidual.data() : nullptr;
  p.weight = dweight.data();
  p.bias = shape.bias ? dbias.data() : nullptr;
  p.out = shape.out ? out.data() : nullptr;
  p.quantized = shape.quantized ? quantized.data() : nullptr;
  p.scales = shape.quantized ? scales.data() : nullptr;
  p.x_stride = p.residual_stride = p.out_stride = p.quantized_stride = stride;
  p.num_tokens = shape.tokens;
  p.hidden = shape.hidden;
  const cudaError_t error = LaunchLayerNorm(p, nullptr);
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
      sum += h[i];
      if (shape.residual && ToDouble(got_residual[t * stride + i]) != h[i]) {
        run->Expect(false, "residual %lld,%d", static_cast<long long>(t), i);
        return;
      }
    }
    const double mean = sum / shape.hidden;
    double squares = 0;
    for (int i = 0; i < shape.hidden; ++i) squares += (h[i] - mean) * (h[i] - mean);
    const double inverse = 1 / std::sqrt(squares / shape.hidden + p.eps);
    for (int i = 0; i < shape.hidden; ++i) {
      h[i] = (h[i] - mean) * inverse * weight[i] + (shape.bias ? bias[i] : 0.0f);
    }
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
  const double bound = 3.5e-3;  // rounding to bf16, short rows too
  run->Expect(stats.Finite() && stats.rel_l2 < bound, "rel %g, %zu bad", stats.rel_l2,
              stats.num_bad);
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  LayerNormParams p;
  p.hidden = 64;
  run->Expect(LaunchLayerNorm(p, nullptr) == cudaSuccess, "no tokens");
  p.num_tokens = 1;
  run->Expect(LaunchLayerNorm(p, nullptr) == cudaErrorInvalidValue, "null");
  p.dtype = DType::kF32;
  run->Expect(LaunchLayerNorm(p, nullptr) == cudaErrorNotSupported, "f32");
  p.dtype = DType::kBf16;
  p.hidden = 12;
  run->Expect(LaunchLayerNorm(p, nullptr) == cudaErrorInvalidValue, "hidden 12");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("layer_norm_test", argc, argv);
  uint64_t seed = 1;
  for (int tokens : {1, 3, 600}) {
    for (int hidden : {8, 72, 576, 3584, 8192, 8200, 16384, 32768}) {
      if (tokens == 600 && hidden > 8200) continue;
      for (int mode = 0; mode < 12; ++mode) {
        const Shape shape{tokens,        hidden,       mode % 2 == 1, mode / 2 % 2 == 1,
                          mode / 4 != 1, mode / 4 >= 1};
        const std::string name = std::to_string(tokens) + "x" + std::to_string(hidden) +
                                 (shape.residual ? " residual" : "") + (shape.bias ? " bias" : "") +
                                 (shape.out ? " out" : "") + (shape.quantized ? " int8" : "");
        if (run.Begin(name, ++seed)) RunCase(&run, shape, seed);
      }
    }
  }
  RunRefusals(&run);
  return run.Finish();
}
