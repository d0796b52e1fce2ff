// Sum and maximum over a row that the blocks of a cluster share, row after row. Device code.
#pragma once

#include <cstdint>

#include "kernels/comm/launch.h"
#include "kernels/common/cluster.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/vec8.cuh"

namespace pingti::kernels {

inline constexpr int kMaxRowCluster = 8;
inline constexpr int kMaxCommWarps = kMaxCommThreads / 32;

// Rows alternate between two halves: a warp that is a row ahead does not disturb one that still
// reads, and none can be two rows ahead, since it needs the others' values of the row between.
struct RowStatsShared {
  SumMax warps[2][32];                                         // of this block
  alignas(8) SumMax parts[2][kMaxRowCluster * kMaxCommWarps];  // of the cluster, by block and warp
  alignas(8) uint64_t full[2];                                 // all of `parts` is there
};

class RowStats {
 public:
  // All threads of the block; `cluster` blocks share a row.
  __device__ RowStats(RowStatsShared* shared, int cluster) : shared_(*shared), cluster_(cluster) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if (cluster == 1) return;
    block_in_row_ = static_cast<int>(ClusterRank());
    if (threadIdx.x == 0) {
      MbarrierInit(&shared_.full[0], 1);
      MbarrierInit(&shared_.full[1], 1);
      MbarrierInitFence();
    }
    ClusterArrive();
#endif
  }

  __device__ int block_in_row() const { return block_in_row_; }

  // After whatever may be done before the first Reduce; once, by all threads of a warp together.
  __device__ void WaitForCluster() const {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if (cluster_ > 1) ClusterWait();  // barriers are initialised everywhere
#endif
  }

  // Over all threads of all blocks of the cluster, the same bits to each.
  __device__ SumMax Reduce(SumMax value) {
    const uint32_t row = num_rows_++;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if (cluster_ > 1) return ReduceCluster(value, row % 2, row / 2 % 2);
#endif
    return BlockSumMax(value, shared_.warps[row % 2]);
  }

 private:
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  // Every warp sends its part to all blocks, and adds up all parts itself.
  __device__ SumMax ReduceCluster(SumMax value, uint32_t half, uint32_t parity) const {
    SumMax* const parts = shared_.parts[half];
    uint64_t* const full = &shared_.full[half];
    const int num_warps = blockDim.x / 32;
    const int num_parts = cluster_ * num_warps;
    const int lane = threadIdx.x % 32;
    if (threadIdx.x == 0) MbarrierArriveExpectBytes(full, num_parts * sizeof(SumMax));
    value = WarpSumMax(value);
    if (lane < cluster_) {
      SumMax* const own = &parts[block_in_row_ * num_warps + threadIdx.x / 32];
      const uint64_t bits =
          static_cast<uint64_t>(__float_as_uint(value.max)) << 32 | __float_as_uint(value.sum);
      StoreAsyncCluster(reinterpret_cast<uint64_t*>(own), bits, full, lane);
    }
    MbarrierWaitAcquireCluster(full, parity);
    SumMax total{0.0f, 0.0f};
    for (int i = lane; i < num_parts; i += 32) {
      total.sum += parts[i].sum;
      total.max = fmaxf(total.max, parts[i].max);
    }
    return WarpSumMax(total);
  }
#endif

  RowStatsShared& shared_;
  const int cluster_;
  int block_in_row_ = 0;
  uint32_t num_rows_ = 0;  // reduced so far
};

}  // namespace pingti::kernels
