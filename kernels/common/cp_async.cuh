// Asynchronous copies of 4 to 16 bytes per thread from global to shared memory (sm_80 on).
// Source: PTX ISA 8.x, "cp.async". Read next: mma_sm80.cuh.
#pragma once

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

// Copies 16 bytes past L1, or writes 16 zero bytes when not `valid`: then `global` is not read, but
// has to be an address of the tensor still.
__device__ __forceinline__ void CpAsync16(void* smem, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SmemAddress(smem)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}

// The same for kBytes = 4 or 8, through L1.
template <int kBytes>
__device__ __forceinline__ void CpAsyncSmall(void* smem, const void* global, bool valid) {
  static_assert(kBytes == 4 || kBytes == 8);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(SmemAddress(smem)),
               "l"(global), "n"(kBytes), "r"(valid ? kBytes : 0)
               : "memory");
}

// Arrives on `barrier` once this thread's earlier copies have landed.
__device__ __forceinline__ void CpAsyncArrive(uint64_t* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(SmemAddress(barrier))
               : "memory");
}

// Closes a group of this thread's copies.
__device__ __forceinline__ void CpAsyncCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most kPending of this thread's groups are incomplete. A block barrier makes the
// others' copies visible.
template <int kPending>
__device__ __forceinline__ void CpAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace pingti::kernels
