// Talking between the blocks of a cluster beyond barriers: stores into and loads from another
// block's shared memory, and waits that order them. Device code, sm_90a.
//
// Source: PTX ISA 8.x, "mapa", "st.async", "ld", "mbarrier.try_wait" (.acquire.cluster).
// Read next: mbarrier.cuh.
#pragma once

#include <cstdint>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Stores to the same shared variable of block `cta_rank` of this cluster (which may be this block);
// its four bytes count on the same `barrier` there. Whoever waits on it
// (MbarrierWaitAcquireCluster) sees the value: no fence needed.
__device__ __forceinline__ void StoreAsyncCluster(uint32_t* variable, uint32_t value,
                                                  uint64_t* barrier, uint32_t cta_rank) {
  asm volatile(
      "{\n.reg .b32 address, signal;\n"
      "mapa.shared::cluster.u32 address, %0, %2;\n"
      "mapa.shared::cluster.u32 signal, %1, %2;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [address], %3, [signal];\n}" ::"r"(
          SmemAddress(variable)),
      "r"(SmemAddress(barrier)), "r"(cta_rank), "r"(value)
      : "memory");
}

// The same with eight bytes, aligned to eight.
__device__ __forceinline__ void StoreAsyncCluster(uint64_t* variable, uint64_t value,
                                                  uint64_t* barrier, uint32_t cta_rank) {
  asm volatile(
      "{\n.reg .b32 address, signal;\n"
      "mapa.shared::cluster.u32 address, %0, %2;\n"
      "mapa.shared::cluster.u32 signal, %1, %2;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [address], %3, [signal];\n}" ::"r"(
          SmemAddress(variable)),
      "r"(SmemAddress(barrier)), "r"(cta_rank), "l"(value)
      : "memory");
}

// The 16 bytes at the same shared address of block `cta_rank` of this cluster (which may be this
// block). ClusterSync lies between their writing and this.
__device__ __forceinline__ uint4 LoadCluster16(const void* address, uint32_t cta_rank) {
  uint4 value;
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [remote];\n}"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "r"(SmemAddress(address)), "r"(cta_rank)
      : "memory");
  return value;
}

// MbarrierWait that also orders what other blocks of the cluster did before they arrived.
__device__ __forceinline__ void MbarrierWaitAcquireCluster(uint64_t* barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(SmemAddress(barrier)), "r"(parity)
        : "memory");
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels
