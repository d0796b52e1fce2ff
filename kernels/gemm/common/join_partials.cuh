// Brings the partial sums of a stream-K tile together, deterministically and without waiting.
//
// Work is shared out to owners: blocks, or clusters of blocks. Every party of an owner (a warpgroup
// or a whole block, always the same threads of each owner) that holds a segment of a tile calls
// Join. All but the last to arrive leave their registers in the workspace (they stay in L2) and go
// on; the last adds all segments in the order of their owners, which makes the sum independent of
// who was last. The tile's counter is zero again afterwards. Read next: stream_k.h (who holds which
// segment).
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

__device__ __forceinline__ uint32_t LoadAcquire(const uint32_t* address) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

__device__ __forceinline__ uint32_t AddAcquireRelease(uint32_t* address, uint32_t value) {
  uint32_t old;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;"
               : "=r"(old)
               : "l"(address), "r"(value)
               : "memory");
  return old;
}

// 16-byte vector of T, and its addition.
template <typename T>
struct alignas(16) Vector4 {
  T v[4];
};

// T: int32_t or float. kThreads: threads of a party. kParties: parties of an owner.
template <typename T, int kRegisters, int kThreads, int kParties>
struct PartialJoiner {
  static constexpr int kVectors = kRegisters / 4;
  static_assert(kRegisters % 4 == 0);
  // Elements one owner needs: two segments for each party.
  static constexpr int kElementsPerOwner = 2 * kParties * kThreads * kRegisters;

  uint32_t* counters;                // [owners, kParties], zero
  T* partials;                       // [owners, kElementsPerOwner]
  volatile uint32_t* shared_answer;  // one word of shared memory for this party
  int own;                           // this owner
  int party;                         // within the owner
  int thread;                        // within the party
  int barrier_id;                    // a named barrier of this party's own

  // Slot 1 of an owner holds the segment that begins a tile, slot 0 one that continues it.
  __device__ __forceinline__ Vector4<T>* Slot(int owner, bool begins) const {
    return reinterpret_cast<Vector4<T>*>(partials) +
           ((static_cast<int64_t>(2 * owner + (begins ? 1 : 0)) * kParties + party) * kVectors) *
               kThreads +
           thread;
  }

  // sum += the segments of owners [begin, end), in their order; `first` is the tile's first owner.
  // Loads of several owners go out together: each batch costs one trip to the L2.
  __device__ __forceinline__ void AddSlots(T (&sum)[kRegisters], int begin, int end,
                                           int first) const {
    constexpr int kVectorBatch = std::is_integral_v<T> && kVectors % 8 == 0 ? 8
                                 : kVectors % 4 == 0                        ? 4
                                 : kVectors % 3 == 0                        ? 3
                                 : kVectors % 2 == 0                        ? 2
                                                                            : 1;
    constexpr int kOwnerBatch = kVectors <= 2 ? 4 : kVectors <= 4 ? 2 : 1;
    for (int owner = begin; owner < end; owner += kOwnerBatch) {
#pragma unroll
      for (int batch = 0; batch < kVectors; batch += kVectorBatch) {
        float4 raw[kOwnerBatch][kVectorBatch];
#pragma unroll
        for (int o = 0; o < kOwnerBatch; ++o) {
          if (owner + o >= end) break;
          const float4* in = reinterpret_cast<const float4*>(Slot(owner + o, owner + o == first));
#pragma unroll
          for (int v = 0; v < kVectorBatch; ++v) raw[o][v] = __ldcg(in + (batch + v) * kThreads);
        }
#pragma unroll
        for (int o = 0; o < kOwnerBatch; ++o) {
          if (owner + o >= end) break;
#pragma unroll
          for (int v = 0; v < kVectorBatch; ++v) {
            const Vector4<T> part = *reinterpret_cast<const Vector4<T>*>(&raw[o][v]);
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[4 * (batch + v) + i] += part.v[i];
          }
        }
      }
    }
  }

  // What thread 0 says, told to the whole party.
  __device__ __forceinline__ bool Share(bool answer) const {
    if (thread == 0) *shared_answer = answer ? 1 : 0;
    NamedBarrierSync(barrier_id, kThreads);
    const bool result = *shared_answer != 0;
    NamedBarrierSync(barrier_id, kThreads);
    return result;
  }

  // True if this party was last: `acc` holds the whole sum and must be written out.
  // `first`..`last` are the owners of the tile's segments, this one among them. `worked_before`
  // says that this owner held earlier segments: then the others have usually been here long ago,
  // and a look at the counter spares writing our own part.
  //
  // One thread's release and acquire are enough: the party's barriers carry the others' writes to
  // it before the release, and its acquire to the others' reads (which go past the L1).
  __device__ __forceinline__ bool Join(T (&acc)[kRegisters], int first, int last,
                                       bool worked_before) const {
    const uint32_t others = static_cast<uint32_t>(last - first);
    uint32_t* counter = counters + kParties * first + party;
    bool is_last = worked_before && Share(thread == 0 && LoadAcquire(counter) == others);
    if (!is_last) {
      float4* out = reinterpret_cast<float4*>(Slot(own, own == first));
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        Vector4<T> part;
#pragma unroll
        for (int i = 0; i < 4; ++i) part.v[i] = acc[4 * v + i];
        __stcg(out + v * kThreads, *reinterpret_cast<const float4*>(&part));
      }
      NamedBarrierSync(barrier_id, kThreads);
      is_last = Share(thread == 0 && AddAcquireRelease(counter, 1) == others);
      if (!is_last) return false;
    }
    if constexpr (std::is_integral_v<T>) {  // exact in any order
      AddSlots(acc, first, own, first);
      AddSlots(acc, own + 1, last + 1, first);
    } else {
      T sum[kRegisters];
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) sum[i] = T{0};
      AddSlots(sum, first, own, first);
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) sum[i] += acc[i];
      AddSlots(sum, own + 1, last + 1, first);
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) acc[i] = sum[i];
    }
    if (thread == 0) *counter = 0;
    return true;
  }
};

}  // namespace pingti::kernels
