// What the prefill plan writes and the prefill kernels read: the work items of a step, longest
// first. Device layout of PrefillAttentionParams::workspace. Next: plan.cu, sm90_kernel.cuh.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/prefill_attention.h"

namespace pingti::kernels::prefill {

// KV tokens of one tile, all kernels.
inline constexpr int kTileKv = 128;

// One block of query rows of one sequence; every head does it.
struct alignas(32) WorkItem {
  int32_t seq;
  int32_t row_begin;  // first row in q and out
  int32_t num_rows;   // 1 .. query rows of a tile
  int32_t position;   // of the first row: kv_len - q_len + offset; negative if kv_len < q_len
  int32_t kv_len;
  int32_t tile_begin;  // KV tiles [tile_begin, tile_end) of kTileKv tokens; may be empty
  int32_t tile_end;
  int32_t unused;  // fills the item to 32 bytes
};

struct alignas(32) PlanHeader {
  uint32_t next_tile;     // shared work counter; zero between launches
  uint32_t num_finished;  // blocks that drew no more work; zero between launches
  int32_t num_items;
  int32_t heads_per_section;  // KV heads worked on together, so that their K and V stay in L2
};

inline bool TransformsScores(const PrefillAttentionParams& params) {
  return params.logit_softcap != 0 || params.alibi_slopes != nullptr;
}

// Query rows of a tile. The plan and the kernel of a (device, head_dim) agree through this.
constexpr int TileRows(int compute_capability, int head_dim) {
  if (compute_capability != 90) return 64;
  return head_dim == 64 ? 192 : 128;
}

// What a plan is made of.
struct PlanArgs {
  const int32_t* q_start;
  const int32_t* kv_len;
  int32_t num_seqs;
  int32_t num_kv_heads;
  int32_t token_bytes;  // K and V of one token and head; 0: all heads read the same ones
  int32_t tile_rows;
  int32_t max_items;
  bool causal;
  int32_t window;
  PlanHeader* header;
  WorkItem* items;  // [max_items]
};

// Writes the header and the items of checked arguments.
cudaError_t LaunchPlan(const PlanArgs& args, cudaStream_t stream);

// LaunchPrefillPlan for tiles of this many rows: for the tests, which run the sm_80 kernel on any
// card.
cudaError_t LaunchPlan(const PrefillAttentionParams& params, int tile_rows, cudaStream_t stream);

inline const WorkItem* Items(const void* workspace) {
  return reinterpret_cast<const WorkItem*>(static_cast<const PlanHeader*>(workspace) + 1);
}

}  // namespace pingti::kernels::prefill
