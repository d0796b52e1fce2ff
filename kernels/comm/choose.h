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

// Blocks of `threads` that may be on the device at once. Clusters do not fill it to the last
// multiprocessor.
inline int BlockLimit(const AllReduceLink& link, const AllReduceShape& shape, int cluster,
                      int threads, const DeviceTraits& device) {
  int limit = device.num_sms * CommBlocksPerSm(link.num_ranks) * (kMaxCommThreads / threads);
  if (cluster > 1) limit = limit * 3 / 4;
  if (link.max_blocks > 0) limit = std::min(limit, link.max_blocks);
  return shape.blocks > 0 ? std::min(limit, shape.blocks) : limit;
}

// The narrowest blocks of which two on each multiprocessor (one, with more than two ranks) take
// all vectors at once: on an H200 with two ranks, 16 KB took 2.16 us with 128 threads and 2.35 with
// 512; 1 MB 5.9 and 5.3.
inline CommLaunch ChooseSumLaunch(const AllReduceLink& link, const AllReduceShape& shape, int shots,
                                  int64_t vectors, const DeviceTraits& device) {
  CommLaunch launch;
  launch.shots = shots;
  launch.compute_capability = device.compute_capability;
  const int64_t most = int64_t{device.num_sms} * CommBlocksPerSm(link.num_ranks);
  if (shots == 2) {
    const int64_t row = int64_t{link.num_ranks} * kSumStretch;
    vectors = (vectors + row - 1) / row * kSumStretch;  // a thread has one of each stretch
  }
  launch.threads = shape.threads;
  for (int threads = 128; launch.threads == 0; threads *= 2) {
    if (threads == kMaxCommThreads || vectors <= most * threads) launch.threads = threads;
  }
  const int64_t wanted = std::min(most, (vectors + launch.threads - 1) / launch.threads);
  const int limit = BlockLimit(link, shape, /*cluster=*/1, launch.threads, device);
  launch.blocks = static_cast<int>(std::min<int64_t>(wanted, limit));
  return launch;
}

// blocks = 0: the rows are too long. `cluster` gets the blocks for each row: as many as leave every
// block a multiprocessor. On an H200, two ranks, rows of 8,192: one row took 3.35 us with 8 blocks
// and 4.45 with one.
inline CommLaunch ChooseNormLaunch(const AllReduceLink& link, const AllReduceShape& shape,
                                   int64_t rows, int row_vectors, const DeviceTraits& device,
                                   int* cluster) {
  CommLaunch launch;
  launch.compute_capability = device.compute_capability;
  constexpr int kMaxVectors = 2;
  const auto fits = [&](int blocks) {
    return row_vectors <= int64_t{blocks} * kMaxVectors * kMaxCommThreads;
  };
  const int max_cluster = device.compute_capability < 90 ? 1 : 8;
  const int max_blocks = link.max_blocks > 0 ? link.max_blocks : device.num_sms;
  *cluster = std::max(shape.cluster, 1);
  if (shape.cluster == 0) {
    const auto may_double = [&](int blocks) {
      return rows * 2 * blocks <= max_blocks && row_vectors / (2 * blocks) >= 64;
    };
    while (*cluster < max_cluster && (may_double(*cluster) || !fits(*cluster))) *cluster *= 2;
  }
  if (*cluster > max_cluster || !fits(*cluster)) return launch;
  launch.vectors_per_thread = row_vectors <= *cluster * kMaxCommThreads ? 1 : kMaxVectors;
  const int per_block = *cluster * launch.vectors_per_thread;
  launch.threads = CeilDiv(CeilDiv(row_vectors, per_block), 32) * 32;
  const int limit = BlockLimit(link, shape, *cluster, launch.threads, device);
  const int64_t clusters = std::max(limit / *cluster, 1);
  launch.blocks = static_cast<int>(std::min(rows, clusters)) * *cluster;
  return launch;
}

}  // namespace pingti::kernels
