// The best tokens of a row, and the token of a given rank (descending logit, then ascending id),
// without a sort of the row. Device code.
//
// Tokens are counted in 1024 bins by their distance from the maximum, which all blocks of the row
// add up. The bins down to the rank go to the first block, where each token counts the better ones:
// that is its place. Where they hold more than a block takes, as in flat rows, only the bin of the
// rank is looked at, and counted again in finer bins until it fits.
// Read next: row_blocks.cuh, sample.cu.
#pragma once

#include <cstdint>

#include "kernels/sampling/row_blocks.cuh"

namespace pingti::kernels::sampling {

inline constexpr int kCandidates = kThreads;  // tokens that one block ranks
inline constexpr int kBins = 1024;
inline constexpr int kBinsPerThread = kBins / kThreads;
static_assert(kBinsPerThread == 2, "a thread adds up a pair of bins");

// By distance from the row's maximum; the last bin holds all that is further away.
struct DistanceBins {
  float max;

  __device__ int Find(float x) const {
    constexpr float kBinsPerUnit = 16.0f;
    if (x == -INFINITY) return -1;
    const float position = (max - x) * kBinsPerUnit;
    return position < kBins - 1 ? static_cast<int>(position) : kBins - 1;
  }
};

// The tokens with keys in [low, high], in ranges of 2^shift keys. -1: none of them.
struct KeyBins {
  uint32_t low;
  uint32_t high;
  int shift;

  __device__ KeyBins(uint32_t lowest, uint32_t highest) : low(lowest), high(highest) {
    shift = max(0, 32 - __clz(highest - lowest) - kLogBins);
  }

  __device__ int Find(float x) const {
    const uint32_t key = OrderedKey(x);
    if (x == -INFINITY || key < low || key > high) return -1;
    return static_cast<int>((high - key) >> shift);
  }
  __device__ uint32_t Top(int bin) const { return high - (static_cast<uint32_t>(bin) << shift); }
  // The lowest key of a bin that holds tokens.
  __device__ uint32_t Bottom(int bin) const {
    const uint32_t depth = (1u << shift) - 1;
    return Top(bin) - low > depth ? Top(bin) - depth : low;
  }

 private:
  static constexpr int kLogBins = 10;
  static_assert(1 << kLogBins == kBins);
};

// The bin that holds a rank. Places are those among the first block's keys.
struct ChosenBin {
  int bin;
  uint32_t before;       // tokens in earlier bins
  uint32_t count;        // tokens in it
  uint32_t place;        // of this block's tokens of this bin
  uint32_t first_place;  // of this block's tokens of this bin and the ones before it
};

struct RankShared {
  alignas(16) uint32_t bins[kBins];  // of this block
  uint64_t keys[kCandidates];        // of the first block, in no order
  uint64_t sorted[kCandidates];      // of the first block, descending
  uint64_t warps[kWarps];
  uint32_t taken;       // places in the first block's keys
  uint32_t num_tokens;  // in all bins of the row
  ChosenBin chosen;
  uint64_t told;  // by the first block
};

// How many of `count` keys, which differ, are larger.
__device__ inline uint32_t NumLarger(const uint64_t* keys, uint32_t count, uint64_t key) {
  uint32_t larger = 0;
#pragma unroll 4
  for (uint32_t i = 0; i < count; ++i) larger += keys[i] > key;
  return larger;
}

// Inclusive sum over the block's threads, in a fixed order. Ends with a block barrier.
template <class T>
__device__ T BlockScan(T value, T* warps) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int delta = 1; delta < 32; delta *= 2) {
    const T below = __shfl_up_sync(~0u, value, delta);
    if (lane >= delta) value += below;
  }
  if (lane == 31) warps[warp] = value;
  __syncthreads();  // warp sums are in place
  T before = 0;
  for (int w = 0; w < warp; ++w) before += warps[w];
  __syncthreads();  // all have read
  return before + value;
}

// Ranks the tokens of a row; all of its threads call its methods together.
template <int kCluster>
class RowRanks {
 public:
  // Before the first use: bins must be empty (EmptyBins, then a block barrier).
  __device__ RowRanks(RowBlocks<kCluster>* row, const Slice& slice, RankShared* shared)
      : row_(row), slice_(slice), shared_(shared) {}

  static __device__ void EmptyBins(RankShared* shared) {
    reinterpret_cast<uint2*>(shared->bins)[threadIdx.x] = {0, 0};
  }

  // Brings the row's best tokens, at least `rank` of them or all there are, into the first block's
  // `sorted`. Returns how many, or 0 where they are too many. `max`: the row's highest logit.
  __device__ uint32_t SortTop(float max, uint32_t rank) {
    const DistanceBins bins{max};
    Count(bins);
    ChooseBin(rank);
    const ChosenBin& chosen = shared_->chosen;
    const uint32_t count = chosen.before + chosen.count;
    if (count > kCandidates) return 0;
    Gather(chosen.first_place, [&](float x) {
      return static_cast<uint32_t>(bins.Find(x)) <= static_cast<uint32_t>(chosen.bin);
    });
    if (row_->rank() == 0) {
      if (threadIdx.x < count) {
        const uint64_t key = shared_->keys[threadIdx.x];
        shared_->sorted[NumLarger(shared_->keys, count, key)] = key;
      }
      __syncthreads();  // sorted
    }
    return count;
  }

  // Key of the `rank`-th best token, or 0 where the row has no more than `rank`.
  __device__ uint64_t KeyOfRank(float max, uint32_t rank) {
    const DistanceBins bins{max};
    Count(bins);
    ChooseBin(rank);
    if (shared_->num_tokens <= rank) return 0;
    rank -= shared_->chosen.before;
    return shared_->chosen.count <= kCandidates ? RankInBin(bins, rank) : RankInCrowd(bins, rank);
  }

  // Brings the tokens from key `last` on (0: all), which are `count`, into the first block's
  // `sorted`.
  __device__ void SortFrom(uint64_t last, uint32_t count) {
    if (threadIdx.x == 0) shared_->taken = 0;
    row_->Sync();  // the first block's places are free
    uint64_t* keys = row_->Remote(shared_->keys, 0);
    uint32_t* taken = row_->Remote(&shared_->taken, 0);
    ForEach(slice_, [&](int i, float x) {
      const uint64_t key = TokenKey(x, slice_.first_id + i);
      if (x != -INFINITY && key >= last) keys[atomicAdd(taken, 1u)] = key;
    });
    row_->Sync();  // the first block has all keys
    if (row_->rank() != 0) return;
    if (threadIdx.x < count) {
      const uint64_t key = shared_->keys[threadIdx.x];
      shared_->sorted[NumLarger(shared_->keys, count, key)] = key;
    }
    __syncthreads();  // sorted
  }

  // Of the row, after SortTop or KeyOfRank; -inf is no token.
  __device__ uint32_t num_tokens() const { return shared_->num_tokens; }

 private:
  template <class Bins>
  __device__ void Count(const Bins& bins) {
    if (are_bins_used_) {
      row_->Sync();  // all have read the bins
      EmptyBins(shared_);
      __syncthreads();  // bins are empty
    }
    are_bins_used_ = true;
    ForEach(slice_, [&](int, float x) {
      const int bin = bins.Find(x);
      if (bin >= 0) atomicAdd(&shared_->bins[bin], 1u);
    });
    row_->Sync();
  }

  // Finds the bin of the token of `rank` (from 1 on), or where there are fewer the last one that
  // has tokens. Ends with a block barrier.
  __device__ void ChooseBin(uint32_t rank) {
    const int first = kBinsPerThread * static_cast<int>(threadIdx.x);
    uint32_t count[kBinsPerThread] = {};
    uint32_t in_blocks_before[kBinsPerThread] = {};
#pragma unroll 4
    for (int block = 0; block < kCluster; ++block) {
      const uint2 part =
          *reinterpret_cast<const uint2*>(row_->Remote(&shared_->bins[first], block));
      const bool is_before = block < row_->rank();
      in_blocks_before[0] += is_before ? part.x : 0;
      in_blocks_before[1] += is_before ? part.y : 0;
      count[0] += part.x;
      count[1] += part.y;
    }
    // Counts below, those of the blocks before above.
    const uint64_t own = static_cast<uint64_t>(in_blocks_before[0] + in_blocks_before[1]) << 32 |
                         (count[0] + count[1]);
    const uint64_t through = BlockScan(own, shared_->warps);
    if (threadIdx.x == kThreads - 1) shared_->num_tokens = static_cast<uint32_t>(through);
    __syncthreads();  // the number of tokens is told
    rank = min(rank, shared_->num_tokens);
    auto before = static_cast<uint32_t>(through - own);
    auto place = static_cast<uint32_t>((through - own) >> 32);
#pragma unroll
    for (int j = 0; j < kBinsPerThread; ++j) {
      place += in_blocks_before[j];
      if (before < rank && rank <= before + count[j]) {
        shared_->chosen = {first + j, before, count[j], in_blocks_before[j], place};
      }
      before += count[j];
    }
    __syncthreads();  // the bin is told
  }

  // Brings this block's tokens for which has(x) holds to the first block's keys, from `place` on.
  template <class Has>
  __device__ void Gather(uint32_t place, const Has& has) {
    if (threadIdx.x == 0) shared_->taken = place;
    __syncthreads();  // the place is set
    uint64_t* keys = row_->Remote(shared_->keys, 0);
    ForEach(slice_, [&](int i, float x) {
      if (has(x)) keys[atomicAdd(&shared_->taken, 1u)] = TokenKey(x, slice_.first_id + i);
    });
    row_->Sync();  // the first block has all keys
  }

  // Key of the token of `rank` within the chosen bin, of at most kCandidates tokens.
  template <class Bins>
  __device__ uint64_t RankInBin(const Bins& bins, uint32_t rank) {
    const ChosenBin& chosen = shared_->chosen;
    Gather(chosen.place, [&](float x) { return bins.Find(x) == chosen.bin; });
    if (row_->rank() == 0 && threadIdx.x < chosen.count) {
      const uint64_t key = shared_->keys[threadIdx.x];
      if (NumLarger(shared_->keys, chosen.count, key) == rank - 1) {
        for (int block = 0; block < kCluster; ++block) *row_->Remote(&shared_->told, block) = key;
      }
    }
    row_->Sync();  // the first block has told
    return shared_->told;
  }

  // RankInBin where the chosen bin of `bins` holds more tokens: many have nearly or quite the same
  // logit.
  __device__ uint64_t RankInCrowd(const DistanceBins& bins, uint32_t rank) {
    Highest highest;
    Highest lowest;  // of complements
    ForEach(slice_, [&](int, float x) {
      if (bins.Find(x) != shared_->chosen.bin) return;
      const uint32_t key = OrderedKey(x);
      if (key > highest.key) highest.key = key;
      if (~key > lowest.key) lowest.key = ~key;
    });
    auto high = static_cast<uint32_t>(row_->Reduce(highest).key);
    auto low = ~static_cast<uint32_t>(row_->Reduce(lowest).key);
#pragma unroll 1
    while (low < high) {
      const KeyBins finer(low, high);
      Count(finer);
      ChooseBin(rank);
      rank -= shared_->chosen.before;
      if (shared_->chosen.count <= kCandidates) return RankInBin(finer, rank);
      low = finer.Bottom(shared_->chosen.bin);
      high = finer.Top(shared_->chosen.bin);
    }
    return TokenKey(KeyToFloat(low), TieOfRank(low, rank - 1));
  }

  // Id of the token at `key` that has `before` others of that key before it.
  __device__ int TieOfRank(uint32_t key, uint32_t before) {
    sampling::Count ties;
    ForEach(slice_, [&](int, float x) { ties.value += x != -INFINITY && OrderedKey(x) == key; });
    row_->Reduce(ties);
    uint32_t seen = row_->CountBefore();
    Highest found;  // the only one
    if (threadIdx.x < 32) {
      for (int base = 0; base < slice_.size; base += 32) {
        const int i = base + static_cast<int>(threadIdx.x);
        const bool equal = i < slice_.size && OrderedKey(slice_.values[i]) == key;
        const uint32_t ballot = __ballot_sync(~0u, equal);
        const uint32_t mine = seen + __popc(ballot & ((1u << threadIdx.x) - 1));
        if (equal && mine == before) found.key = static_cast<uint64_t>(slice_.first_id + i) + 1;
        seen += __popc(ballot);
      }
    }
    return static_cast<int>(row_->Reduce(found).key) - 1;
  }

  RowBlocks<kCluster>* row_;
  const Slice& slice_;
  RankShared* shared_;
  bool are_bins_used_ = false;
};

// Brings the row's `wanted` best tokens, or more, or all that there are, into the first block's
// `sorted`; returns how many. `num_sorted`: those that SortTop brought, else 0. `max`: the highest.
template <int kCluster>
__device__ uint32_t SortBest(RowRanks<kCluster>* ranks, float max, uint32_t wanted,
                             uint32_t num_sorted) {
  if (num_sorted > 0) return num_sorted;
  const uint64_t last = ranks->KeyOfRank(max, wanted);
  const uint32_t count = last != 0 ? wanted : ranks->num_tokens();
  ranks->SortFrom(last, count);
  return count;
}

}  // namespace pingti::kernels::sampling
