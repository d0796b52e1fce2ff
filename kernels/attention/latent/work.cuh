// What a block of the latent attention kernel does, one Work after the other: pieces of the decode
// plan's line of tiles, or tiles drawn from a prefill plan. Device code, one warp.
// Next: ../decode/work.cuh and ../prefill/work.cuh, whose plans these are.
#pragma once

#include "kernels/attention/decode/work.cuh"
#include "kernels/attention/latent/traits.cuh"
#include "kernels/attention/prefill/work.cuh"

namespace pingti::kernels::latent {

static_assert(kTileTokens == decode::kTileTokens, "a plan's tile is a tile of latents");

// A decode worker is one block, or two neighbours that read the same latents at the same time, each
// for a tile of rows of its own. The plan's "KV head" is what one worker does for a sequence.
struct DecodeArgs {
  decode::WorkArgs plan;
  RowPacking packing;
  int blocks_per_worker;  // 1 or 2
};

class DecodeSource {
 public:
  using Args = DecodeArgs;

  explicit __device__ DecodeSource(const DecodeArgs& args)
      : args_(args),
        rank_(blockIdx.x % args.blocks_per_worker),
        walk_(args.plan, blockIdx.x / args.blocks_per_worker) {}

  // False: no more. The same in all lanes.
  __device__ bool Next(Work* work) {
    decode::Segment segment;
    while (walk_.Next(&segment)) {
      const int row_tile = segment.kv_head * args_.blocks_per_worker + rank_;
      const int token = row_tile / args_.packing.head_tiles * args_.packing.tokens;
      if (token >= segment.q_len) continue;  // a sequence of fewer query tokens than the longest
      work->seq = segment.seq;
      work->q_row = segment.q_row + token;
      work->num_tokens = min(args_.packing.tokens, segment.q_len - token);
      work->head = row_tile % args_.packing.head_tiles * args_.packing.heads;
      work->position = segment.kv_len - segment.q_len + token;
      work->kv_end = segment.kv_len;
      work->tile_begin = segment.tile_begin;
      work->tile_end = segment.tile_end;
      work->slot = segment.whole ? -1 : segment.slot;
      return true;
    }
    return false;
  }

 private:
  const DecodeArgs& args_;
  const int rank_;
  decode::SegmentWalk walk_;
};

struct PrefillArgs {
  prefill::PlanHeader* header;
  const prefill::WorkItem* items;
  RowPacking packing;
};

class PrefillSource {
 public:
  using Args = PrefillArgs;

  // A plan's "KV heads" are a token's tiles of heads.
  explicit __device__ PrefillSource(const PrefillArgs& args)
      : heads_(args.packing.heads),
        source_(args.header, args.items, args.packing.head_tiles, 1),
        index_(source_.DrawFirst()) {}

  __device__ bool Next(Work* work) {
    const bool draws = threadIdx.x % 32 == 0;
    if (index_ >= source_.num_tiles()) {
      if (draws) source_.Finish();
      return false;
    }
    const prefill::Tile tile = source_.Find(index_);
    const prefill::WorkItem& item = tile.item;
    work->seq = item.seq;
    work->q_row = item.row_begin;
    work->num_tokens = item.num_rows;
    work->head = tile.head * heads_;
    work->position = item.position;
    work->kv_end = min(item.kv_len, max(item.position + item.num_rows, 0));
    work->tile_begin = 0;
    work->tile_end = (work->kv_end + kTileTokens - 1) / kTileTokens;
    work->slot = -1;
    index_ = __shfl_sync(~0u, draws ? source_.DrawNext() : 0, 0);
    return true;
  }

 private:
  const int heads_;
  const prefill::TileSource<1> source_;
  uint32_t index_;
};

}  // namespace pingti::kernels::latent
