// How sums are cut, for every number of ranks and many sizes: all vectors have a thread, blocks fit
// the device at once, and what a call uses fits its buffer.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/comm/choose.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

constexpr DeviceTraits kDevices[] = {{108, 80}, {132, 90}};
constexpr int kClusters[] = {0, 1, 2, 4, 8};

AllReduceLink LinkOf(int num_ranks, int max_blocks) {
  AllReduceLink link;
  link.num_ranks = num_ranks;
  link.max_blocks = max_blocks;
  link.buffer_bytes = int64_t{16} << 20;
  return link;
}

// Threads that registers leave room for.
int ResidentThreads(const AllReduceLink& link, const DeviceTraits& device) {
  return device.num_sms * CommBlocksPerSm(link.num_ranks) * kMaxCommThreads;
}

void CheckNormLaunch(TestRun* run, const AllReduceLink& link, const DeviceTraits& device, int rows,
                     int vectors, int wanted_cluster) {
  AllReduceShape shape;
  shape.cluster = wanted_cluster;
  int cluster = 0;
  const CommLaunch launch = ChooseNormLaunch(link, shape, rows, vectors, device, &cluster);
  const int most = device.compute_capability < 90 ? 1 : 8;
  const bool can = std::max(wanted_cluster, 1) <= most &&
                   vectors <= 1024 * (wanted_cluster == 0 ? most : wanted_cluster);
  const int threads = cluster * launch.vectors_per_thread * launch.threads;
  const bool whole = launch.blocks > 0 && launch.blocks % cluster == 0 &&
                     launch.threads % 32 == 0 && launch.threads <= kMaxCommThreads &&
                     threads >= vectors && launch.blocks <= rows * cluster;
  const bool fits = launch.blocks * launch.threads <= ResidentThreads(link, device) &&
                    (link.max_blocks == 0 || launch.blocks <= std::max(link.max_blocks, cluster));
  run->Expect(can ? whole && fits : launch.blocks == 0,
              "%d ranks, sm_%d, %d rows of %d vectors, cluster %d: %d blocks of %d threads by %d",
              link.num_ranks, device.compute_capability, rows, vectors, wanted_cluster,
              launch.blocks, launch.threads, cluster);
}

void RunNorms(TestRun* run) {
  for (const DeviceTraits& device : kDevices) {
    for (int num_ranks : {2, 4, 8}) {
      for (int max_blocks : {0, 8}) {
        const AllReduceLink link = LinkOf(num_ranks, max_blocks);
        for (int rows : {1, 2, 3, 7, 16, 17, 33, 64, 65, 132, 264, 1000}) {
          for (int vectors = 1; vectors <= 4096; vectors += vectors < 70 ? 1 : 61) {
            for (int cluster : kClusters) {
              CheckNormLaunch(run, link, device, rows, vectors, cluster);
            }
          }
        }
      }
    }
  }
}

void RunSums(TestRun* run) {
  for (const DeviceTraits& device : kDevices) {
    for (int num_ranks : {2, 4, 8}) {
      const AllReduceLink link = LinkOf(num_ranks, 0);
      for (int shots = 1; shots <= (num_ranks == 2 ? 1 : 2); ++shots) {
        for (int64_t vectors = 1; vectors < (1 << 20); vectors += 1 + vectors / 7) {
          const CommLaunch launch = ChooseSumLaunch(link, {}, shots, vectors, device);
          run->Expect(launch.blocks > 0 && launch.threads % kSumStretch == 0 &&
                          launch.threads <= kMaxCommThreads &&
                          launch.blocks * launch.threads <= ResidentThreads(link, device),
                      "%d ranks, %lld vectors: %d blocks of %d threads", num_ranks,
                      static_cast<long long>(vectors), launch.blocks, launch.threads);
        }
      }
    }
  }
}

// As Exchange lays a call out.
void RunBuffers(TestRun* run) {
  for (int num_ranks : {2, 4, 8}) {
    for (int64_t bytes = 16; bytes <= (1 << 20); bytes += 16 + bytes / 3 / 16 * 16) {
      AllReduceLink link = LinkOf(num_ranks, 0);
      link.buffer_bytes = bytes;
      for (int64_t vectors = 1; vectors <= 5000; vectors += 1 + vectors / 5) {
        const int64_t stretch = (vectors + num_ranks - 1) / num_ranks;
        for (int shots : {1, 2}) {
          const int64_t per_row =
              shots == 1 ? (num_ranks - 1) * vectors : (num_ranks - 1) * stretch + vectors;
          const int64_t rows = RowsInBuffer(link, shots, vectors);
          run->Expect(rows * per_row <= bytes / 16 && (rows + 1) * per_row > bytes / 16,
                      "%d ranks, %lld bytes, rows of %lld vectors: %lld", num_ranks,
                      static_cast<long long>(bytes), static_cast<long long>(vectors),
                      static_cast<long long>(rows));
        }
      }
    }
  }
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("comm_choose_test", argc, argv);
  if (run.Begin("rows with norm", 0)) RunNorms(&run);
  if (run.Begin("sums", 0)) RunSums(&run);
  if (run.Begin("buffers", 0)) RunBuffers(&run);
  return run.Finish();
}
