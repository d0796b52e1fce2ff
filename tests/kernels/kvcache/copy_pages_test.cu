// Page copies against the same copies done one after the other on the host: 16-bit and int8 caches,
// one allocation for K and V or two, odd page sizes, chains (a target that is a later source, a
// source that is a later target), padding, untouched pages.

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "pingti/kernels/kv_copy.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Shape {
  const char* name;
  int layers, pages, kv_heads, page_tokens, head_dim;
  DType dtype;
  bool one_allocation;  // K and V interleaved page by page
};

// A cache of `layers` layers in one byte array: what stands where, and its planes.
struct Cache {
  std::vector<uint8_t> bytes;
  std::vector<KvCopyPlane> planes;  // base: offset into bytes
};

Cache MakeCache(const Shape& shape, Random* random) {
  PagedKv kv;
  kv.num_pages = shape.pages;
  kv.num_kv_heads = shape.kv_heads;
  kv.page_tokens = shape.page_tokens;
  kv.head_dim = shape.head_dim;
  kv.dtype = shape.dtype;
  SetDenseStrides(&kv, shape.one_allocation ? 2 : 1);
  const int64_t k_bytes = kv.page_stride * ElementBytes(kv.dtype) * shape.pages;
  const int64_t v_offset = shape.one_allocation ? k_bytes / shape.pages / 2 : k_bytes;
  const int64_t pool_bytes = shape.one_allocation ? k_bytes : 2 * k_bytes;
  const int64_t scale_bytes = kv.scale_page_stride * 4 * shape.pages;
  const bool int8 = shape.dtype == DType::kI8;

  Cache cache;
  for (int layer = 0; layer < shape.layers; ++layer) {
    const auto at = [](int64_t offset) { return reinterpret_cast<void*>(offset); };
    const auto base = static_cast<int64_t>(cache.bytes.size());
    kv.k = at(base);
    kv.v = at(base + v_offset);
    kv.k_scale = static_cast<float*>(at(base + pool_bytes));
    kv.v_scale = static_cast<float*>(at(base + pool_bytes + scale_bytes));
    // As a worker has them; the scales of one allocation are planes of their own.
    if (int8 && !shape.one_allocation) SetPairedScales(&kv, kv.k_scale);
    KvCopyPlane planes[kMaxKvCopyPlanesPerLayer];
    const int count = ListKvCopyPlanes(kv, planes);
    cache.planes.insert(cache.planes.end(), planes, planes + count);
    cache.bytes.resize(base + pool_bytes + (int8 ? 2 * scale_bytes : 0));
  }
  for (uint8_t& byte : cache.bytes) byte = static_cast<uint8_t>(random->Next());
  return cache;
}

void CopyOnHost(Cache* cache, const std::vector<KvPageCopy>& copies) {
  for (const KvPageCopy& copy : copies) {
    if (copy.from < 0) continue;
    for (const KvCopyPlane& plane : cache->planes) {
      uint8_t* base = cache->bytes.data() + reinterpret_cast<int64_t>(plane.base);
      std::memmove(base + copy.to * plane.page_stride_bytes,
                   base + copy.from * plane.page_stride_bytes, plane.page_bytes);
    }
  }
}

void Check(TestRun* run, const Shape& shape, const std::vector<KvPageCopy>& copies, uint64_t seed) {
  Random random(seed);
  Cache cache = MakeCache(shape, &random);
  const DeviceBuffer<uint8_t> bytes(cache.bytes);
  std::vector<KvCopyPlane> planes = cache.planes;
  int64_t max_page_bytes = 0;
  for (KvCopyPlane& plane : planes) {
    plane.base = bytes.data() + reinterpret_cast<int64_t>(plane.base);
    max_page_bytes = std::max(max_page_bytes, plane.page_bytes);
  }
  const DeviceBuffer<KvCopyPlane> device_planes(planes);
  const DeviceBuffer<KvPageCopy> device_copies(copies);
  CopyKvPagesParams p;
  p.planes = device_planes.data();
  p.num_planes = static_cast<int>(planes.size());
  p.max_page_bytes = max_page_bytes;
  p.copies = device_copies.data();
  p.num_copies = static_cast<int>(copies.size());
  const cudaError_t error = LaunchCopyKvPages(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;
  CopyOnHost(&cache, copies);
  const std::vector<uint8_t> got = bytes.ToHost();
  const auto [g, w] = std::mismatch(got.begin(), got.end(), cache.bytes.begin());
  run->Expect(g == got.end(), "byte %td of %zu: %d, want %d", g - got.begin(), got.size(),
              g == got.end() ? 0 : *g, g == got.end() ? 0 : *w);
}

std::vector<KvPageCopy> RandomCopies(int count, int pages, uint64_t seed) {
  Random random(seed);
  std::vector<KvPageCopy> copies(count);
  for (KvPageCopy& copy : copies) {
    copy.from = static_cast<int32_t>(random.Below(pages + 1)) - 1;
    copy.to = copy.from < 0 ? -1 : static_cast<int32_t>(random.Below(pages));
  }
  return copies;
}

void CheckRefusals(TestRun* run) {
  const DeviceBuffer<KvCopyPlane> planes(1);
  const DeviceBuffer<KvPageCopy> copies(1);
  CopyKvPagesParams good;
  good.planes = planes.data();
  good.copies = copies.data();
  good.max_page_bytes = 64;
  run->Expect(LaunchCopyKvPages(good, nullptr) == cudaSuccess, "empty lists are fine");
  const auto refuses = [&](const char* what, auto change) {
    CopyKvPagesParams p = good;
    p.num_planes = p.num_copies = 1;
    change(p);
    run->Expect(LaunchCopyKvPages(p, nullptr) == cudaErrorInvalidValue, "not refused: %s", what);
  };
  refuses("null planes", [](CopyKvPagesParams& p) { p.planes = nullptr; });
  refuses("null copies", [](CopyKvPagesParams& p) { p.copies = nullptr; });
  refuses("odd page", [](CopyKvPagesParams& p) { p.max_page_bytes = 40; });
  refuses("negative count", [](CopyKvPagesParams& p) { p.num_copies = -1; });
  refuses("too many planes", [](CopyKvPagesParams& p) { p.num_planes = 65536; });
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels;
  using namespace pingti::kernels::testing;
  TestRun run("copy_pages_test", argc, argv);
  const Shape shapes[] = {
      {"30 layers of 3 heads, bf16", 30, 9, 3, 64, 64, DType::kBf16, false},
      {"80 layers of 1 head, f16, one allocation", 80, 5, 1, 16, 128, DType::kF16, true},
      {"2 layers of 8 heads, int8", 2, 7, 8, 64, 128, DType::kI8, false},
      {"3 layers of 5 heads, int8, one allocation", 3, 7, 5, 32, 64, DType::kI8, true},
      {"a page beyond one block's stretch, bf16", 1, 4, 8, 256, 128, DType::kBf16, false},
  };
  uint64_t seed = 1;
  for (const Shape& shape : shapes) {
    const std::string name = shape.name;
    if (run.Begin(name + ": one copy", ++seed)) Check(&run, shape, {{3, 0}}, seed);
    if (run.Begin(name + ": chains and padding", ++seed)) {
      Check(&run, shape, {{0, 1}, {1, 2}, {-1, -1}, {3, 0}, {2, 3}, {2, 2}}, seed);
    }
    if (run.Begin(name + ": 100 random copies", ++seed)) {
      Check(&run, shape, RandomCopies(100, shape.pages, seed), seed);
    }
  }
  if (run.Begin("refusals", ++seed)) CheckRefusals(&run);
  return run.Finish();
}
