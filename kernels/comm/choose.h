// How an all-reduce is cut, by the number of ranks and the size. Host only, pure functions.
// Measured by bench_comm; see docs/performance.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/comm/launch.h"
#include "kernels/common/status.h"

namespace pingti::kernels {

// The size from which two shots are faster: they send 2 / num_ranks of one shot's bytes, and wait
// twice.
constexpr int64_t TwoShotsFromBytes(int num_ranks) {
  switch (num_ranks) {
    case 4:
      return int64_t{512} << 10;
    case 8:
      return int64_t{192} << 10;
    default:
      return std::numeric_limits<int64_t>::max();
  }
}

inline int ChooseShots(const AllReduceShape& shape, int num_ranks, int64_t bytes) {
  if (shape.shots != 0) return shape.shots;
  return bytes >= TwoShotsFromBytes(num_ranks) ? 2 : 1;
}

// Rows of `row_vectors` for which a receive buffer has room; 0: not even one.
inline int64_t RowsInBuffer(const AllReduceLink& link, int shots, int64_t row_vectors) {
  const int64_t peers = link.num_ranks - 1;
  const int64_t stretch = (row_vectors + link.num_ranks - 1) / link.num_ranks;
  const int64_t per_row = shots == 2 ? peers * stretch + row_vectors : peers * row_vectors;
  return link.buffer_bytes / 16 / per_row;
}

// Blocks that may be on the device at once. Clusters do not fill it to the last multiprocessor.
inline int BlockLimit(const AllReduceLink& link, const AllReduceShape& shape, int cluster,
                      const DeviceTraits& device) {
  int limit =
      cluster == 1 ? device.num_sms * CommBlocksPerSm(link.num_ranks) : device.num_sms * 3 / 4;
  if (link.max_blocks > 0) limit = std::min(limit, link.max_blocks);
  return shape.blocks > 0 ? std::min(limit, shape.blocks) : limit;
}

// Small sums spread thinly, for latency.
inline CommLaunch ChooseSumLaunch(const AllReduceLink& link, const AllReduceShape& shape,
                                  int64_t vectors, const DeviceTraits& device) {
  CommLaunch launch;
  launch.compute_capability = device.compute_capability;
  launch.threads = shape.threads > 0                   ? shape.threads
                   : vectors <= device.num_sms * 128LL ? 128
                                                       : kMaxCommThreads;
  const int64_t blocks = (vectors + launch.threads - 1) / launch.threads;
  launch.blocks =
      static_cast<int>(std::min<int64_t>(blocks, BlockLimit(link, shape, /*cluster=*/1, device)));
  return launch;
}

// blocks = 0: the rows are too long. `cluster` gets the blocks for each row: many while there are
// few rows.
inline CommLaunch ChooseNormLaunch(const AllReduceLink& link, const AllReduceShape& shape,
                                   int64_t rows, int row_vectors, const DeviceTraits& device,
                                   int* cluster) {
  CommLaunch launch;
  launch.compute_capability = device.compute_capability;
  const auto fits = [&](int blocks, int per_thread) {
    return row_vectors <= int64_t{blocks} * per_thread * kMaxCommThreads;
  };
  const int max_cluster = device.compute_capability < 90 ? 1 : 8;
  *cluster = std::max(shape.cluster, 1);
  if (*cluster > max_cluster) return launch;
  if (shape.cluster == 0) {
    const auto may_double = [&](int blocks) {
      return rows * 2 * blocks <= BlockLimit(link, shape, 2, device) &&
             row_vectors / (2 * blocks) >= 64;
    };
    while (*cluster < max_cluster && (may_double(*cluster) || !fits(*cluster, 4))) *cluster *= 2;
  }
  while (!fits(*cluster, launch.vectors_per_thread)) {
    launch.vectors_per_thread *= 2;
    if (launch.vectors_per_thread > 4) return launch;
  }
  const int per_block = *cluster * launch.vectors_per_thread;
  launch.threads = CeilDiv(CeilDiv(row_vectors, per_block), 32) * 32;
  const int64_t clusters = std::max(BlockLimit(link, shape, *cluster, device) / *cluster, 1);
  launch.blocks = static_cast<int>(std::min(rows, clusters)) * *cluster;
  return launch;
}

}  // namespace pingti::kernels
