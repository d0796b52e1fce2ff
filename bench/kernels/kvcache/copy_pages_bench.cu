// Question: what does copying KV pages over all layers of a 72B model cost, and what share of copy
// bandwidth is that? Baseline, same run: one cudaMemcpyAsync for each plane and copy, in a graph.
// Correctness: tests/kernels/kvcache.
//
//   bench_copy_pages [COPIES...]      default: 1 4 32
//
// Each launch copies other pages than the one before; bytes are read plus written.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/kv_copy.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

constexpr int kLayers = 80;
constexpr int kPages = 192;  // about 8 GB in bf16

struct Bench {
  DType dtype;
  std::vector<KvCopyPlane> planes;
  DeviceBuffer<uint8_t> pool;
  DeviceBuffer<KvCopyPlane> device_planes;

  explicit Bench(DType type) : dtype(type) {
    PagedKv kv;
    kv.num_pages = kPages;
    kv.num_kv_heads = 8;
    kv.page_tokens = 64;
    kv.head_dim = 128;
    kv.dtype = dtype;
    SetDenseStrides(&kv);
    const int64_t pool_bytes = kv.page_stride * ElementBytes(dtype) * kPages;
    const int64_t scale_bytes = dtype == DType::kI8 ? kv.scale_page_stride * 4 * kPages : 0;
    const int64_t layer_bytes = 2 * (pool_bytes + scale_bytes);
    pool = DeviceBuffer<uint8_t>(layer_bytes * kLayers);
    PINGTI_CUDA(FillBits(pool.data(), pool.bytes(), 1));
    for (int layer = 0; layer < kLayers; ++layer) {
      uint8_t* base = pool.data() + layer * layer_bytes;
      kv.k = base;
      kv.v = base + pool_bytes;
      kv.k_scale = reinterpret_cast<float*>(base + 2 * pool_bytes);
      kv.v_scale = kv.k_scale + scale_bytes / 4;
      KvCopyPlane list[kMaxKvCopyPlanesPerLayer];
      const int count = ListKvCopyPlanes(kv, list);
      planes.insert(planes.end(), list, list + count);
    }
    device_planes = DeviceBuffer<KvCopyPlane>(planes);
  }

  void Run(int copies) const {
    const int sets = kPages / 2 / copies;
    std::vector<KvPageCopy> list;
    for (int i = 0; i < sets * copies; ++i) list.push_back({2 * i, 2 * i + 1});
    const DeviceBuffer<KvPageCopy> device_list(list);
    double bytes = 0;
    for (const KvCopyPlane& plane : planes) bytes += 2.0 * copies * plane.page_bytes;
    const Timing ours = TimeLaunches("copy pages", sets, [&](int set, cudaStream_t stream) {
      CopyKvPagesParams p;
      p.planes = device_planes.data();
      p.num_planes = static_cast<int>(planes.size());
      p.max_page_bytes = planes[0].page_bytes;
      p.copies = device_list.data() + set * copies;
      p.num_copies = copies;
      return LaunchCopyKvPages(p, stream);
    });
    TimingOptions few;
    few.samples = 3;
    few.launches_per_sample = 2;
    const Timing memcpys = TimeLaunches(
        "cudaMemcpyAsync", sets,
        [&](int set, cudaStream_t stream) {
          for (int c = set * copies; c < (set + 1) * copies; ++c) {
            for (const KvCopyPlane& plane : planes) {
              auto* base = static_cast<uint8_t*>(plane.base);
              const cudaError_t error =
                  cudaMemcpyAsync(base + list[c].to * plane.page_stride_bytes,
                                  base + list[c].from * plane.page_stride_bytes, plane.page_bytes,
                                  cudaMemcpyDeviceToDevice, stream);
              if (error != cudaSuccess) return error;
            }
          }
          return cudaSuccess;
        },
        few);
    std::printf("| %-5s | %6d | %8.1f | %8.1f | %8.1f | %6.3f | %9.1f | %6.2f |\n",
                dtype == DType::kI8 ? "int8" : "bf16", copies, ours.median_us, ours.p10_us,
                ours.p90_us, bytes / ours.median_us * 1e-6, memcpys.median_us,
                memcpys.median_us / ours.median_us);
  }
};

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  std::vector<int> copies;
  for (int i = 1; i < argc; ++i) {
    const int count = std::atoi(argv[i]);
    if (count < 1 || count > kPages / 2) {
      std::printf("copies: %s, want 1 to %d\n", argv[i], kPages / 2);
      return 2;
    }
    copies.push_back(count);
  }
  if (copies.empty()) copies = {1, 4, 32};
  std::printf("copying KV pages of 64 tokens, %d layers of 8 heads of 128\n", kLayers);
  std::printf("| cache | copies | us | p10 | p90 | TB/s | memcpy us | x memcpy |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  for (const auto dtype : {pingti::kernels::DType::kBf16, pingti::kernels::DType::kI8}) {
    const Bench bench(dtype);
    for (const int count : copies) bench.Run(count);
  }
  return 0;
}
