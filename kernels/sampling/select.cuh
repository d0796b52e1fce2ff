// Prefixes of a row in the order of the draw (descending logit, then ascending id). Two ways:
// PrefixOfSorted over the candidates that one block sorted, which is where draws nearly always end;
// and bisection over the whole row for the flat distributions whose kept tokens outnumber them.
// Device code. Read next: sample.cu.
#pragma once

#include <cfloat>
#include <cstdint>

#include "kernels/sampling/row_stats.cuh"

namespace pingti::kernels::sampling {

inline constexpr int kCandidates = 2048;
inline constexpr int kBins = 1024;
inline constexpr float kBinsPerUnit = 16.0f;  // of logit difference, after temperature

// The first `count` tokens of the order and their weight.
struct Prefix {
  uint32_t count;
  double mass;
};

struct Weights {
  float max;
  float inverse_temperature;
  __device__ float Distance(float x) const { return (max - x) * inverse_temperature; }
  __device__ float operator()(float x) const { return __expf(-Distance(x)); }
};

struct CandidateShared {
  uint32_t bins[kBins];
  uint64_t keys[kCandidates];
  double cumulative[kCandidates];  // weight of keys[0..i]
  double warp_sums[kThreads / 32];
  uint32_t warp_counts[kThreads / 32];
  uint32_t taken;  // candidates of this block
  int found;
};

// Sorts `size` (a power of two) keys in descending order. One block.
__device__ inline void SortDescending(uint64_t* keys, int size) {
  for (int span = 2; span <= size; span *= 2) {
    for (int step = span / 2; step > 0; step /= 2) {
      __syncthreads();  // the last step's exchanges are done
      for (int i = threadIdx.x; i < size / 2; i += kThreads) {
        const int low = 2 * i - (i & (step - 1));
        const int high = low + step;
        const bool descending = (low & span) == 0;
        const uint64_t a = keys[low];
        const uint64_t b = keys[high];
        if ((a < b) == descending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  __syncthreads();  // sorted
}

// cumulative[i] over kCandidates keys, zero weight from `count` on. One block.
__device__ inline void AccumulateWeights(CandidateShared* shared, int count,
                                         const Weights& weight) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int first = 2 * threadIdx.x;
  const double a = first < count ? weight(LogitOf(shared->keys[first])) : 0.0;
  const double b = first + 1 < count ? weight(LogitOf(shared->keys[first + 1])) : 0.0;
  double inclusive = a + b;
#pragma unroll
  for (int delta = 1; delta < 32; delta *= 2) {
    const double other = __shfl_up_sync(~0u, inclusive, delta);
    if (lane >= delta) inclusive += other;
  }
  if (lane == 31) shared->warp_sums[warp] = inclusive;
  __syncthreads();  // warp sums are in place
  double before = 0;
  for (int w = 0; w < warp; ++w) before += shared->warp_sums[w];
  shared->cumulative[first + 1] = before + inclusive;
  shared->cumulative[first] = before + inclusive - b;
  __syncthreads();  // cumulative is complete
}
static_assert(kCandidates == 2 * kThreads, "a thread sums two candidates");

// Lowest i < limit for which test(i) holds, else limit. One block. The cumulative weights may step
// back by a rounding, so the lowest of all, not the only crossing.
template <class Test>
__device__ int FirstIndex(CandidateShared* shared, int limit, const Test& test) {
  if (threadIdx.x == 0) shared->found = limit;
  __syncthreads();  // found is set
  for (int i = threadIdx.x; i < limit; i += kThreads) {
    if (test(i)) atomicMin(&shared->found, i);
  }
  __syncthreads();  // all have voted
  const int found = shared->found;
  __syncthreads();  // all have read
  return found;
}

struct Rules {
  uint32_t top_k;  // 0: off
  float top_p;
  float min_p;
  float uniform;
};

// Draws from the `num_sorted` best of `all` tokens with total weight `mass`. One block. Returns the
// index of the drawn candidate, or -1 if the kept tokens reach past the candidates.
__device__ inline int DrawSorted(CandidateShared* shared, uint32_t num_sorted, Prefix kept,
                                 const Rules& rules, const Weights& weight) {
  const double* cumulative = shared->cumulative;
  const int sorted = static_cast<int>(num_sorted);
  if (rules.top_k > 0 && rules.top_k < kept.count) {
    if (rules.top_k > num_sorted) return -1;
    kept = {rules.top_k, cumulative[rules.top_k - 1]};
  }
  if (rules.top_p < 1.0f) {
    const double target = static_cast<double>(rules.top_p) * kept.mass;
    const int limit = min(sorted, static_cast<int>(kept.count));
    const int last = FirstIndex(shared, limit, [&](int i) { return cumulative[i] >= target; });
    if (last < limit) {
      kept = {static_cast<uint32_t>(last) + 1, cumulative[last]};
    } else if (kept.count > num_sorted) {
      return -1;
    }
  }
  if (rules.min_p > 0.0f) {
    const int limit = min(sorted, static_cast<int>(kept.count));
    const int count = FirstIndex(
        shared, limit, [&](int i) { return weight(LogitOf(shared->keys[i])) < rules.min_p; });
    if (count < limit) {
      kept = {static_cast<uint32_t>(max(count, 1)), cumulative[max(count, 1) - 1]};
    } else if (kept.count > num_sorted) {
      return -1;
    }
  }
  const double share = static_cast<double>(rules.uniform) * kept.mass;
  const int limit = min(sorted, static_cast<int>(kept.count));
  const int drawn = FirstIndex(shared, limit, [&](int i) { return cumulative[i] > share; });
  if (drawn < limit) return drawn;
  return kept.count <= num_sorted ? limit - 1 : -1;  // rounding at the very end of the kept tokens
}

// ---- the whole row

// Where a prefix ends: all tokens above `key`, and the first so many of those equal to it.
struct Boundary {
  uint32_t key;    // OrderedKey
  Prefix above;    // the tokens above key
  uint32_t equal;  // tokens at key
};

// The row cut at `keys`; -inf is no token.
template <int kCluster>
__device__ Cuts CutRow(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                       const uint32_t (&keys)[Cuts::kCount]) {
  Cuts cuts;
  ForEach(slice, [&](int, float x) {
    if (x == -INFINITY) return;
    const uint32_t key = OrderedKey(x);
    const double w = weight(x);
#pragma unroll
    for (int i = 0; i < Cuts::kCount; ++i) {
      if (key >= keys[i]) {
        cuts.sum[i] += w;
        ++cuts.count[i];
        cuts.next[i] = min(cuts.next[i], key);
      } else {
        cuts.before[i] = max(cuts.before[i], key);
      }
    }
  });
  return row->Reduce(cuts);
}

// The highest key of a token for which enough(tokens at or above it) holds, as it must for the
// whole row. Every sweep quarters what is left of the keys and draws it in to the tokens there.
template <int kCluster, class Enough>
__device__ Boundary Bisect(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                           const Enough& enough) {
  uint32_t low = 0;
  uint32_t high = ~0u;
  Prefix from_low = {0, 0.0};
  Prefix above_high = {0, 0.0};
  while (low < high) {
    const uint64_t span = uint64_t{high} - low + 1;
    uint32_t keys[Cuts::kCount];
#pragma unroll
    for (int i = 0; i < Cuts::kCount; ++i) {
      keys[i] = low + static_cast<uint32_t>(span * (i + 1) / (Cuts::kCount + 1));
    }
    const Cuts cuts = CutRow(row, slice, weight, keys);
    bool done = false;
#pragma unroll
    for (int i = Cuts::kCount - 1; i >= 0; --i) {
      const Prefix prefix = {cuts.count[i], cuts.sum[i]};
      if (done) continue;
      done = enough(prefix);
      if (done) {
        low = cuts.next[i];
        from_low = prefix;
      } else {
        high = cuts.before[i];
        above_high = prefix;
      }
    }
  }
  return {low, above_high, from_low.count - above_high.count};
}

template <int kCluster>
__device__ Prefix PrefixOfCount(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                                uint32_t count) {
  const Boundary end =
      Bisect(row, slice, weight, [count](const Prefix& p) { return p.count >= count; });
  const double each = weight(KeyToFloat(end.key));
  return {count, end.above.mass + (count - end.above.count) * each};
}

// The shortest prefix that weighs at least `mass` (strictly more with `strict`), and its boundary.
template <int kCluster>
__device__ Prefix PrefixOfMass(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                               double mass, bool strict, Boundary* end) {
  *end = Bisect(row, slice, weight, [mass, strict](const Prefix& p) {
    return strict ? p.mass > mass : p.mass >= mass;
  });
  const double each = weight(KeyToFloat(end->key));
  const double missing = each > 0 ? (mass - end->above.mass) / each : 0.0;
  double ties = strict ? floor(missing) + 1 : ceil(missing);
  ties = fmin(fmax(ties, 1.0), static_cast<double>(end->equal));
  return {end->above.count + static_cast<uint32_t>(ties), end->above.mass + ties * each};
}

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

// DrawSorted without candidates. All blocks of the row; returns the token id.
template <int kCluster>
__device__ int DrawBisecting(RowBlocks<kCluster>* row, const Slice& slice, Prefix kept,
                             const Rules& rules, const Weights& weight) {
  Boundary end;
  if (rules.top_k > 0 && rules.top_k < kept.count) {
    kept = PrefixOfCount(row, slice, weight, rules.top_k);
  }
  if (rules.top_p < 1.0f) {
    const Prefix by_mass =
        PrefixOfMass(row, slice, weight, static_cast<double>(rules.top_p) * kept.mass, false, &end);
    if (by_mass.count < kept.count) kept = by_mass;
  }
  if (rules.min_p > 0.0f) {
    Stats s;
    ForEach(slice, [&](int, float x) {
      const float w = weight(x);
      if (x != -INFINITY && w >= rules.min_p) {
        s.sum += w;
        ++s.count;
      }
    });
    s = row->Reduce(s);
    if (s.count < kept.count) kept = {s.count, s.sum};
  }
  const double share = static_cast<double>(rules.uniform) * kept.mass;
  const Prefix drawn = PrefixOfMass(row, slice, weight, share, true, &end);
  return TieOfRank(row, slice, end.key, min(drawn.count, kept.count) - 1 - end.above.count);
}

}  // namespace pingti::kernels::sampling
