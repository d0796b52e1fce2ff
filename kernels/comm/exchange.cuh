// One call of a sum or gather as a thread sees it: push its vectors to the peers, arm a buffer for
// a later call, take what comes. Device code.
//
// Memory. Every rank has three receive buffers, used in turn. Of a call's matrix [rows, vecs] of
// 16-byte vectors a buffer holds
//   one shot:  slots[num_ranks - 1][rows][vecs], one slot for each peer's whole matrix;
//   two shots: slots[num_ranks - 1][rows][stretch], each peer's part of the stretch of columns that
//              this rank sums, then sums[rows][vecs], where every rank puts the stretch it summed.
// stretch = ceil(vecs / num_ranks).
//
// Why nothing is read before it is written, or armed after: a buffer is all kEmpty when its turn
// comes, and readers wait until a vector is not. Call j arms the buffer that call j - 1 used; its
// turn comes again in call j + 2. A peer stores for call j + 2 only once it has finished call j + 1
// entirely, hence received (directly, or summed by a rank that did) what this rank sent in call
// j + 1, hence after this rank's call j, and its arming, was complete: kernels of one stream follow
// each other, and WaitForPriorKernels stands before the first access.
//
// Progress. All blocks of a call must be on the device at once, and every rank has equally many: a
// block's waits are for stores of any peer's blocks. Threads go through the matrix in steps, in
// order, and push a step (two with two shots, where they hand out sums one step) ahead of what they
// wait for; so whoever is furthest behind finds what it waits for. A wait ends when the data is
// there, when the group was aborted or after timeout_us; in the latter cases the thread goes on
// with what it has, so that barriers within the kernel stay whole, and waits no more.
//
// Read next: peer_memory.cuh, sum_kernel.cuh, norm_kernel.cuh.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/comm/peer_memory.cuh"
#include "kernels/comm/state.h"
#include "kernels/common/vec8.cuh"

namespace pingti::kernels {

// Looks between two glances at the clock and at the host's memory: some 0.5 ms on an H200.
inline constexpr uint32_t kLooksPerGlance = 1024;

// The sum of vectors of T (float or __nv_bfloat16), added in order in float, rounded once.
template <class T, int kCount>
__device__ __forceinline__ uint4 SumInOrder(const uint4 (&parts)[kCount]) {
  if constexpr (std::is_same_v<T, float>) {
    float4 sum = reinterpret_cast<const float4&>(parts[0]);
#pragma unroll
    for (int r = 1; r < kCount; ++r) {
      const float4 part = reinterpret_cast<const float4&>(parts[r]);
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    return reinterpret_cast<const uint4&>(sum);
  } else {
    float sum[8];
    Unpack8<T>(parts[0], sum);
#pragma unroll
    for (int r = 1; r < kCount; ++r) {
      float part[8];
      Unpack8<T>(parts[r], part);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum[i] += part[i];
    }
    return Pack8<T>(sum);
  }
}

template <int kRanks, bool kTwoShots>
class Exchange {
 public:
  // Prior kernels have finished.
  __device__ Exchange(const AllReduceLink& link, int rows, int vecs)
      : link_(link), rows_(rows), vecs_(vecs), stretch_((vecs + kRanks - 1) / kRanks) {
    const uint4 state = LoadFromPeer(reinterpret_cast<const uint4*>(link.state));
    buffer_ = state.x;
    previous_used_ = state.y;
    next_armed_ = blockIdx.x * blockDim.x + threadIdx.x;
    gone_ = state.w != 0;
  }

  // Sends vector `j` of `row` to those who sum it.
  __device__ void Push(int row, int j, uint4 own) {
    own = WithoutEmpty(own);
    if constexpr (kTwoShots) {
      const int owner = j / stretch_;
      if (owner != link_.rank) {
        StoreToPeer(Buffer(owner) + SlotAt(owner, row, j - owner * stretch_, stretch_), own);
      }
    } else {
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (r != link_.rank) StoreToPeer(Buffer(r) + SlotAt(r, row, j, vecs_), own);
      }
    }
  }

  // Arms a vector of what the call before used: once after each push, to spread the stores.
  __device__ void ArmNext() {
    if (next_armed_ >= previous_used_) return;
    uint4* const armed = Own() + ((buffer_ + 2) % 3) * BufferVectors();
    armed[next_armed_] = make_uint4(kEmpty, kEmpty, kEmpty, kEmpty);
    next_armed_ += gridDim.x * blockDim.x;
  }

  // After the first push, all threads of the block: counts it as one that has read the state.
  __device__ void Arrive() {
    __syncthreads();  // every thread has read the state: it has used what it read
    if (threadIdx.x == 0) {
      is_last_ = atomicInc(&link_.state->blocks_arrived, gridDim.x - 1) == gridDim.x - 1;
    }
  }

  // Two shots: the stretch of each row that this rank sums, [first, first + count).
  __device__ int stretch_first() const { return link_.rank * stretch_; }
  __device__ int stretch_count() const {
    return max(0, min(stretch_, vecs_ - link_.rank * stretch_));
  }
  // Two shots: sums vector `j` of that stretch and hands it to all.
  template <class T>
  __device__ void Relay(int row, int j, uint4 own) {
    const uint4 sum = WithoutEmpty(SumSlots<T>(row, j - stretch_first(), stretch_, own));
#pragma unroll
    for (int r = 0; r < kRanks; ++r) StoreToPeer(Buffer(r) + SumAt(row, j), sum);
  }

  // The sum of vector `j` of `row`. `own` is read with one shot only.
  template <class T>
  __device__ uint4 Take(int row, int j, uint4 own) {
    if constexpr (!kTwoShots) return SumSlots<T>(row, j, vecs_, own);
    const uint4* const from = Buffer(link_.rank) + SumAt(row, j);
    uint4 sum = LoadFromPeer(from);
    while (!HasArrived(sum) && MayWait(j / stretch_)) sum = LoadFromPeer(from);
    return sum;
  }

  // Two shots: the sums of vector `i` of the first `count` stretches of `row`.
  __device__ void TakeStretches(int row, int i, int count, uint4 (&sums)[kRanks]) {
    const uint4* const from = Buffer(link_.rank) + SumAt(row, i);
    int missing = -1;
    do {
      missing = -1;
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (r < count) sums[r] = LoadFromPeer(from + r * stretch_);
      }
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (r < count && !HasArrived(sums[r])) missing = r;
      }
    } while (missing >= 0 && MayWait(missing));
  }

  // One shot: vector `j` of `row` of every rank.
  __device__ void TakeAll(int row, int j, uint4 own, uint4 (&parts)[kRanks]) {
    static_assert(!kTwoShots);
    ReadSlots(row, j, vecs_, own, parts);
  }

  // At the end, every thread.
  __device__ void Finish() {
    while (next_armed_ < previous_used_) ArmNext();
    if (threadIdx.x != 0 || !is_last_) return;
    link_.state->buffer = (buffer_ + 1) % 3;
    link_.state->used_vectors = static_cast<uint32_t>(
        kTwoShots ? (kRanks - 1) * rows_ * stretch_ + rows_ * vecs_ : (kRanks - 1) * rows_ * vecs_);
  }

 private:
  __device__ int64_t BufferVectors() const { return link_.buffer_bytes / 16; }
  __device__ uint4* Own() const { return static_cast<uint4*>(link_.receive[link_.rank]); }
  // This call's buffer of rank `r`.
  __device__ uint4* Buffer(int r) const {
    return static_cast<uint4*>(link_.receive[r]) + buffer_ * BufferVectors();
  }
  // Where at rank `to` this rank's vector lies; slots are `width` vectors for each row.
  __device__ int SlotAt(int to, int row, int j, int width) const {
    const int slot = (link_.rank - to + kRanks) % kRanks - 1;
    return (slot * rows_ + row) * width + j;
  }
  __device__ int SumAt(int row, int j) const {
    return (kRanks - 1) * rows_ * stretch_ + row * vecs_ + j;
  }

  // The sum over this rank's `own` and the peers' vectors at that place of their slots.
  template <class T>
  __device__ uint4 SumSlots(int row, int j, int width, uint4 own) {
    uint4 parts[kRanks];
    ReadSlots(row, j, width, own, parts);
    return SumInOrder<T>(parts);
  }

  // `own` and the peers' vectors at that place of their slots, by rank, once all have arrived.
  __device__ void ReadSlots(int row, int j, int width, uint4 own, uint4 (&parts)[kRanks]) {
    const uint4* const slots = Buffer(link_.rank) + row * width + j;
    int missing = -1;
    do {
      missing = -1;
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        const int slot = (r - link_.rank + kRanks) % kRanks - 1;
        parts[r] = r == link_.rank ? own : LoadFromPeer(slots + slot * rows_ * width);
      }
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (r != link_.rank && !HasArrived(parts[r])) missing = r;
      }
    } while (missing >= 0 && MayWait(missing));
  }

  // Whether to look again for what `peer` has not sent yet.
  __device__ bool MayWait(int peer) {
    if (gone_) return false;
    if (++looks_ % kLooksPerGlance != 0) return true;
    const uint32_t now = GlobalMicroseconds();
    if (waiting_since_ == 0) waiting_since_ = now;
    const bool in_time = now - waiting_since_ < link_.timeout_us;
    if (in_time && LoadFromHost(&link_.board->aborted) == 0) return true;
    if (!in_time) {
      StoreToHost(&link_.board->missed_by[link_.rank], 1 + peer);
      __threadfence_system();  // whoever sees the abort sees its cause
      StoreToHost(&link_.board->aborted, 1);
    }
    link_.state->gone = 1;
    gone_ = true;
    return false;
  }

  const AllReduceLink& link_;
  const int rows_;
  const int vecs_;
  const int stretch_;
  uint32_t buffer_;
  uint32_t previous_used_;
  uint32_t next_armed_;
  bool gone_;
  bool is_last_ = false;
  uint32_t looks_ = 0;
  uint32_t waiting_since_ = 0;  // microseconds; 0: has not waited for long
};

}  // namespace pingti::kernels
