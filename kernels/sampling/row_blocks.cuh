// What the sampling kernel's blocks share: order-preserving keys, and reductions over the threads
// of all blocks that work on a row (a cluster on sm_90, one block before it). Device code.
// Read next: rank.cuh, sample.cu.
#pragma once

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels::sampling {

inline constexpr int kThreads = 512;  // two rows' blocks share an SM
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kMaxCluster = 8;

// Float to an unsigned of the same order; no NaN. -0 counts as +0.
__device__ __forceinline__ uint32_t OrderedKey(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float KeyToFloat(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}
// Larger means better: higher value, then lower id. Never 0, which stands for no token.
__device__ __forceinline__ uint64_t TokenKey(float x, int id) {
  return static_cast<uint64_t>(OrderedKey(x)) << 32 | ~static_cast<uint32_t>(id);
}
__device__ __forceinline__ int TokenOf(uint64_t key) {
  return static_cast<int>(~static_cast<uint32_t>(key));
}
__device__ __forceinline__ float LogitOf(uint64_t key) {
  return KeyToFloat(static_cast<uint32_t>(key >> 32));
}

// ---- what reductions bring together; Join is associative and commutative but for rounding

struct Highest {
  uint64_t key = 0;
  __device__ void Join(const Highest& other) { key = other.key > key ? other.key : key; }
};

// Of a row as it was loaded.
struct Loaded {
  uint64_t best = 0;   // of the logits
  uint64_t drawn = 0;  // of the logits with noise, where they were drawn from
  uint32_t has_nan = 0;
  __device__ void Join(const Loaded& other) {
    best = other.best > best ? other.best : best;
    drawn = other.drawn > drawn ? other.drawn : drawn;
    has_nan |= other.has_nan;
  }
};

struct Count {
  uint32_t value = 0;
  __device__ void Join(const Count& other) { value += other.value; }
};

// Weights of a row's tokens.
struct Masses {
  double total = 0;
  double before = 0;  // of the tokens before one
  __device__ void Join(const Masses& other) {
    total += other.total;
    before += other.before;
  }
};

template <class T>
__device__ __forceinline__ T ShuffleXor(const T& value, int delta) {
  static_assert(sizeof(T) % sizeof(uint32_t) == 0);
  constexpr int kWords = sizeof(T) / sizeof(uint32_t);
  uint32_t words[kWords];
  memcpy(words, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = __shfl_xor_sync(~0u, words[i], delta);
  T other;
  memcpy(&other, words, sizeof(T));
  return other;
}

template <class T>
__device__ __forceinline__ T WarpJoin(T value) {
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) value.Join(ShuffleXor(value, delta));
  return value;
}

struct RowShared {
  static constexpr int kBytes = 24;  // of the largest that is reduced
  alignas(8) uint8_t warps[kWarps][kBytes];
  alignas(8) uint8_t ranks[2][kMaxCluster][kBytes];
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

  // Joins the values of all threads of the row, in a fixed order, for all of them. Orders shared
  // memory too.
  template <class T>
  __device__ T Reduce(T value) {
    static_assert(sizeof(T) <= RowShared::kBytes);
    const int lane = threadIdx.x % 32;
    value = WarpJoin(value);
    if (lane == 0) *Warp<T>(threadIdx.x / 32) = value;
    __syncthreads();  // every warp's value is in place
    parity_ ^= 1;
    if (threadIdx.x < 32) {
      value = WarpJoin(lane < kWarps ? *Warp<T>(lane) : T{});
      if (lane < kCluster) *Remote(Rank<T>(rank()), lane) = value;
    }
    // Every block's value is everywhere. Two sets of slots: the next Reduce writes the other one,
    // and nobody starts the one after before all have read this.
    Sync();
    value = *Rank<T>(0);
#pragma unroll
    for (int i = 1; i < kCluster; ++i) value.Join(*Rank<T>(i));
    return value;
  }

  // After a Reduce of counts: the count of the blocks before this one.
  __device__ uint32_t CountBefore() {
    uint32_t count = 0;
    for (int i = 0; i < rank(); ++i) count += Rank<Count>(i)->value;
    return count;
  }

 private:
  template <class T>
  __device__ T* Warp(int warp) {
    return reinterpret_cast<T*>(shared_->warps[warp]);
  }
  template <class T>
  __device__ T* Rank(int rank) {
    return reinterpret_cast<T*>(shared_->ranks[parity_][rank]);
  }

  RowShared* shared_;
  int parity_ = 0;
};

// The part of a row that this block holds: logits of ids [first_id, first_id + size).
struct Slice {
  float* values;  // shared memory, or the workspace where rows have one block; 16-byte aligned
  int first_id;   // a multiple of 4
  int size;
};

// visit(i, values[i]) for every i of the slice.
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
