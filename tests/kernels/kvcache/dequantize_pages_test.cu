// Widened pages against the product computed on the host: lengths that end within a page, at its
// end and at nothing, pages that sequences share, one allocation for K and V or two; what belongs
// to no sequence stays untouched.

#include <algorithm>
#include <string>
#include <vector>

#include "pingti/kernels/kv_dequantize.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

constexpr int kTableStride = 6;
constexpr int32_t kNoPage = 1 << 30;  // reading it would fault

struct Shape {
  const char* name;
  int kv_heads, page_tokens, head_dim;
  bool one_allocation;
  std::vector<int32_t> kv_len;
  bool shared;  // the first page of every sequence is the same
};

void Check(TestRun* run, const Shape& shape, uint64_t seed) {
  Random random(seed);
  const int num_seqs = static_cast<int>(shape.kv_len.size());
  DequantizeKvPagesParams p;
  p.num_seqs = num_seqs;
  p.kv.num_pages = num_seqs * kTableStride;
  p.kv.num_kv_heads = shape.kv_heads;
  p.kv.page_tokens = shape.page_tokens;
  p.kv.head_dim = shape.head_dim;
  p.kv.dtype = DType::kI8;
  SetDenseStrides(&p.kv, shape.one_allocation ? 2 : 1);
  p.kv.block_table_stride = kTableStride;

  std::vector<int32_t> table(static_cast<size_t>(num_seqs) * kTableStride, kNoPage);
  for (int s = 0; s < num_seqs; ++s) {
    for (int b = 0; b * shape.page_tokens < shape.kv_len[s]; ++b) {
      // Scattered: later pages of a sequence come before earlier ones.
      table[s * kTableStride + b] = (kTableStride - 1 - b) * num_seqs + s;
      if (shape.shared && b == 0) table[s * kTableStride] = 0;
    }
  }
  const int64_t second = shape.one_allocation ? p.kv.page_stride / 2 : 0;
  const int64_t second_scale = shape.one_allocation ? p.kv.scale_page_stride / 2 : 0;
  std::vector<int8_t> k(p.kv.page_stride * p.kv.num_pages);
  for (int8_t& x : k) x = static_cast<int8_t>(static_cast<int>(random.Below(255)) - 127);
  std::vector<int8_t> v = k;
  std::reverse(v.begin(), v.end());
  std::vector<float> k_scale(p.kv.scale_page_stride * p.kv.num_pages);
  for (float& x : k_scale) x = 0.001f * static_cast<float>(1 + random.Below(1000));
  std::vector<float> v_scale = k_scale;
  std::reverse(v_scale.begin(), v_scale.end());
  if (shape.one_allocation) {
    v = k;
    v_scale = k_scale;
  }
  const DeviceBuffer<int8_t> device_k(k), device_v(v);
  const DeviceBuffer<float> device_k_scale(k_scale), device_v_scale(v_scale);
  const DeviceBuffer<int32_t> device_table(table), lengths(shape.kv_len);
  const int64_t out_size =
      int64_t{p.kv.num_pages} * shape.kv_heads * shape.page_tokens * shape.head_dim;
  const DeviceBuffer<__nv_bfloat16> k_out(out_size), v_out(out_size);
  p.kv.k = device_k.data();
  p.kv.v = shape.one_allocation ? device_k.data() + second : device_v.data();
  p.kv.k_scale = device_k_scale.data();
  p.kv.v_scale =
      shape.one_allocation ? device_k_scale.data() + second_scale : device_v_scale.data();
  p.kv.block_table = device_table.data();
  p.kv_len = lengths.data();
  p.k_out = k_out.data();
  p.v_out = v_out.data();
  const std::vector<__nv_bfloat16> untouched = k_out.ToHost();
  const cudaError_t error = LaunchDequantizeKvPages(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;

  const auto expect = [&](const char* what, const std::vector<int8_t>& values,
                          const std::vector<float>& scales, int64_t offset, int64_t scale_offset,
                          const std::vector<__nv_bfloat16>& got) {
    std::vector<__nv_bfloat16> want = untouched;
    for (int s = 0; s < num_seqs; ++s) {
      for (int t = 0; t < shape.kv_len[s]; ++t) {
        const int64_t page = table[s * kTableStride + t / shape.page_tokens];
        const int at = t % shape.page_tokens;
        for (int h = 0; h < shape.kv_heads; ++h) {
          const float scale =
              scales[scale_offset + page * p.kv.scale_page_stride + h * shape.page_tokens + at];
          for (int d = 0; d < shape.head_dim; ++d) {
            const int64_t in_page = (int64_t{h} * shape.page_tokens + at) * shape.head_dim + d;
            const int8_t value = values[offset + page * p.kv.page_stride + in_page];
            want[page * shape.kv_heads * shape.page_tokens * shape.head_dim + in_page] =
                __float2bfloat16_rn(scale * static_cast<float>(value));
          }
        }
      }
    }
    size_t wrong = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      wrong += __bfloat16_as_ushort(want[i]) != __bfloat16_as_ushort(got[i]) ? 1 : 0;
    }
    run->Expect(wrong == 0, "%s: %zu of %zu elements differ", what, wrong, want.size());
  };
  expect("keys", k, k_scale, 0, 0, k_out.ToHost());
  expect("values", v, v_scale, second, second_scale, v_out.ToHost());
}

void CheckRefusals(TestRun* run) {
  const DeviceBuffer<int8_t> bytes(1024);
  DequantizeKvPagesParams good;
  good.kv.dtype = DType::kI8;
  good.kv.num_kv_heads = 1;
  good.kv.page_tokens = 16;
  good.kv.head_dim = 64;
  SetDenseStrides(&good.kv);
  run->Expect(LaunchDequantizeKvPages(good, nullptr) == cudaSuccess, "no sequences are fine");
  const auto refuses = [&](const char* what, cudaError_t error, auto change) {
    DequantizeKvPagesParams p = good;
    p.num_seqs = 1;
    p.kv.block_table_stride = 1;
    p.kv.k = p.kv.v = p.k_out = p.v_out = bytes.data();
    p.kv.k_scale = p.kv.v_scale = reinterpret_cast<const float*>(bytes.data());
    p.kv.block_table = p.kv_len = reinterpret_cast<const int32_t*>(bytes.data());
    change(p);
    run->Expect(LaunchDequantizeKvPages(p, nullptr) == error, "not refused: %s", what);
  };
  using P = DequantizeKvPagesParams;
  refuses("bf16", cudaErrorNotSupported, [](P& p) { p.kv.dtype = DType::kBf16; });
  refuses("head_dim 40", cudaErrorNotSupported, [](P& p) { p.kv.head_dim = 40; });
  refuses("null keys", cudaErrorInvalidValue, [](P& p) { p.kv.k = nullptr; });
  refuses("null scales", cudaErrorInvalidValue, [](P& p) { p.kv.v_scale = nullptr; });
  refuses("null lengths", cudaErrorInvalidValue, [](P& p) { p.kv_len = nullptr; });
  refuses("misaligned out", cudaErrorInvalidValue,
          [](P& p) { p.k_out = static_cast<int8_t*>(p.k_out) + 2; });
  refuses("gaps between tokens", cudaErrorInvalidValue, [](P& p) { p.kv.token_stride = 128; });
  refuses("negative count", cudaErrorInvalidValue, [](P& p) { p.num_seqs = -1; });
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("dequantize_pages_test", argc, argv);
  const Shape shapes[] = {
      {"8 heads of 128, pages of 64", 8, 64, 128, false, {1, 64, 65, 0, 383}, false},
      {"3 heads of 64, pages of 16, one allocation", 3, 16, 64, true, {17, 96, 1}, false},
      {"1 head of 64, pages of 256, shared beginnings", 1, 256, 64, false, {300, 256, 1000}, true},
      {"nothing but empty sequences", 2, 32, 128, false, {0, 0}, false},
  };
  uint64_t seed = 1;
  for (const Shape& shape : shapes) {
    if (run.Begin(shape.name, ++seed)) Check(&run, shape, seed);
  }
  if (run.Begin("refusals", ++seed)) CheckRefusals(&run);
  return run.Finish();
}
