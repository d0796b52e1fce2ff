// Activations, sums and the embedding gather against float64 and copied rows: lengths of every
// launch shape, padded strides, quantized output, ids outside the table's slice, both dtypes.

#include <cmath>
#include <string>
#include <vector>

#include "pingti/kernels/activation.h"
#include "pingti/kernels/add.h"
#include "pingti/kernels/embedding.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/quantized.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Function {
  const char* name;
  ActivationKind kind;
  bool gated;
};

constexpr Function kFunctions[] = {{"swiglu", ActivationKind::kSilu, true},
                                   {"silu", ActivationKind::kSilu, false},
                                   {"geglu", ActivationKind::kGelu, true},
                                   {"gelu", ActivationKind::kGelu, false},
                                   {"tanh geglu", ActivationKind::kGeluTanh, true},
                                   {"tanh gelu", ActivationKind::kGeluTanh, false},
                                   {"clamped swiglu", ActivationKind::kClampedSwiglu, true}};

double Activated(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return x / (1 + std::exp(-x));
    case ActivationKind::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case ActivationKind::kClampedSwiglu:
      break;
  }
  const double gate = std::fmin(x, 7.0);
  return gate / (1 + std::exp(-1.702 * gate));
}

// What a gated activation is multiplied by.
double Factor(ActivationKind kind, double up) {
  if (kind != ActivationKind::kClampedSwiglu) return up;
  return std::fmin(std::fmax(up, -7.0), 7.0) + 1;
}

template <typename T>
void RunActivation(TestRun* run, const Function& function, int tokens, int width, bool with_out,
                   bool with_int8, DType dtype, uint64_t seed) {
  Random random(seed);
  const int in_stride = (function.gated ? 2 : 1) * width + 8;
  const int stride = width + 16;
  const std::vector<T> x = RandomNormal<T>(static_cast<size_t>(tokens) * in_stride, &random, 4.0f);
  const DeviceBuffer<T> dx(x);
  const DeviceBuffer<T> out(static_cast<size_t>(tokens) * stride);
  const DeviceBuffer<int8_t> quantized(static_cast<size_t>(tokens) * stride);
  const DeviceBuffer<float> scales(tokens);
  ActivationParams p;
  p.x = dx.data();
  p.x_stride = in_stride;
  p.out = with_out ? out.data() : nullptr;
  p.quantized = with_int8 ? quantized.data() : nullptr;
  p.scales = with_int8 ? scales.data() : nullptr;
  p.out_stride = p.quantized_stride = stride;
  p.num_tokens = tokens;
  p.width = width;
  p.kind = function.kind;
  p.gated = function.gated;
  p.dtype = dtype;
  const cudaError_t error = LaunchActivation(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;
  const std::vector<T> got = out.ToHost();
  const std::vector<int8_t> got_quantized = quantized.ToHost();
  const std::vector<float> got_scales = scales.ToHost();
  std::vector<T> got_rows;
  std::vector<double> want_rows;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<double> y(width);
    for (int i = 0; i < width; ++i) {
      y[i] = Activated(function.kind, ToDouble(x[t * in_stride + i]));
      if (function.gated) y[i] *= Factor(function.kind, ToDouble(x[t * in_stride + width + i]));
    }
    if (with_int8 &&
        !ExpectQuantizedRow(run, t, y.data(), &got_quantized[t * stride], got_scales[t], width)) {
      return;
    }
    got_rows.insert(got_rows.end(), &got[t * stride], &got[t * stride] + width);
    want_rows.insert(want_rows.end(), y.begin(), y.end());
  }
  if (!with_out) return;
  const ErrorStats stats = Compare(got_rows, want_rows);
  // Rounding to dtype: half a unit in the last place is 2^-9 or 2^-11 of a value, and one value may
  // outweigh all others of a short row.
  const double bound = dtype == DType::kBf16 ? 2.5e-3 : 5.5e-4;
  run->Expect(stats.Finite() && stats.rel_l2 < bound, "rel %g, %zu bad", stats.rel_l2,
              stats.num_bad);
}

void RunAdd(TestRun* run, int tokens, int width, uint64_t seed) {
  if (!run->Begin("add " + std::to_string(tokens) + "x" + std::to_string(width), seed)) return;
  Random random(seed);
  const int stride = width + 8;
  const size_t size = static_cast<size_t>(tokens) * stride;
  const std::vector<__nv_bfloat16> x = RandomNormal<__nv_bfloat16>(size, &random);
  const std::vector<__nv_bfloat16> before = RandomNormal<__nv_bfloat16>(size, &random, 3.0f);
  const DeviceBuffer<__nv_bfloat16> dx(x);
  const DeviceBuffer<__nv_bfloat16> sum(before);
  AddParams p;
  p.x = dx.data();
  p.sum = sum.data();
  p.x_stride = p.sum_stride = stride;
  p.num_tokens = tokens;
  p.width = width;
  run->Expect(LaunchAdd(p, nullptr) == cudaSuccess, "launch");
  if (!run->ExpectDeviceOk()) return;
  const std::vector<__nv_bfloat16> got = sum.ToHost();
  for (size_t i = 0; i < size; ++i) {
    const bool in_row = static_cast<int>(i % stride) < width;
    const float want = ToDouble(before[i]) + (in_row ? ToDouble(x[i]) : 0.0);
    if (!run->Expect(ToDouble(got[i]) == ToDouble(FromFloat<__nv_bfloat16>(want)), "element %zu",
                     i)) {
      return;
    }
  }
}

void RunEmbedding(TestRun* run, int tokens, int width, uint64_t seed) {
  if (!run->Begin("embedding " + std::to_string(tokens) + "x" + std::to_string(width), seed))
    return;
  Random random(seed);
  const int rows = 1000;
  const int first_id = 500;
  std::vector<uint16_t> table(static_cast<size_t>(rows) * width);
  for (uint16_t& value : table) value = static_cast<uint16_t>(random.Next());
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(2000));
  ids[0] = -1;
  const DeviceBuffer<uint16_t> dtable(table);
  const DeviceBuffer<int32_t> dids(ids);
  const DeviceBuffer<uint16_t> out(static_cast<size_t>(tokens) * width);
  EmbeddingParams p;
  p.token_ids = dids.data();
  p.table = dtable.data();
  p.table_stride = p.out_stride = width;
  p.out = out.data();
  p.first_id = first_id;
  p.num_rows = rows;
  p.num_tokens = tokens;
  p.width = width;
  run->Expect(LaunchEmbedding(p, nullptr) == cudaSuccess, "launch");
  if (!run->ExpectDeviceOk()) return;
  const std::vector<uint16_t> got = out.ToHost();
  for (int t = 0; t < tokens; ++t) {
    const int row = ids[t] - first_id;
    for (int i = 0; i < width; ++i) {
      const uint16_t want =
          row >= 0 && row < rows ? table[static_cast<size_t>(row) * width + i] : 0;
      if (!run->Expect(got[static_cast<size_t>(t) * width + i] == want, "token %d element %d", t,
                       i)) {
        return;
      }
    }
  }
}

// Rows of int8 with a scale each.
void RunInt8Embedding(TestRun* run, int tokens, int width, uint64_t seed) {
  if (!run->Begin("int8 embedding " + std::to_string(tokens) + "x" + std::to_string(width), seed))
    return;
  Random random(seed);
  const int rows = 1000;
  std::vector<int8_t> table(static_cast<size_t>(rows) * width);
  for (int8_t& value : table) value = static_cast<int8_t>(random.Next());
  std::vector<float> scales(rows);
  for (float& scale : scales) scale = 1e-3f * (1 + random.Below(1000));
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(rows + 1));  // one past the end
  const DeviceBuffer<int8_t> dtable(table);
  const DeviceBuffer<float> dscales(scales);
  const DeviceBuffer<int32_t> dids(ids);
  const DeviceBuffer<__nv_bfloat16> out(static_cast<size_t>(tokens) * width);
  EmbeddingParams p;
  p.token_ids = dids.data();
  p.table = dtable.data();
  p.row_scale = dscales.data();
  p.table_stride = p.out_stride = width;
  p.out = out.data();
  p.num_rows = rows;
  p.num_tokens = tokens;
  p.width = width;
  run->Expect(LaunchEmbedding(p, nullptr) == cudaSuccess, "launch");
  if (!run->ExpectDeviceOk()) return;
  const std::vector<__nv_bfloat16> got = out.ToHost();
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < width; ++i) {
      const float want = ids[t] < rows
                             ? __bfloat162float(__float2bfloat16_rn(
                                   scales[ids[t]] * table[static_cast<size_t>(ids[t]) * width + i]))
                             : 0.0f;
      if (!run->Expect(__bfloat162float(got[static_cast<size_t>(t) * width + i]) == want,
                       "token %d element %d", t, i)) {
        return;
      }
    }
  }
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("activation_test", argc, argv);
  uint64_t seed = 1;
  for (int tokens : {1, 5, 64, 400}) {
    for (int width : {8, 1536, 4104, 18944, 29568, 32768}) {
      if (tokens == 400 && width > 4104) continue;
      for (int mode = 1; mode < 4; ++mode) {
        const bool out = mode & 1, int8 = mode & 2;
        const std::string name = " " + std::to_string(tokens) + "x" + std::to_string(width) +
                                 (out ? " out" : "") + (int8 ? " int8" : "");
        for (const Function& function : kFunctions) {
          if (run.Begin(function.name + name + " bf16", ++seed)) {
            RunActivation<__nv_bfloat16>(&run, function, tokens, width, out, int8, DType::kBf16,
                                         seed);
          }
        }
        if (run.Begin(kFunctions[0].name + name + " f16", ++seed)) {
          RunActivation<__half>(&run, kFunctions[0], tokens, width, out, int8, DType::kF16, seed);
        }
      }
    }
    for (int width : {8, 576, 8200}) {
      RunAdd(&run, tokens, width, ++seed);
      RunEmbedding(&run, tokens, width, ++seed);
      RunInt8Embedding(&run, tokens, width, ++seed);
    }
  }
  return run.Finish();
}
