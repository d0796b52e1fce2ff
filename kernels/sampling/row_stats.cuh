// What the sampling kernel's blocks share: order-preserving keys, and one reduction over the
// threads of all blocks that work on a row (a cluster on sm_90, one block before it). Device code.
// Read next: select.cuh, sample.cu.
#pragma once

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels::sampling {

inline constexpr int kThreads = 512;  // two rows' blocks share an SM
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

struct RowShared {
  Stats warps[kThreads / 32];
  Stats ranks[2][kMaxCluster];
};

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
  __device__ Stats Reduce(Stats s) {
    const int lane = threadIdx.x % 32;
    s = WarpCombine(s);
    if (lane == 0) shared_->warps[threadIdx.x / 32] = s;
    __syncthreads();  // every warp's value is in place
    parity_ ^= 1;
    if (threadIdx.x < 32) {
      s = WarpCombine(lane < kThreads / 32 ? shared_->warps[lane] : Stats{});
      if (lane < kCluster) *Remote(&shared_->ranks[parity_][rank()], lane) = s;
    }
    // Every block's value is everywhere. Two sets of slots: the next Reduce writes the other one,
    // and nobody starts the one after before all have read this.
    Sync();
    s = shared_->ranks[parity_][0];
#pragma unroll
    for (int i = 1; i < kCluster; ++i) s = Combine(s, shared_->ranks[parity_][i]);
    return s;
  }

  // After a Reduce: the count of the blocks before this one.
  __device__ uint32_t CountBefore() const {
    uint32_t count = 0;
    for (int i = 0; i < rank(); ++i) count += shared_->ranks[parity_][i].count;
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

// visit(i, values[i]) for every i of the slice. REQUIRES: values are 16-byte aligned.
template <class Visit>
__device__ __forceinline__ void ForEach(const Slice& slice, const Visit& visit) {
  const int vectors = slice.size / 4;
  for (int v = threadIdx.x; v < vectors; v += kThreads) {
    const float4 x = reinterpret_cast<const float4*>(slice.values)[v];
    visit(4 * v, x.x);
    visit(4 * v + 1, x.y);
    visit(4 * v + 2, x.z);
    visit(4 * v + 3, x.w);
  }
  const int i = 4 * vectors + static_cast<int>(threadIdx.x);
  if (i < slice.size) visit(i, slice.values[i]);
}

}  // namespace pingti::kernels::sampling
