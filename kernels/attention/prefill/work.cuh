// How a block draws tiles of a prefill plan: shared by the sm_90a and the sm_80 kernel. Device
// code. Next: plan.h (what the plan holds), plan.cu (how it is made).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/attention/prefill/plan.h"
#include "kernels/common/mma_sm80.cuh"

namespace pingti::kernels::prefill {

// One work item for one query head.
struct Tile {
  WorkItem item;
  int32_t head;  // -1: no more work
};

// What a head's sink adds to the sum of a row, which is relative to the row's highest score.
// `sinks`: of query heads, or null. scale_log2: of scores, times log2 e.
__device__ __forceinline__ float SinkPart(const float* sinks, int head, float highest,
                                          float scale_log2) {
  if (sinks == nullptr) return 0.0f;
  constexpr float kLog2E = 1.44269504f;
  const float offset = highest == -INFINITY ? 0.0f : highest * scale_log2;
  return Exp2(fmaf(__ldg(sinks + head), kLog2E, -offset));
}

// The draw of tiles by workers: blocks, or clusters that do one work item for kHeads adjacent query
// heads of a KV head, one per block. Heads of a section vary fastest, then items, then sections:
// workers that run at the same time share K and V. Every thread that holds one keeps the same
// values.
template <int kHeads>
class TileSource {
 public:
  // group: query heads per KV head, a multiple of kHeads.
  __device__ __forceinline__ TileSource(PlanHeader* header, const WorkItem* items, int num_kv_heads,
                                        int group)
      : header_(header),
        items_(items),
        num_kv_heads_(num_kv_heads),
        units_(group / kHeads),
        num_items_(header->num_items),
        section_heads_(header->heads_per_section) {}

  __device__ __forceinline__ uint32_t num_tiles() const {
    return static_cast<uint32_t>(num_items_) * num_kv_heads_ * units_;
  }

  // The first draw. One thread a worker calls DrawNext for the later ones.
  __device__ __forceinline__ uint32_t DrawFirst() const { return blockIdx.x / kHeads; }
  __device__ __forceinline__ uint32_t DrawNext() const {
    return NumWorkers() + atomicAdd(&header_->next_tile, 1);
  }

  // Tile of block `rank` of the worker that drew `index` < num_tiles().
  __device__ __forceinline__ Tile Find(uint32_t index, int rank = 0) const {
    const uint32_t section_tiles = num_items_ * section_heads_ * units_;
    const uint32_t section = index / section_tiles;
    const uint32_t in_section = index - section * section_tiles;
    const int first_head = section * section_heads_;
    const uint32_t units = min(section_heads_, num_kv_heads_ - first_head) * units_;
    const uint32_t item = in_section / units;
    const int unit = first_head * units_ + in_section - item * units;
    return {items_[item], unit * kHeads + rank};
  }

  // One thread a worker, after its last draw. The last one leaves the counters as it found them.
  __device__ __forceinline__ void Finish() const {
    const uint32_t last = NumWorkers() - 1;
    if (atomicInc(&header_->num_finished, last) == last) header_->next_tile = 0;
  }

 private:
  static __device__ __forceinline__ uint32_t NumWorkers() { return gridDim.x / kHeads; }

  PlanHeader* header_;
  const WorkItem* items_;
  int num_kv_heads_;
  int units_;  // a KV head
  int num_items_;
  int section_heads_;
};

}  // namespace pingti::kernels::prefill
