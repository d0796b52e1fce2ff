// What every wgmma kernel shares, whatever its element type: shared-memory matrix descriptors and
// the fence, commit and wait around asynchronous products. Device code, sm_90a.
//
// Source: PTX ISA 8.x, "Asynchronous warpgroup level matrix instructions".
// Read next: wgmma_s8.cuh (s8 products), wgmma_f16.cuh (16-bit products).
#pragma once

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Swizzle field of a matrix descriptor (bits 62..63).
enum class Swizzle : uint64_t { kNone = 0, k128B = 1, k64B = 2, k32B = 3 };

// Descriptor of an operand at `smem`. Byte offsets as the PTX tables define them: `leading` between
// core matrices along the contiguous dimension (ignored for swizzled K-major), `stride` between
// groups of eight rows. `smem` is 1024-byte aligned (for 128-byte swizzle) plus the K step.
__device__ __forceinline__ uint64_t MakeMatrixDescriptor(const void* smem, Swizzle swizzle,
                                                         uint32_t leading, uint32_t stride) {
  uint64_t descriptor = (SmemAddress(smem) & 0x3FFFF) >> 4;
  descriptor |= static_cast<uint64_t>((leading & 0x3FFFF) >> 4) << 16;
  descriptor |= static_cast<uint64_t>((stride & 0x3FFFF) >> 4) << 32;
  descriptor |= static_cast<uint64_t>(swizzle) << 62;
  return descriptor;
}

// K-major operand in rows of 128 bytes with the 128-byte swizzle: eight rows are 1024 bytes.
// A step of b bytes along K inside the 128 is `descriptor + (b >> 4)`.
__device__ __forceinline__ uint64_t MakeKMajorDescriptor128B(const void* smem) {
  return MakeMatrixDescriptor(smem, Swizzle::k128B, 16, 1024);
}

// Orders register accesses before the wgmma that follow. Once before the first product of a batch.
__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most kPending committed batches of this warpgroup are still running.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Tells the compiler that a register may have changed, so that it neither moves nor copies
// accumulators across an asynchronous product.
__device__ __forceinline__ void WgmmaFenceRegister(float& value) {
  asm volatile("" : "+f"(value)::"memory");
}
__device__ __forceinline__ void WgmmaFenceRegister(int32_t& value) {
  asm volatile("" : "+r"(value)::"memory");
}
__device__ __forceinline__ void WgmmaFenceRegister(uint32_t& value) {
  asm volatile("" : "+r"(value)::"memory");
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels
