// What the sampling kernel's blocks share: order-preserving keys, and one reduction over the
// threads of all blocks that work on a row (a cluster on sm_90, one block before it). Device code.
// Read next: select.cuh, sample.cu.
#pragma once

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels::sampling {

inline constexpr int kThreads = 1024;
inline constexpr int kMaxCluster = 8;

// Float to an unsigned of the same order; no NaN. -0 counts as +0.
__device__ __forceinline__ uint32_t OrderedKey(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float KeyToFloat(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}
// Larger means earlier in the order of the draw: higher logit, then lower id.
__device__ __forceinline__ uint64_t TokenKey(float x, int id) {
  return static_cast<uint64_t>(OrderedKey(x)) << 32 | ~static_cast<uint32_t>(id);
}
__device__ __forceinline__ int TokenOf(uint64_t key) {
  return static_cast<int>(~static_cast<uint32_t>(key));
}
__device__ __forceinline__ float LogitOf(uint64_t key) {
  return KeyToFloat(static_cast<uint32_t>(key >> 32));
}

// One reduction's worth: each field with its own combination.
struct Stats {
  double sum = 0;      // added
  uint64_t key = 0;    // maximum
  uint32_t count = 0;  // added
  uint32_t flags = 0;  // or
};

__device__ __forceinline__ Stats Combine(const Stats& a, const Stats& b) {
  return {a.sum + b.sum, a.key > b.key ? a.key : b.key, a.count + b.count, a.flags | b.flags};
}

__device__ __forceinline__ Stats WarpCombine(Stats s) {
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) {
    Stats other;
    other.sum = __shfl_xor_sync(~0u, s.sum, delta);
    other.key = __shfl_xor_sync(~0u, s.key, delta);
    other.count = __shfl_xor_sync(~0u, s.count, delta);
    other.flags = __shfl_xor_sync(~0u, s.flags, delta);
    s = Combine(s, other);
  }
  return s;
}

// A row cut at several keys at once. For each: the tokens at or above it, and the tokens' keys next
// to it on either side.
struct Cuts {
  static constexpr int kCount = 3;
  double sum[kCount] = {};                  // added
  uint32_t count[kCount] = {};              // added
  uint32_t next[kCount] = {~0u, ~0u, ~0u};  // minimum of the keys at or above
  uint32_t before[kCount] = {};             // maximum of the keys below
};

__device__ __forceinline__ Cuts Combine(const Cuts& a, const Cuts& b) {
  Cuts s;
#pragma unroll
  for (int i = 0; i < Cuts::kCount; ++i) {
    s.sum[i] = a.sum[i] + b.sum[i];
    s.count[i] = a.count[i] + b.count[i];
    s.next[i] = min(a.next[i], b.next[i]);
    s.before[i] = max(a.before[i], b.before[i]);
  }
  return s;
}

__device__ __forceinline__ Cuts WarpCombine(Cuts s) {
#pragma unroll
  for (int i = 0; i < Cuts::kCount; ++i) {
#pragma unroll
    for (int delta = 16; delta > 0; delta /= 2) {
      s.sum[i] += __shfl_xor_sync(~0u, s.sum[i], delta);
    }
    s.count[i] = __reduce_add_sync(~0u, s.count[i]);
    s.next[i] = __reduce_min_sync(~0u, s.next[i]);
    s.before[i] = __reduce_max_sync(~0u, s.before[i]);
  }
  return s;
}

template <class S>
struct ReduceSlots {
  S warps[kThreads / 32];
  S ranks[2][kMaxCluster];
};
struct RowShared : ReduceSlots<Stats>, ReduceSlots<Cuts> {};

// The blocks of one row. kCluster = 1: a lone block.
template <int kCluster>
class RowBlocks {
 public:
  __device__ explicit RowBlocks(RowShared* shared) : shared_(shared) {}

  __device__ int rank() const {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if constexpr (kCluster > 1) return static_cast<int>(ClusterRank());
#endif
    return 0;
  }

  // All threads of all blocks meet; shared-memory writes, remote ones too, become visible.
  __device__ void Sync() const {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if constexpr (kCluster > 1) {
      ClusterSync();
      return;
    }
#endif
    __syncthreads();
  }

  // Address of `local` (this block's shared memory) in block `rank`, for generic loads and stores.
  template <class T>
  __device__ T* Remote(T* local, int rank) const {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if constexpr (kCluster > 1) {
      uint64_t address;
      asm("mapa.u64 %0, %1, %2;"
          : "=l"(address)
          : "l"(reinterpret_cast<uint64_t>(local)), "r"(rank));
      return reinterpret_cast<T*>(address);
    }
#endif
    return local;
  }

  // Combines over all threads of the row, in a fixed order, to all of them. Orders shared memory
  // too.
  template <class S>
  __device__ S Reduce(S s) {
    constexpr int kAtOnce = sizeof(S) <= sizeof(Stats) ? kCluster : 1;  // what registers hold
    ReduceSlots<S>& slots = *shared_;
    const int lane = threadIdx.x % 32;
    s = WarpCombine(s);
    if (lane == 0) slots.warps[threadIdx.x / 32] = s;
    __syncthreads();  // every warp's value is in place
    parity_ ^= 1;
    if (threadIdx.x < 32) {
      s = WarpCombine(slots.warps[lane]);
      if (lane < kCluster) *Remote(&slots.ranks[parity_][rank()], lane) = s;
    }
    // Every block's value is everywhere. Two sets of slots: the next Reduce writes the other one,
    // and nobody starts the one after before all have read this.
    Sync();
    s = slots.ranks[parity_][0];
#pragma unroll kAtOnce
    for (int i = 1; i < kCluster; ++i) s = Combine(s, slots.ranks[parity_][i]);
    return s;
  }

  // After a Reduce of Stats: the count of the blocks before this one.
  __device__ uint32_t CountBefore() const {
    uint32_t count = 0;
    const ReduceSlots<Stats>& slots = *shared_;
    for (int i = 0; i < rank(); ++i) count += slots.ranks[parity_][i].count;
    return count;
  }

 private:
  RowShared* shared_;
  int parity_ = 0;
};

// The part of a row that this block holds: adjusted logits of ids [first_id, first_id + size).
struct Slice {
  float* values;  // shared memory, or the workspace where rows have one block
  int first_id;
  int size;
};

template <class Visit>
__device__ __forceinline__ void ForEach(const Slice& slice, const Visit& visit) {
  for (int i = threadIdx.x; i < slice.size; i += kThreads) visit(i, slice.values[i]);
}

}  // namespace pingti::kernels::sampling
