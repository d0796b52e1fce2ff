// Per-token int8 quantization against float64, rows of zeros included.

#include <string>
#include <vector>

#include "pingti/kernels/quantize.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/quantized.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

template <typename T>
void RunOn(TestRun* run, int tokens, int width, DType dtype, uint64_t seed) {
  Random random(seed);
  const int stride = width + 8;
  std::vector<T> x = RandomNormal<T>(static_cast<size_t>(tokens) * stride, &random, 2.0f);
  const int zero_row = tokens / 2;
  for (int i = 0; i < width; ++i) x[static_cast<size_t>(zero_row) * stride + i] = FromFloat<T>(0);
  const DeviceBuffer<T> dx(x);
  const DeviceBuffer<int8_t> quantized(static_cast<size_t>(tokens) * stride);
  const DeviceBuffer<float> scales(tokens);
  QuantizeTokensParams p;
  p.x = dx.data();
  p.x_stride = p.quantized_stride = stride;
  p.quantized = quantized.data();
  p.scales = scales.data();
  p.num_tokens = tokens;
  p.width = width;
  p.dtype = dtype;
  run->Expect(LaunchQuantizeTokens(p, nullptr) == cudaSuccess, "launch");
  if (!run->ExpectDeviceOk()) return;
  const std::vector<int8_t> got = quantized.ToHost();
  const std::vector<float> got_scales = scales.ToHost();
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> want(width);
    for (int i = 0; i < width; ++i) want[i] = ToDouble(x[t * stride + i]);
    if (!ExpectQuantizedRow(run, t, want.data(), &got[t * stride], got_scales[t], width)) return;
  }
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("quantize_tokens_test", argc, argv);
  uint64_t seed = 1;
  for (int tokens : {1, 7, 500}) {
    for (int width : {8, 1000, 8192, 32768}) {
      if (tokens == 500 && width > 8192) continue;
      const std::string name = std::to_string(tokens) + "x" + std::to_string(width);
      if (run.Begin(name + " bf16", ++seed)) {
        RunOn<__nv_bfloat16>(&run, tokens, width, DType::kBf16, seed);
      }
      if (run.Begin(name + " f16", ++seed)) RunOn<__half>(&run, tokens, width, DType::kF16, seed);
    }
  }
  return run.Finish();
}
