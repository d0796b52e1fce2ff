// Packing and unpacking of pages against the same copies on the host: planes of different page
// sizes and strides, odd numbers of 16-byte pieces, gaps in the packed form, packed memory on the
// device and page-locked on the host; untouched pages and gaps stay as they are.

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

struct PlaneShape {
  int64_t page_bytes;
  int64_t page_stride_bytes;
  int64_t packed_offset;
};

constexpr int kPages = 11;
// The second is larger than a block's stretch; the fourth follows a gap in the packed page.
constexpr PlaneShape kPlanes[] = {
    {4096, 4096, 0}, {49152, 65536, 4096}, {16, 16, 53248}, {1008, 2048, 53280}};
constexpr int64_t kPackedPageBytes = 54288;

std::vector<uint8_t> RandomBytes(int64_t count, Random* random) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random->Next());
  return bytes;
}

int64_t PoolBytes(const PlaneShape& shape) { return shape.page_stride_bytes * kPages; }

// All planes' pools one after the other, and the planes with offsets for their bases.
struct Pools {
  std::vector<uint8_t> bytes;
  std::vector<KvCopyPlane> planes;
};

Pools MakePools(Random* random) {
  Pools pools;
  int64_t begin = 0;
  for (const PlaneShape& shape : kPlanes) {
    pools.planes.push_back({reinterpret_cast<void*>(begin), shape.page_stride_bytes,
                            shape.page_bytes, shape.packed_offset});
    begin += PoolBytes(shape);
  }
  pools.bytes = RandomBytes(begin, random);
  return pools;
}

// Both directions, on the host.
void PackOnHost(Pools* pools, const std::vector<int32_t>& pages, std::vector<uint8_t>* packed,
                bool unpack) {
  for (size_t i = 0; i < pages.size(); ++i) {
    for (const KvCopyPlane& plane : pools->planes) {
      uint8_t* page = pools->bytes.data() + reinterpret_cast<int64_t>(plane.base) +
                      pages[i] * plane.page_stride_bytes;
      uint8_t* dense = packed->data() + i * kPackedPageBytes + plane.packed_offset;
      std::memcpy(unpack ? page : dense, unpack ? dense : page, plane.page_bytes);
    }
  }
}

void ExpectSame(TestRun* run, const char* what, const std::vector<uint8_t>& got,
                const std::vector<uint8_t>& want) {
  const auto [g, w] = std::mismatch(got.begin(), got.end(), want.begin());
  run->Expect(g == got.end(), "%s: byte %td of %zu: %d, want %d", what, g - got.begin(), got.size(),
              g == got.end() ? 0 : *g, g == got.end() ? 0 : *w);
}

void Check(TestRun* run, const std::vector<int32_t>& pages, bool unpack, bool on_host,
           uint64_t seed) {
  Random random(seed);
  Pools pools = MakePools(&random);
  std::vector<uint8_t> packed = RandomBytes(pages.size() * kPackedPageBytes, &random);
  const DeviceBuffer<uint8_t> device_pools(pools.bytes);
  std::vector<KvCopyPlane> planes = pools.planes;
  for (KvCopyPlane& plane : planes) {
    plane.base = device_pools.data() + reinterpret_cast<int64_t>(plane.base);
  }
  const DeviceBuffer<KvCopyPlane> device_planes(planes);
  const DeviceBuffer<int32_t> device_pages(pages);
  const DeviceBuffer<uint8_t> device_packed(packed);
  void* pinned = nullptr;
  PINGTI_CUDA(cudaMallocHost(&pinned, packed.size()));
  std::memcpy(pinned, packed.data(), packed.size());

  PackKvPagesParams p;
  p.planes = device_planes.data();
  p.num_planes = static_cast<int>(planes.size());
  p.max_page_bytes = 49152;
  p.pages = device_pages.data();
  p.num_pages = static_cast<int>(pages.size());
  p.packed = on_host ? pinned : device_packed.data();
  p.packed_page_bytes = kPackedPageBytes;
  const cudaError_t error =
      unpack ? LaunchUnpackKvPages(p, nullptr) : LaunchPackKvPages(p, nullptr);
  run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  if (!run->ExpectDeviceOk()) return;
  std::vector<uint8_t> got = device_packed.ToHost();
  if (on_host) std::memcpy(got.data(), pinned, got.size());
  PINGTI_CUDA(cudaFreeHost(pinned));
  PackOnHost(&pools, pages, &packed, unpack);
  ExpectSame(run, "pools", device_pools.ToHost(), pools.bytes);
  ExpectSame(run, "packed", got, packed);
}

void CheckRefusals(TestRun* run) {
  const DeviceBuffer<KvCopyPlane> planes(1);
  const DeviceBuffer<int32_t> pages(1);
  const DeviceBuffer<uint8_t> packed(64);
  PackKvPagesParams good;
  good.planes = planes.data();
  good.pages = pages.data();
  good.packed = packed.data();
  good.max_page_bytes = good.packed_page_bytes = 64;
  run->Expect(LaunchPackKvPages(good, nullptr) == cudaSuccess, "empty lists are fine");
  const auto refuses = [&](const char* what, auto change) {
    PackKvPagesParams p = good;
    p.num_planes = p.num_pages = 1;
    change(p);
    run->Expect(LaunchPackKvPages(p, nullptr) == cudaErrorInvalidValue, "not refused: %s", what);
    run->Expect(LaunchUnpackKvPages(p, nullptr) == cudaErrorInvalidValue, "not refused: %s", what);
  };
  refuses("null planes", [](PackKvPagesParams& p) { p.planes = nullptr; });
  refuses("null pages", [](PackKvPagesParams& p) { p.pages = nullptr; });
  refuses("null packed", [](PackKvPagesParams& p) { p.packed = nullptr; });
  refuses("misaligned packed",
          [](PackKvPagesParams& p) { p.packed = static_cast<uint8_t*>(p.packed) + 8; });
  refuses("odd page", [](PackKvPagesParams& p) { p.max_page_bytes = 40; });
  refuses("odd packed page", [](PackKvPagesParams& p) { p.packed_page_bytes = 40; });
  refuses("negative count", [](PackKvPagesParams& p) { p.num_pages = -1; });
  refuses("too many pages", [](PackKvPagesParams& p) { p.num_pages = kMaxPackPages + 1; });
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("pack_pages_test", argc, argv);
  const std::vector<int32_t> lists[] = {{3}, {10, 0, 5}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}};
  uint64_t seed = 500;
  for (const std::vector<int32_t>& pages : lists) {
    for (const bool unpack : {false, true}) {
      for (const bool on_host : {false, true}) {
        const std::string name = std::string(unpack ? "unpack " : "pack ") +
                                 std::to_string(pages.size()) + " pages, packed on the " +
                                 (on_host ? "host" : "device");
        if (run.Begin(name, ++seed)) Check(&run, pages, unpack, on_host, seed);
      }
    }
  }
  if (run.Begin("refusals", ++seed)) CheckRefusals(&run);
  return run.Finish();
}
