// Bias, q/k norm, rotary embedding and KV append against float64: both rotation styles, 16-bit and
// int8 caches, both head sizes, in place and not, padding tokens, untouched cache slots.

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "pingti/kernels/rope_kv.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/quantized.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Shape {
  int tokens;
  int q_heads;
  int kv_heads;
  int head_dim;
  int page_tokens;
  RopeStyle style;
  bool bias;
  bool norm;
  bool int8_kv;
  bool in_place;
  bool positions;
};

constexpr int kRows = 300;  // of the cos and sin tables

std::vector<double> ReferenceHead(const Shape& shape, std::vector<double> x,
                                  const std::vector<float>* norm, const float* cos,
                                  const float* sin, bool rotate, float eps) {
  const int dim = shape.head_dim;
  if (norm != nullptr) {
    double sum = 0;
    for (double value : x) sum += value * value;
    for (int i = 0; i < dim; ++i) x[i] *= (*norm)[i] / std::sqrt(sum / dim + eps);
  }
  if (!rotate) return x;
  for (int i = 0; i < dim / 2; ++i) {
    const int a = shape.style == RopeStyle::kHalves ? i : 2 * i;
    const int b = shape.style == RopeStyle::kHalves ? i + dim / 2 : 2 * i + 1;
    const double first = x[a], second = x[b];
    x[a] = first * cos[i] - second * sin[i];
    x[b] = second * cos[i] + first * sin[i];
  }
  return x;
}

template <typename T>
void RunOn(TestRun* run, const Shape& shape, DType dtype, uint64_t seed) {
  Random random(seed);
  const int dim = shape.head_dim;
  const int heads = shape.q_heads + 2 * shape.kv_heads;
  const int stride = heads * dim + 8;
  const int q_stride = shape.in_place ? stride : shape.q_heads * dim + 16;
  const std::vector<T> qkv = RandomNormal<T>(static_cast<size_t>(shape.tokens) * stride, &random);
  const std::vector<T> bias = RandomNormal<T>(heads * dim, &random);
  const std::vector<float> q_norm = RandomNormal<float>(dim, &random);
  const std::vector<float> k_norm = RandomNormal<float>(dim, &random);
  std::vector<float> cos(kRows * dim / 2), sin(kRows * dim / 2);
  for (size_t i = 0; i < cos.size(); ++i) {
    const double angle = 3 * random.Normal();
    cos[i] = static_cast<float>(std::cos(angle));
    sin[i] = static_cast<float>(std::sin(angle));
  }
  const int num_pages = shape.tokens / shape.page_tokens + 2;
  std::vector<int32_t> positions(shape.tokens);
  std::vector<int64_t> slots(shape.tokens);
  for (int t = 0; t < shape.tokens; ++t) {
    positions[t] = static_cast<int32_t>(random.Below(kRows));
    slots[t] = t % 5 == 3 ? -1 : static_cast<int64_t>(num_pages) * shape.page_tokens - 1 - t;
  }
  PagedKv kv;
  kv.num_pages = num_pages;
  kv.num_kv_heads = shape.kv_heads;
  kv.head_dim = dim;
  kv.page_tokens = shape.page_tokens;
  kv.dtype = shape.int8_kv ? DType::kI8 : dtype;
  SetDenseStrides(&kv);
  const size_t pool = static_cast<size_t>(kv.page_stride) * num_pages;
  const DeviceBuffer<T> dqkv(qkv), dbias(bias), q_out(static_cast<size_t>(shape.tokens) * q_stride);
  const DeviceBuffer<float> dq_norm(q_norm), dk_norm(k_norm), dcos(cos), dsin(sin);
  const DeviceBuffer<int32_t> dpositions(positions);
  const DeviceBuffer<int64_t> dslots(slots);
  const DeviceBuffer<T> k16(pool), v16(pool);
  const DeviceBuffer<int8_t> k8(pool), v8(pool);
  const DeviceBuffer<float> k_scale(pool / dim), v_scale(pool / dim);
  kv.k = shape.int8_kv ? static_cast<void*>(k8.data()) : k16.data();
  kv.v = shape.int8_kv ? static_cast<void*>(v8.data()) : v16.data();
  kv.k_scale = k_scale.data();
  kv.v_scale = v_scale.data();
  RopeKvParams p;
  p.qkv = dqkv.data();
  p.qkv_stride = stride;
  p.bias = shape.bias ? dbias.data() : nullptr;
  p.q_norm = shape.norm ? dq_norm.data() : nullptr;
  p.k_norm = shape.norm ? dk_norm.data() : nullptr;
  p.cos = dcos.data();
  p.sin = dsin.data();
  p.positions = shape.positions ? dpositions.data() : nullptr;
  p.q_out = shape.in_place ? dqkv.data() : q_out.data();
  p.q_out_stride = q_stride;
  p.kv = kv;
  p.slots = dslots.data();
  p.num_tokens = shape.tokens;
  p.num_q_heads = shape.q_heads;
  p.style = shape.style;
  p.dtype = dtype;
  const cudaError_t error = LaunchRopeKv(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;

  const std::vector<T> got_q = shape.in_place ? dqkv.ToHost() : q_out.ToHost();
  const std::vector<T> got_16[2] = {k16.ToHost(), v16.ToHost()};
  const std::vector<int8_t> got_8[2] = {k8.ToHost(), v8.ToHost()};
  const std::vector<float> got_scale[2] = {k_scale.ToHost(), v_scale.ToHost()};
  std::vector<T> got;
  std::vector<double> want;
  size_t rows_written = 0;
  for (int t = 0; t < shape.tokens; ++t) {
    const int row = shape.positions ? positions[t] : t;
    for (int h = 0; h < heads; ++h) {
      std::vector<double> x(dim);
      for (int i = 0; i < dim; ++i) {
        x[i] = ToDouble(qkv[static_cast<size_t>(t) * stride + h * dim + i]) +
               (shape.bias ? ToDouble(bias[h * dim + i]) : 0);
      }
      const bool is_q = h < shape.q_heads;
      const bool is_k = !is_q && h < shape.q_heads + shape.kv_heads;
      const std::vector<float>* norm = !shape.norm ? nullptr
                                       : is_q      ? &q_norm
                                       : is_k      ? &k_norm
                                                   : nullptr;
      x = ReferenceHead(shape, x, norm, &cos[row * dim / 2], &sin[row * dim / 2], is_q || is_k,
                        p.norm_eps);
      if (is_q) {
        const T* out = &got_q[static_cast<size_t>(t) * q_stride + h * dim];
        got.insert(got.end(), out, out + dim);
        want.insert(want.end(), x.begin(), x.end());
        continue;
      }
      if (slots[t] < 0) continue;
      const int kv_head = (h - shape.q_heads) % shape.kv_heads;
      const size_t slot_row =
          (slots[t] / shape.page_tokens * shape.kv_heads + kv_head) * shape.page_tokens +
          slots[t] % shape.page_tokens;
      ++rows_written;
      if (shape.int8_kv) {
        if (!ExpectQuantizedRow(run, slot_row, x.data(), &got_8[is_k ? 0 : 1][slot_row * dim],
                                got_scale[is_k ? 0 : 1][slot_row], dim)) {
          return;
        }
      } else {
        const T* out = &got_16[is_k ? 0 : 1][slot_row * dim];
        got.insert(got.end(), out, out + dim);
        want.insert(want.end(), x.begin(), x.end());
      }
    }
  }
  const ErrorStats stats = Compare(got, want);
  const double bound = dtype == DType::kBf16 ? 2.5e-3 : 3e-4;
  run->Expect(stats.Finite() && stats.rel_l2 < bound, "rel %g, %zu bad", stats.rel_l2,
              stats.num_bad);
  size_t touched = 0;
  for (int plane = 0; plane < 2; ++plane) {
    for (size_t r = 0; r < pool / dim; ++r) {
      touched += shape.int8_kv ? !std::isnan(got_scale[plane][r])
                               : !std::isnan(ToDouble(got_16[plane][r * dim]));
    }
  }
  run->Expect(touched == rows_written, "%zu cache rows touched, %zu expected", touched,
              rows_written);
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("rope_kv_test", argc, argv);
  uint64_t seed = 1;
  for (int tokens : {1, 67}) {
    for (int head_dim : {64, 128}) {
      for (int mode = 0; mode < 64; ++mode) {
        const int q_heads = mode % 3 == 0 ? 9 : mode % 3 == 1 ? 28 : 64;
        const int kv_heads = mode % 3 == 0 ? 3 : mode % 3 == 1 ? 4 : 8;
        const Shape shape{tokens,
                          q_heads,
                          kv_heads,
                          head_dim,
                          mode % 2 ? 16 : 64,
                          mode & 1 ? RopeStyle::kInterleaved : RopeStyle::kHalves,
                          (mode & 2) != 0,
                          (mode & 4) != 0,
                          (mode & 8) != 0,
                          (mode & 16) != 0,
                          (mode & 32) != 0};
        const std::string name = std::to_string(tokens) + " tokens hd" + std::to_string(head_dim) +
                                 " mode " + std::to_string(mode);
        if (run.Begin(name + " bf16", ++seed))
          RunOn<__nv_bfloat16>(&run, shape, DType::kBf16, seed);
        if (run.Begin(name + " f16", ++seed)) RunOn<__half>(&run, shape, DType::kF16, seed);
      }
    }
  }
  return run.Finish();
}
