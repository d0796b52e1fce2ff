// Question: what share of copy bandwidth do the fused small kernels reach, and what do they cost at
// one token? 72B shapes: hidden 8192, 64 query and 8 KV heads of 128, intermediate 29568. Baseline,
// same run: a plain 16-byte-a-thread copy kernel over 1 GiB (read plus written). Correctness: the
// kernels' tests.
//
//   bench_fused [--only TEXT] [TOKENS...]      kernels whose name contains TEXT; default: 8192 64 1
//
// Buffers rotate beyond the L2. Bytes: each input read once, each output written once; weights and
// angle tables, which stay in the caches, are not counted.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/activation.h"
#include "pingti/kernels/embedding.h"
#include "pingti/kernels/norm.h"
#include "pingti/kernels/quantize.h"
#include "pingti/kernels/rope_kv.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;
using Bf16 = __nv_bfloat16;

constexpr int kHidden = 8192;
constexpr int kWidth = 29568;
constexpr int kQHeads = 64;
constexpr int kKvHeads = 8;
constexpr int kHeadDim = 128;
constexpr int kVocab = 152064;

DeviceBuffer<Bf16> RandomBf16(size_t size, uint32_t seed) {
  DeviceBuffer<Bf16> buffer(size);
  PINGTI_CUDA(FillBf16(buffer.data(), size, -1.0f, 1.0f, seed));
  return buffer;
}
DeviceBuffer<float> RandomF32(size_t size, uint32_t seed) {
  DeviceBuffer<float> buffer(size);
  PINGTI_CUDA(FillF32(buffer.data(), size, -1.0f, 1.0f, seed));
  return buffer;
}

__global__ void __launch_bounds__(512) CopyKernel(const uint4* from, uint4* to) {
  const size_t first = static_cast<size_t>(blockIdx.x) * 2048 + threadIdx.x;
  uint4 value[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) value[i] = from[first + i * 512];
#pragma unroll
  for (int i = 0; i < 4; ++i) to[first + i * 512] = value[i];
}

double CopyTbs() {
  const size_t bytes = size_t{1} << 30;
  const DeviceBuffer<Bf16> from = RandomBf16(bytes / 2, 1);
  const DeviceBuffer<Bf16> to(bytes / 2);
  const Timing time = TimeLaunches("copy", 1, [&](int, cudaStream_t stream) {
    CopyKernel<<<bytes / (2048 * 16), 512, 0, stream>>>(reinterpret_cast<const uint4*>(from.data()),
                                                        reinterpret_cast<uint4*>(to.data()));
    return cudaGetLastError();
  });
  return 2.0 * bytes / time.median_us * 1e-6;
}

struct Bench {
  int tokens;
  double copy_tbs;
  std::string only;

  // `bytes` one launch moves; `launch(set)` works on set `set` of `sets`.
  void Time(const std::string& name, double bytes, int sets,
            const std::function<cudaError_t(int, cudaStream_t)>& launch) const {
    if (name.find(only) == std::string::npos) return;
    const Timing time = TimeLaunches(name.c_str(), sets, launch);
    const double tbs = bytes / time.median_us * 1e-6;
    std::printf("| %-34s | %6d | %8.2f | %8.2f | %8.2f | %6.3f | %3.0f %% |\n", name.c_str(),
                tokens, time.median_us, time.p10_us, time.p90_us, tbs, 100 * tbs / copy_tbs);
  }

  // One allocation that holds `sets` matrices [tokens, width].
  int Sets(double bytes) const { return SetsBeyondL2(static_cast<size_t>(bytes)); }

  void Norms() const {
    const double elements = static_cast<double>(tokens) * kHidden;
    const int sets = Sets(elements * 2);
    const size_t one = static_cast<size_t>(tokens) * kHidden;
    const DeviceBuffer<Bf16> x = RandomBf16(one * sets, 1), residual = RandomBf16(one * sets, 2);
    const DeviceBuffer<Bf16> out(one * sets);
    const DeviceBuffer<int8_t> quantized(one * sets);
    const DeviceBuffer<float> scales(tokens), weight = RandomF32(kHidden, 3);
    for (int mode = 0; mode < 3; ++mode) {
      const char* names[] = {"rms norm", "residual + rms norm", "residual + rms norm + int8"};
      const double per_element[] = {4, 8, 7};
      Time(
          names[mode], elements * per_element[mode], sets, [&, mode](int set, cudaStream_t stream) {
            RmsNormParams p;
            p.x = x.data() + set * one;
            p.residual = mode > 0 ? residual.data() + set * one : nullptr;
            p.out = mode < 2 ? out.data() + set * one : nullptr;
            p.quantized = mode == 2 ? quantized.data() + set * one : nullptr;
            p.scales = scales.data();
            p.weight = weight.data();
            p.x_stride = p.residual_stride = p.out_stride = p.quantized_stride = p.hidden = kHidden;
            p.num_tokens = tokens;
            return LaunchRmsNorm(p, stream);
          });
    }
    Time("quantize tokens", elements * 3, sets, [&](int set, cudaStream_t stream) {
      QuantizeTokensParams p;
      p.x = x.data() + set * one;
      p.quantized = quantized.data() + set * one;
      p.scales = scales.data();
      p.x_stride = p.quantized_stride = p.width = kHidden;
      p.num_tokens = tokens;
      return LaunchQuantizeTokens(p, stream);
    });
  }

  void SwiGlus() const {
    const double elements = static_cast<double>(tokens) * kWidth;
    const int sets = Sets(elements * 4);
    const size_t one = static_cast<size_t>(tokens) * kWidth;
    const DeviceBuffer<Bf16> x = RandomBf16(2 * one * sets, 1), out(one * sets);
    const DeviceBuffer<int8_t> quantized(one * sets);
    const DeviceBuffer<float> scales(tokens);
    for (bool int8 : {false, true}) {
      Time(int8 ? "swiglu + int8" : "swiglu", elements * (int8 ? 5 : 6), sets,
           [&, int8](int set, cudaStream_t stream) {
             ActivationParams p;
             p.x = x.data() + 2 * set * one;
             p.x_stride = 2 * kWidth;
             p.out = int8 ? nullptr : out.data() + set * one;
             p.quantized = int8 ? quantized.data() + set * one : nullptr;
             p.scales = scales.data();
             p.out_stride = p.quantized_stride = p.width = kWidth;
             p.num_tokens = tokens;
             return LaunchActivation(p, stream);
           });
    }
  }

  void Rope() const {
    const int row = (kQHeads + 2 * kKvHeads) * kHeadDim;
    const size_t one = static_cast<size_t>(tokens) * row;
    const int sets = Sets(one * 2.0);
    const DeviceBuffer<Bf16> qkv = RandomBf16(one * sets, 1), bias = RandomBf16(row, 2);
    const DeviceBuffer<float> cos = RandomF32(static_cast<size_t>(tokens) * kHeadDim / 2, 3);
    const DeviceBuffer<float> norm = RandomF32(kHeadDim, 4);
    std::vector<int64_t> host_slots(tokens);
    for (int t = 0; t < tokens; ++t) host_slots[t] = t;
    const DeviceBuffer<int64_t> slots(host_slots);
    PagedKv kv;
    kv.num_pages = (tokens + 63) / 64;
    kv.num_kv_heads = kKvHeads;
    kv.page_tokens = 64;
    kv.head_dim = kHeadDim;
    SetDenseStrides(&kv);
    const size_t pool = static_cast<size_t>(kv.page_stride) * kv.num_pages;
    const DeviceBuffer<Bf16> pools(2 * pool * sets);
    const DeviceBuffer<float> scales(2 * pool / kHeadDim);
    for (bool int8 : {false, true}) {
      const double bytes =
          static_cast<double>(tokens) * kHeadDim * (2 * 80 + 2 * 64 + 16 * (int8 ? 1 : 2) + 4);
      Time(int8 ? "bias + qk norm + rope + int8 KV" : "bias + qk norm + rope + KV", bytes, sets,
           [&, int8](int set, cudaStream_t stream) {
             RopeKvParams p;
             p.qkv = p.q_out = qkv.data() + set * one;
             p.qkv_stride = p.q_out_stride = row;
             p.bias = bias.data();
             p.q_norm = p.k_norm = norm.data();
             p.cos = p.sin = cos.data();
             p.kv = kv;
             p.kv.dtype = int8 ? DType::kI8 : DType::kBf16;
             p.kv.k = pools.data() + 2 * pool * set;
             p.kv.v = pools.data() + 2 * pool * set + pool;
             p.kv.k_scale = scales.data();
             p.kv.v_scale = scales.data() + pool / kHeadDim;
             p.slots = slots.data();
             p.num_tokens = tokens;
             p.num_q_heads = kQHeads;
             return LaunchRopeKv(p, stream);
           });
    }
  }

  void Embedding() const {
    const DeviceBuffer<Bf16> table = RandomBf16(static_cast<size_t>(kVocab) * kHidden, 1);
    const size_t one = static_cast<size_t>(tokens) * kHidden;
    const int sets = Sets(one * 2.0);
    const DeviceBuffer<Bf16> out(one * sets);
    std::vector<int32_t> ids(static_cast<size_t>(tokens) * sets);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % kVocab);
    const DeviceBuffer<int32_t> device_ids(ids);
    Time("embedding", one * 4.0, sets, [&](int set, cudaStream_t stream) {
      EmbeddingParams p;
      p.token_ids = device_ids.data() + static_cast<size_t>(set) * tokens;
      p.table = table.data();
      p.table_stride = p.out_stride = p.width = kHidden;
      p.out = out.data() + set * one;
      p.num_rows = kVocab;
      p.num_tokens = tokens;
      return LaunchEmbedding(p, stream);
    });
  }
};

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  std::vector<int> tokens;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else {
      tokens.push_back(std::atoi(argv[i]));
    }
  }
  if (tokens.empty()) tokens = {8192, 64, 1};
  const double copy_tbs = CopyTbs();
  std::printf("device copy (read + written): %.3f TB/s\n", copy_tbs);
  std::printf(
      "| kernel | tokens | us | p10 | p90 | TB/s | of copy |\n|---|---|---|---|---|---|---|\n");
  for (int count : tokens) {
    const Bench bench{count, copy_tbs, only};
    bench.Norms();
    bench.SwiGlus();
    bench.Rope();
    bench.Embedding();
  }
  return 0;
}
