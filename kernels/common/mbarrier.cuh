// Shared-memory barriers, cluster barriers, named barriers and the few per-thread controls that
// warp-specialised sm_90 kernels need. Device code only; every function is one PTX instruction (or
// the loop around it), so that a kernel's text shows what is ordered by what.
//
// Source: PTX ISA 8.x, "mbarrier", "barrier{.cta}", "barrier.cluster", "setmaxnreg", "elect.sync".
// Read next: tma.cuh (what completes on these barriers), wgmma_desc.cuh.
#pragma once

#include <cstdint>

namespace pingti::kernels {

// 32-bit shared-window address of a pointer into this block's shared memory.
__device__ __forceinline__ uint32_t SmemAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Brings the 128 bytes around `address` into the L2. For what does not depend on the kernel before
// this one and is read at the end: a miss then costs its time while that kernel still runs.
__device__ __forceinline__ void PrefetchLine(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Prepares `barrier` for `arrivals` arrivals a phase. One thread; follow with MbarrierInitFence and
// a block (or cluster) barrier before any other thread touches it.
__device__ __forceinline__ void MbarrierInit(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SmemAddress(barrier)),
               "r"(arrivals));
}

// Makes initialised barriers visible to the copy engine and to the other blocks of the cluster.
__device__ __forceinline__ void MbarrierInitFence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void MbarrierArrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SmemAddress(barrier)) : "memory");
}

// Arrives on the same barrier of block `cta_rank` of this cluster (which may be this block). Says
// "I am done reading"; it does not publish writes to the other block. The form that would
// (release.cluster) costs a GPU-wide fence and an L1 flush: on an H100 it halved a GEMM's speed.
__device__ __forceinline__ void MbarrierArriveCluster(uint64_t* barrier, uint32_t cta_rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(SmemAddress(barrier)),
      "r"(cta_rank)
      : "memory");
}

// Arrives and announces `bytes` that the copy engine will deliver in this phase.
__device__ __forceinline__ void MbarrierArriveExpectBytes(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SmemAddress(barrier)),
               "r"(bytes)
               : "memory");
}

// True once the phase with this parity has completed. A fresh barrier has completed parity 1.
__device__ __forceinline__ bool MbarrierTryWait(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(SmemAddress(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}

__device__ __forceinline__ void MbarrierWait(uint64_t* barrier, uint32_t parity) {
  while (!MbarrierTryWait(barrier, parity)) {
  }
}

// Number of this block within its cluster.
__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// The two halves of ClusterSync, for work between them.
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// All threads of all blocks of the cluster meet; earlier shared-memory writes become visible.
__device__ __forceinline__ void ClusterSync() {
  ClusterArrive();
  ClusterWait();
}

// Gives registers of this warpgroup back to the block's pool, down to kRegisters a thread.
template <int kRegisters>
__device__ __forceinline__ void DecreaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Takes registers from the block's pool, up to kRegisters a thread.
template <int kRegisters>
__device__ __forceinline__ void IncreaseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Programmatic dependent launch: waits until the kernels this one depends on have finished and
// their writes are visible. Returns at once when the launch did not ask for the overlap.
__device__ __forceinline__ void WaitForPriorKernels() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// Programmatic dependent launch: lets the next kernel start its prologue.
__device__ __forceinline__ void LetNextKernelStart() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

#else

// What sm_80 has of the above: barriers that ordinary arrivals and cp.async complete.
__device__ __forceinline__ void MbarrierInit(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(SmemAddress(barrier)), "r"(arrivals));
}

__device__ __forceinline__ void MbarrierArrive(uint64_t* barrier) {
  [[maybe_unused]] uint64_t state;  // the instruction must have somewhere to put it
  asm volatile("mbarrier.arrive.shared.b64 %0, [%1];"
               : "=l"(state)
               : "r"(SmemAddress(barrier))
               : "memory");
}

__device__ __forceinline__ void MbarrierWait(uint64_t* barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(SmemAddress(barrier)), "r"(parity)
        : "memory");
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

// `threads` threads (a multiple of 32) meet at hardware barrier `id` (1..15; 0 is __syncthreads).
__device__ __forceinline__ void NamedBarrierSync(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Arrives without waiting: the other half of a producer and consumer pair on barrier `id`.
__device__ __forceinline__ void NamedBarrierArrive(uint32_t id, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace pingti::kernels
