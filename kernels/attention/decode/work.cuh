// How the KV tiles of a decode step are dealt out: the plan buffer that plan.cu writes once a step,
// and the walk over it that every block of the attention kernel makes.
//
// All tiles of a step are numbered in one line: sequence by sequence, in a sequence KV head by KV
// head, in a head by position. Workers take equal stretches of it whatever the lengths, and a
// (sequence, head) is cut only where a worker's stretch ends. A cut piece leaves a partial result
// in its worker's slot; each worker has at most two (its first and its last piece). Where that
// costs little, gaps in the line let every (sequence, head) begin with a worker (plan.cu).
#pragma once

#include <cstdint>

#include "kernels/attention/decode/traits.cuh"

namespace pingti::kernels::decode {

// What a worker needs to start, in one cache line: one memory latency instead of a chain of them.
struct alignas(32) WorkerStart {
  int32_t total_tiles;       // of the line
  int32_t tiles_per_worker;  // of the line, each; the last worker may get fewer
  int32_t head_unit;         // a (sequence, head)'s part of the line is a multiple of it
  int32_t seq;               // that the worker's first tile belongs to
  int32_t seq_begin;         // line number of that sequence's first tile
  int32_t kv_len;
  int32_t q_len;
  int32_t q_row;
};

// The plan buffer: the workers' starts, the sequences' first tiles (per KV head), merge counters.
struct PlanLayout {
  int num_seqs;
  int max_workers;                                 // the device's SMs
  __host__ __device__ int64_t TileStart() const {  // [num_seqs + 1]
    return static_cast<int64_t>(max_workers) * (sizeof(WorkerStart) / sizeof(int32_t));
  }
  __host__ __device__ int64_t Counters() const { return TileStart() + num_seqs + 1; }
  __host__ __device__ int64_t Size(int num_kv_heads) const {
    return Counters() + static_cast<int64_t>(num_seqs) * num_kv_heads;
  }
};

// First tile that a sequence reads, and how many: the window drops whole tiles on the left. A
// sequence without tokens still gets one (empty) tile, so that somebody zeroes its output; one
// without queries gets one too, which costs nothing and keeps the line dense.
struct TileRange {
  int first;
  int count;
};
__host__ __device__ inline TileRange SequenceTiles(int kv_len, int q_len, int window) {
  if (q_len <= 0) return {0, 1};
  int first = 0;
  if (window > 0) {
    const int lowest = kv_len - q_len - window + 1;
    first = lowest > 0 ? lowest / kTileTokens : 0;
  }
  const int end = (kv_len + kTileTokens - 1) / kTileTokens;
  return {first, end > first ? end - first : 1};
}

__host__ __device__ inline int RoundUp(int value, int unit) {
  return (value + unit - 1) / unit * unit;
}

// One worker's piece of one (sequence, KV head).
struct Segment {
  int seq;
  int kv_head;
  int kv_len;
  int q_len;
  int q_row;       // first row of the sequence in q and out
  int tile_begin;  // tiles of the sequence, first included, from token 0
  int tile_end;    // == tile_begin for an empty sequence
  bool whole;      // the piece is the entire (sequence, head)
  // Set for cut pieces only: where the piece's result goes, the workers that share the (sequence,
  // head), and whether the first of them was already at work on another one.
  int slot;
  int first_worker;
  int last_worker;
  bool first_worker_had_other;
};

struct WorkArgs {
  const WorkerStart* starts;  // [num_workers]
  const int32_t* tile_start;  // [num_seqs + 1]
  const int32_t* kv_lens;
  const int32_t* q_starts;
  int num_kv_heads;
  int max_q_len;
  int window;
};

// Walks the segments of one worker. Every thread of a block may walk its own copy.
class SegmentWalk {
 public:
  __device__ SegmentWalk(const WorkArgs& args, int worker) : args_(args), worker_(worker) {
    const WorkerStart start = args.starts[worker];
    per_worker_ = start.tiles_per_worker;
    head_unit_ = start.head_unit;
    begin_ = worker_ * per_worker_;
    end_ = min(begin_ + per_worker_, start.total_tiles);
    line_ = begin_;
    SetSequence(start.seq, start.seq_begin, start.kv_len, start.q_len, start.q_row);
  }

  __device__ bool Next(Segment* segment) {
    if (line_ >= end_) return false;
    while (line_ >= seq_begin_ + head_part_ * args_.num_kv_heads) LoadSequence(seq_ + 1);
    const int head = (line_ - seq_begin_) / head_part_;
    segment->seq = seq_;
    segment->kv_head = head;
    segment->kv_len = kv_len_;
    segment->q_len = q_len_;
    segment->q_row = q_row_;
    const int line_begin = seq_begin_ + head * head_part_;
    const int line_end = line_begin + tiles_.count;
    const int stop = min(line_begin + head_part_, end_);
    const int first = tiles_.first + line_ - line_begin;
    const int count = kv_len_ > 0 && q_len_ > 0 ? min(stop, line_end) - line_ : 0;
    segment->tile_begin = first;
    segment->tile_end = first + count;
    segment->whole = line_ == line_begin && stop >= line_end;
    if (!segment->whole) {
      segment->slot = 2 * worker_ + (line_ == begin_ ? 0 : 1);
      segment->first_worker = line_begin / per_worker_;
      segment->last_worker = (line_end - 1) / per_worker_;
      segment->first_worker_had_other = segment->first_worker * per_worker_ < line_begin;
    }
    line_ = stop;
    return true;
  }

 private:
  __device__ void LoadSequence(int seq) {
    const int q_row = args_.q_starts == nullptr ? seq * args_.max_q_len : args_.q_starts[seq];
    const int q_len = args_.q_starts == nullptr ? args_.max_q_len : args_.q_starts[seq + 1] - q_row;
    SetSequence(seq, args_.tile_start[seq] * args_.num_kv_heads, args_.kv_lens[seq], q_len, q_row);
  }

  __device__ void SetSequence(int seq, int seq_begin, int kv_len, int q_len, int q_row) {
    seq_ = seq;
    seq_begin_ = seq_begin;
    kv_len_ = kv_len;
    q_len_ = q_len;
    q_row_ = q_row;
    tiles_ = SequenceTiles(kv_len, q_len, args_.window);
    head_part_ = RoundUp(tiles_.count, head_unit_);
  }

  const WorkArgs& args_;
  int worker_;
  int per_worker_;
  int head_unit_;
  int head_part_ = 1;  // of the line, for each head of the sequence
  int begin_;
  int end_;
  int line_;
  int seq_ = 0;
  int seq_begin_ = 0;
  int kv_len_ = 0;
  int q_len_ = 0;
  int q_row_ = 0;
  TileRange tiles_{0, 1};
};

}  // namespace pingti::kernels::decode
