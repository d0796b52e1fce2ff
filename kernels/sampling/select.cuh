// Prefixes of a row in the order of the draw (descending logit, then ascending id). Device code.
//
// Tokens are counted and weighed in bins of that order. Whole bins from the top that fit one block
// are sorted there: nearly every draw ends among them (DrawSorted). Flat distributions reach
// further down: then the bin where a prefix ends is found, split into finer bins until it fits one
// block, and sorted (Locate). A prefix thus costs a sweep or two of the row, however flat it is.
// Read next: bins.cuh, sample.cu.
#pragma once

#include <cstdint>

#include "kernels/sampling/bins.cuh"
#include "kernels/sampling/row_stats.cuh"

namespace pingti::kernels::sampling {

// A prefix and the token that ends it; -1: there is none.
struct Located {
  Prefix through;
  int token;
};

struct Rules {
  uint32_t top_k;  // 0: off
  float top_p;
  float min_p;
  float uniform;
};

// A prefix ends with the first token that brings it to `count` tokens or to `mass`.
struct Goal {
  uint32_t count = ~0u;
  double mass = INFINITY;
  bool beyond = false;  // more than `mass`

  __device__ bool Reached(const Prefix& p) const {
    return p.count >= count || (beyond ? p.mass > mass : p.mass >= mass);
  }
};

// The bin where a prefix ends.
struct ChosenBin {
  int bin;
  Prefix before;  // all earlier tokens
  uint32_t count;
};

// The sorted best of a row's tokens.
struct SortedTop {
  Prefix all;         // the row's tokens, and their weight in the draw
  uint32_t size;      // sorted keys for the draw; 0: the best bin alone is too large
  uint32_t num_keys;  // sorted keys: where log-probabilities want more, more than `size`
  double total_mass;  // where log-probabilities are wanted: the row's weight at temperature 1
};

template <int kCluster>
struct SelectShared {
  BinCounts<kCluster> row_bins;   // of DistanceBins
  BinCounts<kCluster> part_bins;  // of KeyBins
  uint64_t keys[kCandidates];
  double cumulative[kCandidates];  // weight of keys[0..i]
  Prefix warps[kThreads / 32];
  uint32_t taken;  // places of this block's candidates
  int found;
  ChosenBin chosen;
  Prefix all;  // of the bins summed last
  SortedTop top;
  Rules rules;
  Goal goal;
  Prefix likely;  // the tokens that min_p keeps
  Located told;   // by the first block
};

// What the first block found, to all threads of the row. Only that block's argument counts.
template <int kCluster>
__device__ Located Tell(RowBlocks<kCluster>* row, const Located& found,
                        SelectShared<kCluster>* shared) {
  if (row->rank() == 0 && threadIdx.x < kCluster) {
    *row->Remote(&shared->told, static_cast<int>(threadIdx.x)) = found;
  }
  row->Sync();
  const Located told = shared->told;
  row->Sync();  // all have read
  return told;
}

// One exchange of a bitonic sort: what stays at `index` of it and its partner `step` away.
__device__ __forceinline__ uint64_t Exchanged(uint64_t mine, uint64_t other, int index, int step,
                                              int span) {
  const bool keeps_larger = ((index & step) == 0) == ((index & span) == 0);
  return (mine > other) == keeps_larger ? mine : other;
}

// Sorts `size` (a power of two, at most kCandidates) keys in descending order. One block. Exchanges
// of up to 32 places go between a warp's lanes, wider ones through shared memory.
__device__ inline void SortDescending(uint64_t* keys, int size) {
  constexpr int kPerThread = kCandidates / kThreads;
  const int lane = threadIdx.x % 32;
  uint64_t own[kPerThread];
  int index[kPerThread];
  __syncthreads();  // the keys are in place
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    index[j] = static_cast<int>(threadIdx.x) / 32 * (32 * kPerThread) + 32 * j + lane;
    own[j] = index[j] < size ? keys[index[j]] : 0;
  }
#pragma unroll 1
  for (int span = 2; span <= size; span *= 2) {
#pragma unroll 1
    for (int step = span / 2; step > 0; step /= 2) {
      if (step < 32) {
#pragma unroll
        for (int j = 0; j < kPerThread; ++j) {
          own[j] = Exchanged(own[j], __shfl_xor_sync(~0u, own[j], step), index[j], step, span);
        }
        continue;
      }
      __syncthreads();  // the last values were read
#pragma unroll
      for (int j = 0; j < kPerThread; ++j) {
        if (index[j] < size) keys[index[j]] = own[j];
      }
      __syncthreads();  // all values are in place
#pragma unroll
      for (int j = 0; j < kPerThread; ++j) {
        if (index[j] >= size) continue;
        own[j] = Exchanged(own[j], keys[index[j] ^ step], index[j], step, span);
      }
    }
  }
  __syncthreads();  // the last values were read
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    if (index[j] < size) keys[index[j]] = own[j];
  }
  __syncthreads();  // sorted
}

// Inclusive sum over the block's threads, in a fixed order. Ends with a block barrier.
__device__ inline Prefix BlockScan(Prefix value, Prefix* warps) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int delta = 1; delta < 32; delta *= 2) {
    const uint32_t count = __shfl_up_sync(~0u, value.count, delta);
    const double mass = __shfl_up_sync(~0u, value.mass, delta);
    if (lane >= delta) value = {value.count + count, value.mass + mass};
  }
  if (lane == 31) warps[warp] = value;
  __syncthreads();  // warp sums are in place
  Prefix before{0, 0.0};
  for (int w = 0; w < warp; ++w) {
    before = {before.count + warps[w].count, before.mass + warps[w].mass};
  }
  __syncthreads();  // all have read
  return {before.count + value.count, before.mass + value.mass};
}

// cumulative[i] over kCandidates sorted keys, zero weight from `count` on. One block.
template <int kCluster>
__device__ void AccumulateWeights(SelectShared<kCluster>* shared, int count,
                                  const Weights& weight) {
  static_assert(kCandidates == 2 * kThreads, "a thread sums two candidates");
  const int first = 2 * threadIdx.x;
  const double a = first < count ? weight(LogitOf(shared->keys[first])) : 0.0;
  const double b = first + 1 < count ? weight(LogitOf(shared->keys[first + 1])) : 0.0;
  const double through = BlockScan({0, a + b}, shared->warps).mass;
  shared->cumulative[first + 1] = through;
  shared->cumulative[first] = through - b;
  __syncthreads();  // cumulative is complete
}

// Lowest i < limit for which test(i) holds, else limit. One block. The cumulative weights may step
// back by a rounding, so the lowest of all, not the only crossing.
template <class Test>
__device__ int FirstIndex(int* found, int limit, const Test& test) {
  if (threadIdx.x == 0) *found = limit;
  __syncthreads();  // found is set
  for (int i = threadIdx.x; i < limit; i += kThreads) {
    if (test(i)) atomicMin(found, i);
  }
  __syncthreads();  // all have voted
  const int first = *found;
  __syncthreads();  // all have read
  return first;
}

template <int kCluster>
__device__ void EmptyBins(BinCounts<kCluster>* counts) {
  for (int i = threadIdx.x; i < kBins; i += kThreads) {
    counts->count[i] = 0;
    counts->shortfall[i] = 0;
  }
}

template <int kCluster, class Bins>
__device__ __forceinline__ void CountToken(float x, const Bins& bins, BinCounts<kCluster>* counts) {
  int bin;
  float depth;
  if (!bins.Find(x, &bin, &depth)) return;
  atomicAdd(&counts->count[bin], 1u);
  if (bins.weight.IsFelt(bins.weight.Distance(x)))
    atomicAdd(&counts->shortfall[bin], ShortfallOf(depth));
}

// Counts this block's tokens into `counts`. A row barrier must follow before others read them.
template <int kCluster, class Bins>
__device__ void CountTokens(const Slice& slice, const Bins& bins, BinCounts<kCluster>* counts) {
  EmptyBins(counts);
  __syncthreads();  // bins are empty
  ForEach(slice, [&](int, float x) { CountToken(x, bins, counts); });
}

// The thread's own bins, [kBinsPerThread * threadIdx.x, ...), summed over the row's blocks.
struct BinSums {
  Prefix before;                          // the tokens of all earlier bins
  Prefix through[kBinsPerThread];         // up to and with the bin
  uint32_t ranks_before[kBinsPerThread];  // tokens of the bin in blocks before this one
};

inline constexpr int kRanksAtOnce = 2;  // loads on their way at once that registers hold

template <int kCluster, class Bins>
__device__ BinSums SumBins(RowBlocks<kCluster>* row, const Bins& bins, BinCounts<kCluster>* counts,
                           SelectShared<kCluster>* shared) {
  BinSums sums;
  Prefix own{0, 0.0};
  const int first = kBinsPerThread * static_cast<int>(threadIdx.x);
  using Part = BinCounts<kCluster>;
  uint32_t count[kBinsPerThread] = {};
  uint32_t ranks_before[kBinsPerThread] = {};
  unsigned long long shortfall[kBinsPerThread] = {};
#pragma unroll kRanksAtOnce
  for (int rank = 0; rank < kCluster; ++rank) {
    const Part* part = row->Remote(counts, rank);
    const typename Part::CountPair counted = part->CountsOf(first);
    const typename Part::ShortfallPair missing = part->ShortfallsOf(first);
    const bool is_before = rank < row->rank();
    ranks_before[0] += is_before ? counted.x : 0;
    ranks_before[1] += is_before ? counted.y : 0;
    count[0] += counted.x;
    count[1] += counted.y;
    shortfall[0] += missing.x;
    shortfall[1] += missing.y;
  }
#pragma unroll
  for (int j = 0; j < kBinsPerThread; ++j) {
    sums.ranks_before[j] = ranks_before[j];
    own.count += count[j];
    if (count[j] > 0) {
      own.mass += bins.TopWeight(first + j) *
                  (count[j] - static_cast<double>(shortfall[j]) / kShortfallUnit);
    }
    sums.through[j] = own;
  }
  const Prefix scanned = BlockScan(own, shared->warps);
  sums.before = {scanned.count - own.count, scanned.mass - own.mass};
#pragma unroll
  for (Prefix& through : sums.through) {
    through = {sums.before.count + through.count, sums.before.mass + through.mass};
  }
  if (threadIdx.x == kThreads - 1) shared->all = scanned;
  return sums;
}

// Lowest bin for which test(tokens up to and with it) holds, else kBins. One block.
template <class Test>
__device__ int FirstBin(const BinSums& sums, int* found, const Test& test) {
  if (threadIdx.x == 0) *found = kBins;
  __syncthreads();  // found is set
#pragma unroll
  for (int j = kBinsPerThread - 1; j >= 0; --j) {
    if (test(sums.through[j])) {
      atomicMin(found, kBinsPerThread * static_cast<int>(threadIdx.x) + j);
    }
  }
  __syncthreads();  // all have voted
  const int first = *found;
  __syncthreads();  // all have read
  return first;
}

// Tokens of those of the thread's bins that are in [begin, end), in the blocks before this one.
__device__ inline uint32_t TokensInBlocksBefore(const BinSums& sums, int begin, int end) {
  uint32_t count = 0;
#pragma unroll
  for (int j = 0; j < kBinsPerThread; ++j) {
    const int bin = kBinsPerThread * static_cast<int>(threadIdx.x) + j;
    if (bin >= begin && bin < end) count += sums.ranks_before[j];
  }
  return count;
}

// Brings the tokens of bins [begin, end) into the first block's keys, in no order: at most
// kCandidates. `before` is the thread's TokensInBlocksBefore. Ends with a row barrier.
template <int kCluster, class Bins>
__device__ void GatherKeys(RowBlocks<kCluster>* row, const Slice& slice, const Bins& bins,
                           uint32_t before, int begin, int end, SelectShared<kCluster>* shared) {
  if (threadIdx.x == 0) shared->taken = 0;
  __syncthreads();  // taken is set
  if (before > 0) atomicAdd(&shared->taken, before);
  __syncthreads();  // this block's places begin at taken
  uint64_t* keys = row->Remote(shared->keys, 0);
  ForEach(slice, [&](int i, float x) {
    int bin;
    float depth;
    if (!bins.Find(x, &bin, &depth) || bin < begin || bin >= end) return;
    keys[atomicAdd(&shared->taken, 1u)] = TokenKey(x, slice.first_id + i);
  });
  row->Sync();
}

// Sorts the `count` gathered keys and sums their weights. First block only.
template <int kCluster>
__device__ void SortKeys(SelectShared<kCluster>* shared, int count, const Weights& weight) {
  int size = 2;
  while (size < count) size *= 2;
  for (int i = count + static_cast<int>(threadIdx.x); i < kCandidates; i += kThreads) {
    shared->keys[i] = 0;
  }
  SortDescending(shared->keys, size);
  AccumulateWeights(shared, count, weight);
}

// Draws from the `sorted` best of the row's tokens, `kept`. One block. Returns the index of the
// drawn candidate, or -1 if the kept tokens reach past the candidates.
template <int kCluster>
__device__ int DrawSorted(SelectShared<kCluster>* shared, int sorted, Prefix kept,
                          const Rules& rules, const Weights& weight) {
  const double* cumulative = shared->cumulative;
  const auto num_sorted = static_cast<uint32_t>(sorted);
  if (rules.top_k > 0 && rules.top_k < kept.count) {
    if (rules.top_k > num_sorted) return -1;
    kept = {rules.top_k, cumulative[rules.top_k - 1]};
  }
  if (rules.top_p < 1.0f) {
    const double target = static_cast<double>(rules.top_p) * kept.mass;
    const int limit = min(sorted, static_cast<int>(kept.count));
    const int last =
        FirstIndex(&shared->found, limit, [&](int i) { return cumulative[i] >= target; });
    if (last < limit) {
      kept = {static_cast<uint32_t>(last) + 1, cumulative[last]};
    } else if (kept.count > num_sorted) {
      return -1;
    }
  }
  if (rules.min_p > 0.0f) {
    const int limit = min(sorted, static_cast<int>(kept.count));
    const int count = FirstIndex(&shared->found, limit, [&](int i) {
      return weight(LogitOf(shared->keys[i])) < rules.min_p;
    });
    if (count < limit) {
      kept = {static_cast<uint32_t>(max(count, 1)), cumulative[max(count, 1) - 1]};
    } else if (kept.count > num_sorted) {
      return -1;
    }
  }
  const double share = static_cast<double>(rules.uniform) * kept.mass;
  const int limit = min(sorted, static_cast<int>(kept.count));
  const int drawn = FirstIndex(&shared->found, limit, [&](int i) { return cumulative[i] > share; });
  if (drawn < limit) return drawn;
  return kept.count <= num_sorted ? limit - 1 : -1;  // rounding at the very end of the kept tokens
}

// ---- prefixes that end anywhere in the row

// Id of the token at `key` that has `rank` others of that key before it, to all threads.
template <int kCluster>
__device__ int TieOfRank(RowBlocks<kCluster>* row, const Slice& slice, uint32_t key,
                         uint32_t rank) {
  Stats s;
  ForEach(slice, [&](int, float x) { s.count += x != -INFINITY && OrderedKey(x) == key; });
  row->Reduce(s);
  uint32_t seen = row->CountBefore();
  Stats found;
  if (threadIdx.x < 32) {
    for (int base = 0; base < slice.size; base += 32) {
      const int i = base + static_cast<int>(threadIdx.x);
      const bool equal = i < slice.size && OrderedKey(slice.values[i]) == key;
      const uint32_t ballot = __ballot_sync(~0u, equal);
      const uint32_t mine = seen + __popc(ballot & ((1u << threadIdx.x) - 1));
      if (equal && mine == rank) found.key = static_cast<uint64_t>(slice.first_id + i) + 1;
      seen += __popc(ballot);
    }
  }
  return static_cast<int>(row->Reduce(found).key) - 1;
}

// Where a prefix ends by `goal`, among `count` tokens that all have `key`.
template <int kCluster>
__device__ Located LocateTie(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                             uint32_t key, Prefix before, uint32_t count, const Goal& goal) {
  const double each = weight(KeyToFloat(key));
  const auto through = [&](uint32_t ties) {
    return Prefix{before.count + ties, before.mass + ties * each};
  };
  uint32_t low = 1;
  uint32_t high = count;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (goal.Reached(through(middle))) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return {through(low), TieOfRank(row, slice, key, low - 1)};
}

// Finds the bin where a prefix ends; `before` are the tokens before all of the bins.
template <int kCluster>
__device__ const ChosenBin& ChooseBin(const BinSums& sums, Prefix before, const Goal& goal,
                                      SelectShared<kCluster>* shared) {
  int bin = FirstBin(sums, &shared->found, [&](const Prefix& through) {
    return goal.Reached(Prefix{before.count + through.count, before.mass + through.mass});
  });
  // By rounding it may lie past the last token: then it is the last one.
  if (bin == kBins) {
    bin = FirstBin(sums, &shared->found,
                   [&](const Prefix& through) { return through.count == shared->all.count; });
  }
  Prefix earlier = sums.before;
#pragma unroll
  for (int j = 0; j < kBinsPerThread; ++j) {
    if (bin == kBinsPerThread * static_cast<int>(threadIdx.x) + j) {
      shared->chosen = {bin,
                        {before.count + earlier.count, before.mass + earlier.mass},
                        sums.through[j].count - earlier.count};
    }
    earlier = sums.through[j];
  }
  __syncthreads();  // the owner has told
  return shared->chosen;
}

template <int kCluster, class Bins>
__device__ Located LocateInBin(RowBlocks<kCluster>* row, const Slice& slice, const Bins& bins,
                               const BinSums& sums, const ChosenBin& chosen, const Goal& goal,
                               SelectShared<kCluster>* shared) {
  GatherKeys(row, slice, bins, TokensInBlocksBefore(sums, chosen.bin, chosen.bin + 1), chosen.bin,
             chosen.bin + 1, shared);
  const int count = static_cast<int>(chosen.count);
  Located located{{0, 0.0}, -1};
  if (row->rank() == 0) {
    SortKeys(shared, count, bins.weight);
    const auto through = [&](int i) {
      return Prefix{chosen.before.count + i + 1, chosen.before.mass + shared->cumulative[i]};
    };
    const int index = min(count - 1, FirstIndex(&shared->found, count,
                                                [&](int i) { return goal.Reached(through(i)); }));
    located = {through(index), TokenOf(shared->keys[index])};
  }
  return Tell(row, located, shared);
}

// The shortest prefix that reaches the goal, as the whole row must. `row_bins` of all
// blocks are complete.
template <int kCluster>
__device__ Located Locate(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                          const Goal& goal, SelectShared<kCluster>* shared) {
  const DistanceBins whole = DistanceBins::WholeRow(weight);
  BinSums sums = SumBins(row, whole, &shared->row_bins, shared);
  const ChosenBin& chosen = ChooseBin(sums, Prefix{0, 0.0}, goal, shared);
  if (chosen.count <= kCandidates) {
    return LocateInBin(row, slice, whole, sums, chosen, goal, shared);
  }
  const DistanceBins fine = DistanceBins::Within(weight, chosen.bin);
  CountTokens<kCluster>(slice, fine, &shared->part_bins);
  row->Sync();
  sums = SumBins(row, fine, &shared->part_bins, shared);
  ChooseBin(sums, chosen.before, goal, shared);
  if (chosen.count <= kCandidates) {
    return LocateInBin(row, slice, fine, sums, chosen, goal, shared);
  }
  // Many tokens with nearly or quite the same logit.
  Stats highest;
  Stats lowest;  // of complements, so that the maximum is the lowest
  ForEach(slice, [&](int, float x) {
    int bin;
    float depth;
    if (!fine.Find(x, &bin, &depth) || bin != chosen.bin) return;
    const uint32_t key = OrderedKey(x);
    if (key > highest.key) highest.key = key;
    if (~key > lowest.key) lowest.key = ~key;
  });
  uint32_t high = static_cast<uint32_t>(row->Reduce(highest).key);
  uint32_t low = ~static_cast<uint32_t>(row->Reduce(lowest).key);
#pragma unroll 1
  while (low < high) {
    const KeyBins part(weight, low, high);
    CountTokens<kCluster>(slice, part, &shared->part_bins);
    row->Sync();
    sums = SumBins(row, part, &shared->part_bins, shared);
    ChooseBin(sums, chosen.before, goal, shared);
    if (chosen.count <= kCandidates) {
      return LocateInBin(row, slice, part, sums, chosen, goal, shared);
    }
    row->Sync();  // all have read the bins that the next round empties
    low = part.Bottom(chosen.bin);
    high = part.Top(chosen.bin);
  }
  return LocateTie(row, slice, weight, low, chosen.before, chosen.count, goal);
}

// How many tokens weigh at least min_p, and their weight.
template <int kCluster>
__device__ Prefix PrefixOfMinP(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                               float min_p) {
  Stats s;
  ForEach(slice, [&](int, float x) {
    const float w = weight(x);
    if (x != -INFINITY && w >= min_p) {
      s.sum += w;
      ++s.count;
    }
  });
  s = row->Reduce(s);
  return {s.count, s.sum};
}

// DrawSorted without candidates, from the tokens of shared->top.all by shared->rules. All blocks of
// the row; returns the token id.
template <int kCluster>
__device__ int DrawAnywhere(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                            SelectShared<kCluster>* shared) {
  // What all threads know alike is in shared memory, where it takes no registers.
  Prefix* kept = &shared->top.all;
  Goal* goal = &shared->goal;
  const Rules& rules = shared->rules;
  if (rules.min_p > 0.0f) {
    const Prefix likely = PrefixOfMinP(row, slice, weight, rules.min_p);
    if (threadIdx.x == 0) shared->likely = likely;
  }
  // A loop, so that Locate's code is there once.
  enum Stage { kTopK, kTopP, kDraw };
#pragma unroll 1
  for (int stage = kTopK;; ++stage) {
    __syncthreads();  // kept and likely are up to date
    if (stage == kTopK && (rules.top_k == 0 || rules.top_k >= kept->count)) continue;
    if (stage == kTopP && rules.top_p >= 1.0f) continue;
    if (threadIdx.x == 0) {
      if (stage == kTopK) {
        *goal = {rules.top_k, INFINITY, false};
      } else if (stage == kTopP) {
        *goal = {~0u, static_cast<double>(rules.top_p) * kept->mass, false};
      } else {
        if (rules.min_p > 0.0f && shared->likely.count < kept->count) *kept = shared->likely;
        *goal = {kept->count, static_cast<double>(rules.uniform) * kept->mass, true};
      }
    }
    __syncthreads();  // the goal is set
    const Located located = Locate(row, slice, weight, *goal, shared);
    if (stage == kDraw) return located.token;
    if (threadIdx.x == 0 && located.through.count < kept->count) *kept = located.through;
  }
}

}  // namespace pingti::kernels::sampling
