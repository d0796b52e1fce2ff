// Compile-time shape of the sm_90a prefill kernel: tile sizes, registers of each role, shared
// memory, and the arguments it is launched with. Next: sm90_producer.cuh, sm90_consumer.cuh.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/attention/prefill/work.cuh"

namespace pingti::kernels::prefill {

struct Sm90Args {
  const WorkItem* items;
  PlanHeader* header;
  void* out;
  int64_t out_token_stride;
  int64_t out_head_stride;
  const int32_t* block_table;
  int64_t block_table_stride;
  int32_t num_kv_heads;
  int32_t group;  // query heads per KV head
  int32_t num_pages;
  int32_t page_shift;  // log2 of page_tokens
  int32_t box_tokens;  // min(page_tokens, kMaxBoxTokens)
  float scale_log2;    // softmax_scale * log2 e
  bool causal;
  int32_t window;
  const float* sinks;  // of query heads, or null
};

// Tokens of one copy of K or V: half a tile, so that two blocks can share its loading.
inline constexpr int kMaxBoxTokens = kTileKv / 2;

// kCluster: blocks that do the same work item for adjacent query heads of one KV head. Two halve
// what K and V cost in L2 reads: power, on a card that its power limit holds back. Needs an even
// group, and registers for the producer that three consumers do not leave.
template <int kHeadDim_, int kCluster_>
struct Sm90Traits {
  using T = __nv_bfloat16;  // of q, K, V, P and the output
  static constexpr int kCluster = kCluster_;
  static constexpr int kLoadTokens = kTileKv / kCluster;  // of a KV tile, by each block
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kRows = TileRows(90, kHeadDim);
  static constexpr int kConsumers = kRows / 64;  // warpgroups
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kStages = 2;
  // Registers a thread; they sum to at most 64 K over the block.
  static constexpr int kProducerRegisters = kConsumers == 3 ? 32 : 56;
  static constexpr int kConsumerRegisters = kConsumers == 3 ? 160 : 224;

  static constexpr int kBoxDims = 64;  // 128 bytes, the widest swizzle
  static constexpr int kBoxes = kHeadDim / kBoxDims;
  static constexpr int kScoreRegisters = kTileKv / 2;
  static constexpr int kOutRegisters = kHeadDim / 2;

  static_assert(kHeadDim % kBoxDims == 0, "a head is whole swizzled boxes");
  static_assert(kRows % 64 == 0, "a warpgroup multiplies 64 rows");
  static_assert(kLoadTokens % kMaxBoxTokens == 0, "each block loads whole boxes");
};

template <class Tr>
struct alignas(1024) Sm90Shared {
  using T = typename Tr::T;
  // Each box is rows of 128 swizzled bytes.
  T q[Tr::kBoxes][Tr::kRows][Tr::kBoxDims];
  T k[Tr::kStages][Tr::kBoxes][kTileKv][Tr::kBoxDims];
  T v[Tr::kStages][Tr::kBoxes][kTileKv][Tr::kBoxDims];
  T out[Tr::kConsumers * 4][16][Tr::kHeadDim];  // a warp's rows; 16-byte chunks xor-swizzled
  uint64_t q_full, q_empty;
  uint64_t k_full[Tr::kStages], k_empty[Tr::kStages];
  uint64_t v_full[Tr::kStages], v_empty[Tr::kStages];
  uint64_t work_full[2], work_empty[2];
  uint64_t draw_full[2], draw_empty[2];
  Tile work[2];
  uint32_t draw[2];  // tile numbers, from the cluster's first block
};

// Position in a ring of two slots: flips the parity on wrap.
struct RingPosition {
  uint32_t index = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Advance(uint32_t size) {
    if (++index == size) {
      index = 0;
      parity ^= 1;
    }
  }
};

}  // namespace pingti::kernels::prefill
