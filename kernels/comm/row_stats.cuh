// Sum and maximum over a row that the blocks of a cluster share, row after row. Device code.
#pragma once

#include <cstdint>

#include "kernels/common/cluster.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/vec8.cuh"

namespace pingti::kernels {

inline constexpr int kMaxRowCluster = 8;

// Rows alternate between two halves: a block that is a row ahead does not disturb one that still
// reads, and none can be two rows ahead, since it needs the others' values of the row between.
struct RowStatsShared {
  SumMax warps[2][32];
  SumMax blocks[2][kMaxRowCluster];  // written by the blocks of the cluster
  alignas(8) uint64_t full[2];       // all of `blocks` is there
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

  // After whatever may be done before the first Reduce; once.
  __device__ void WaitForCluster() const {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if (cluster_ > 1) ClusterWait();  // barriers are initialised everywhere
#endif
  }

  // Over all threads of all blocks of the cluster, the same bits to each.
  __device__ SumMax Reduce(SumMax value) {
    const uint32_t half = num_rows_ % 2;
    value = BlockSumMax(value, shared_.warps[half]);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if (cluster_ > 1) value = ReduceBlocks(value, half, num_rows_ / 2 % 2);
#endif
    ++num_rows_;
    return value;
  }

 private:
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __device__ SumMax ReduceBlocks(SumMax value, uint32_t half, uint32_t parity) const {
    SumMax* const blocks = shared_.blocks[half];
    uint64_t* const full = &shared_.full[half];
    if (threadIdx.x == 0) MbarrierArriveExpectBytes(full, cluster_ * sizeof(SumMax));
    if (threadIdx.x < cluster_) {
      SumMax* const own = &blocks[block_in_row_];
      StoreAsyncCluster(reinterpret_cast<uint32_t*>(&own->sum), __float_as_uint(value.sum), full,
                        threadIdx.x);
      StoreAsyncCluster(reinterpret_cast<uint32_t*>(&own->max), __float_as_uint(value.max), full,
                        threadIdx.x);
    }
    MbarrierWaitAcquireCluster(full, parity);
    SumMax total{0.0f, 0.0f};
    for (int i = 0; i < cluster_; ++i) {
      total.sum += blocks[i].sum;
      total.max = fmaxf(total.max, blocks[i].max);
    }
    return total;
  }
#endif

  RowStatsShared& shared_;
  const int cluster_;
  int block_in_row_ = 0;
  uint32_t num_rows_ = 0;  // reduced so far
};

}  // namespace pingti::kernels
