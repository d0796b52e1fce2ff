// How the KV tiles of a decode step are dealt out: the plan buffer that plan.cu writes once a step,
// and the walk over it that every block of the attention kernel makes.
//
// All tiles of a step are numbered in one line: sequence by sequence, in a sequence KV head by KV
// head, in a head by position. Worker w of W takes tiles [w*T/W, (w+1)*T/W) (W is at most T): equal
// work whatever the lengths, and a (sequence, head) is cut only where a worker's range ends. A cut
// piece leaves a partial result in its worker's slot; each worker has at most two (its first and
// its last piece).
#pragma once

#include <cstdint>

#include "kernels/attention/decode/traits.cuh"

namespace pingti::kernels::decode {

// What a worker needs to start, in one cache line: one memory latency instead of a chain of them.
struct alignas(32) WorkerStart {
  int32_t total_tiles;  // of the line
  int32_t seq;          // that the worker's first tile belongs to
  int32_t seq_begin;    // line number of that sequence's first tile
  int32_t kv_len;
  int32_t q_len;
  int32_t q_row;
};

// The plan buffer: the workers' starts, the sequences' first tiles (per KV head), merge counters.
struct PlanLayout {
  int num_seqs;
  int num_workers;
  __host__ __device__ int64_t TileStart() const {  // [num_seqs + 1]
    return static_cast<int64_t>(num_workers) * (sizeof(WorkerStart) / sizeof(int32_t));
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

// Workers that get tiles: every active one gets at least one.
__host__ __device__ inline int ActiveWorkers(int64_t total_tiles, int num_workers) {
  return total_tiles < num_workers ? static_cast<int>(total_tiles) : num_workers;
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
  bool first_of_worker;
  // The workers that share the (sequence, head), and whether the first of them was already at
  // work on another one. Set for cut pieces only.
  int first_worker;
  int last_worker;
  bool first_worker_had_other;
};

struct WorkArgs {
  const int32_t* plan;
  const int32_t* kv_lens;
  const int32_t* q_starts;
  int num_seqs;
  int num_kv_heads;
  int max_q_len;
  int window;
  int num_workers;
};

// Walks the segments of one worker. Every thread of a block may walk its own copy.
class SegmentWalk {
 public:
  __device__ SegmentWalk(const WorkArgs& args, int worker)
      : args_(args),
        tile_start_(args.plan + PlanLayout{args.num_seqs, args.num_workers}.TileStart()) {
    const WorkerStart start = reinterpret_cast<const WorkerStart*>(args.plan)[worker];
    total_ = start.total_tiles;
    workers_ = ActiveWorkers(total_, args.num_workers);
    if (worker >= workers_) {
      line_ = end_ = 0;
      return;
    }
    begin_ = WorkerBegin(worker);
    end_ = WorkerBegin(worker + 1);
    line_ = begin_;
    SetSequence(start.seq, start.seq_begin, start.kv_len, start.q_len, start.q_row);
  }

  __device__ int num_kv_heads() const { return args_.num_kv_heads; }

  __device__ bool Next(Segment* segment) {
    if (line_ >= end_) return false;
    while (line_ >= seq_begin_ + tiles_.count * args_.num_kv_heads) LoadSequence(seq_ + 1);
    const int head = (line_ - seq_begin_) / tiles_.count;
    segment->seq = seq_;
    segment->kv_head = head;
    segment->kv_len = kv_len_;
    segment->q_len = q_len_;
    segment->q_row = q_row_;
    const int line_begin = seq_begin_ + head * tiles_.count;
    const int line_end = line_begin + tiles_.count;
    const int stop = line_end < end_ ? line_end : end_;
    segment->whole = line_ == line_begin && stop == line_end;
    segment->first_of_worker = line_ == begin_;
    segment->tile_begin = tiles_.first + line_ - line_begin;
    segment->tile_end =
        kv_len_ > 0 && q_len_ > 0 ? tiles_.first + stop - line_begin : segment->tile_begin;
    if (!segment->whole) {
      segment->first_worker = WorkerOf(line_begin);
      segment->last_worker = WorkerOf(line_end - 1);
      segment->first_worker_had_other = WorkerBegin(segment->first_worker) < line_begin;
    }
    line_ = stop;
    return true;
  }

 private:
  // First tile of `worker` in the line.
  __device__ int WorkerBegin(int worker) const {
    return static_cast<int>(static_cast<int64_t>(worker) * total_ / workers_);
  }

  // Worker that owns tile `line`.
  __device__ int WorkerOf(int line) const {
    return static_cast<int>(((static_cast<int64_t>(line) + 1) * workers_ - 1) / total_);
  }

  __device__ void LoadSequence(int seq) {
    const int q_row = args_.q_starts == nullptr ? seq * args_.max_q_len : args_.q_starts[seq];
    const int q_len = args_.q_starts == nullptr ? args_.max_q_len : args_.q_starts[seq + 1] - q_row;
    SetSequence(seq, tile_start_[seq] * args_.num_kv_heads, args_.kv_lens[seq], q_len, q_row);
  }

  __device__ void SetSequence(int seq, int seq_begin, int kv_len, int q_len, int q_row) {
    seq_ = seq;
    seq_begin_ = seq_begin;
    kv_len_ = kv_len;
    q_len_ = q_len;
    q_row_ = q_row;
    tiles_ = SequenceTiles(kv_len, q_len, args_.window);
  }

  const WorkArgs& args_;
  const int32_t* tile_start_;
  int total_;
  int workers_;
  int begin_ = 0;
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
