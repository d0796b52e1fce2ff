// The tensor copy engine (TMA): loads that complete on an mbarrier, stores that complete in bulk
// groups, and the proxy fence that orders ordinary shared-memory writes before either of them.
// Device code, sm_90a. Tensor maps come from tensor_map.h as __grid_constant__ kernel parameters.
//
// Coordinates are in elements, innermost (contiguous) dimension first. Elements of a box outside
// the tensor read as zero, count as delivered bytes, and are never written by stores.
// Source: PTX ISA 8.x, "cp.async.bulk", "cp.async.bulk.tensor", "createpolicy".
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// L2 policies for the `policy` argument below: data used once, and data that every block rereads.
__device__ __forceinline__ uint64_t L2EvictFirst() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t L2EvictLast() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t L2EvictNormal() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ __forceinline__ void TmaPrefetchDescriptor(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(map)) : "memory");
}

// Loads the box at (c0, c1) into `smem`; its bytes count on `barrier`. One thread issues it.
__device__ __forceinline__ void TmaLoad2d(void* smem, const CUtensorMap* map, uint64_t* barrier,
                                          int c0, int c1, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(SmemAddress(smem)),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(SmemAddress(barrier)), "r"(c0), "r"(c1), "l"(policy)
      : "memory");
}

// TmaLoad2d into the same offset of every block in `cta_mask`; each counts on its own barrier.
__device__ __forceinline__ void TmaLoad2dMulticast(void* smem, const CUtensorMap* map,
                                                   uint64_t* barrier, int c0, int c1,
                                                   uint16_t cta_mask, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(
          SmemAddress(smem)),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(SmemAddress(barrier)), "r"(c0), "r"(c1),
      "h"(cta_mask), "l"(policy)
      : "memory");
}

__device__ __forceinline__ void TmaLoad3d(void* smem, const CUtensorMap* map, uint64_t* barrier,
                                          int c0, int c1, int c2, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(SmemAddress(smem)),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(SmemAddress(barrier)), "r"(c0), "r"(c1), "r"(c2),
      "l"(policy)
      : "memory");
}

// TmaLoad3d into the same offset of every block in `cta_mask`; each counts on its own barrier.
__device__ __forceinline__ void TmaLoad3dMulticast(void* smem, const CUtensorMap* map,
                                                   uint64_t* barrier, int c0, int c1, int c2,
                                                   uint16_t cta_mask, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6, %7;" ::"r"(
          SmemAddress(smem)),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(SmemAddress(barrier)), "r"(c0), "r"(c1), "r"(c2),
      "h"(cta_mask), "l"(policy)
      : "memory");
}

__device__ __forceinline__ void TmaLoad4d(void* smem, const CUtensorMap* map, uint64_t* barrier,
                                          int c0, int c1, int c2, int c3, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(SmemAddress(smem)),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(SmemAddress(barrier)), "r"(c0), "r"(c1), "r"(c2),
      "r"(c3), "l"(policy)
      : "memory");
}

// TmaLoad4d into the same offset of every block in `cta_mask`; each counts on its own barrier.
__device__ __forceinline__ void TmaLoad4dMulticast(void* smem, const CUtensorMap* map,
                                                   uint64_t* barrier, int c0, int c1, int c2,
                                                   int c3, uint16_t cta_mask, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7, %8;" ::"r"(
          SmemAddress(smem)),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(SmemAddress(barrier)), "r"(c0), "r"(c1), "r"(c2),
      "r"(c3), "h"(cta_mask), "l"(policy)
      : "memory");
}

// Copies `bytes` (a multiple of 16, both ends 16-byte aligned) of contiguous global memory.
__device__ __forceinline__ void BulkLoad(void* smem, const void* global, uint32_t bytes,
                                         uint64_t* barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(SmemAddress(smem)),
      "l"(global), "r"(bytes), "r"(SmemAddress(barrier)), "l"(policy)
      : "memory");
}

// Has the copy engine bring `bytes` of global memory (both multiples of 16) to the L2.
__device__ __forceinline__ void BulkPrefetch(const void* global, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
}

// Orders this thread's earlier ordinary shared-memory writes before later copy-engine or wgmma
// reads of them. Every writing thread calls it before the barrier that releases the reader.
__device__ __forceinline__ void FenceProxyAsync() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Stores the box at (c0, c1) from `smem`. The storing thread commits and waits.
__device__ __forceinline__ void TmaStore2d(const CUtensorMap* map, const void* smem, int c0,
                                           int c1) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
                   reinterpret_cast<uint64_t>(map)),
               "r"(SmemAddress(smem)), "r"(c0), "r"(c1)
               : "memory");
}

__device__ __forceinline__ void BulkCommit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Waits until at most kPending committed groups still read shared memory: the rest may be reused.
template <int kPending>
__device__ __forceinline__ void BulkWaitRead() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

// Waits until at most kPending committed groups are incomplete: the rest is visible in memory.
template <int kPending>
__device__ __forceinline__ void BulkWait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels
