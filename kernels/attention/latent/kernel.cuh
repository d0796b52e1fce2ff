// Latent attention for sm_90a: TMA + wgmma, warp-specialised.
//
// Formula, inputs, outputs: pingti/kernels/latent_attention.h. One tile is 64 query rows (heads of
// one or more query tokens, traits.cuh) against tiles of 64 latents, walked from the left:
//   S = q c^T (f32, depth 576); m' = max(m, rowmax S);
//   P = 2^(k S - k m') in bf16, k = softmax_scale log2 e; l = l 2^(k m - k m') + rowsum P (f32);
//   O = O 2^(k m - k m') + P c[.., 0 .. 511] (f32); out = O / l in bf16.
// Accuracy: P and out are rounded to bf16 once each, all sums are f32: relative 2-norm against
// float64 on the same inputs below 4e-3 (tests/kernels/attention/latent/latent_test.cu).
//
// O of a tile is 64 x 512 f32: half of a block's registers. So two warpgroups have 256 columns each
// and take turns at scoring (consumer.cuh); a warp of a third one loads (producer.cuh). Shared
// memory: q 64 KB (its rotated part is in registers), two tiles of latents 144 KB, two of P 16 KB.
//
// Latents in int8: the other three warps of the third warpgroup turn them into tiles of bf16
// (converter.cuh), and all else is as it is; 656 bytes per token.
//
// Grid: one block a multiprocessor. Decode: blocks are the workers of the decode plan; where a
// sequence has more than one tile of rows, two blocks are a worker, which read the same latents at
// the same time, from L2 the second time. Prefill: tiles are drawn, longest first.
//
// Work: 2 (576 + 512) FLOP per visible (query, token) pair and head, against 1,152 bytes per token:
// 242 FLOP per byte at 128 heads, where the tensor cores are the bound; with 16 heads on one card
// the memory is. Fewer rows than 64 cost as much as 64.
//
// A partly filled last page: tokens at or past the end are masked in S and zeroed in the values, so
// that whatever the page holds there (NaN too) is harmless. Pages past the end are never looked up.
//
// Sources: DeepSeek-V2 (arXiv:2405.04434); the idea of two warpgroups that share the columns of O
// and alternate over pairs of tiles: deepseek-ai/FlashMLA's write-up of its kernel (2025); PTX ISA
// 8.x for wgmma and TMA.
//
// Next: traits.cuh, work.cuh, producer.cuh, converter.cuh, consumer.cuh; combine.cu, which joins
// parts.
#pragma once

#include <cuda.h>

#include "kernels/attention/latent/consumer.cuh"
#include "kernels/attention/latent/converter.cuh"
#include "kernels/attention/latent/producer.cuh"
#include "kernels/attention/latent/work.cuh"

namespace pingti::kernels::latent {

template <class Source>
struct KernelArgs {
  CUtensorMap q_map;
  CUtensorMap kv_map;  // int8: of the rotated part
  Args args;
  typename Source::Args source;
  int blocks_per_worker;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <bool kInt8>
__device__ __forceinline__ void InitBarriers(Shared& shared) {
  constexpr uint32_t kWarps = 4;  // of a consumer warpgroup
  for (int stage = 0; stage < kStages; ++stage) {
    for (int box = 0; box < kBoxes; ++box) {
      const bool converted = kInt8 && box != kRopeBox;
      MbarrierInit(&shared.full[stage][box], converted ? kConverterWarps : 1);
    }
    MbarrierInit(&shared.rope_empty[stage], kWarps);
    MbarrierInit(&shared.half_empty[stage][0], kWarps);
    MbarrierInit(&shared.half_empty[stage][1], kWarps);
  }
  MbarrierInit(&shared.q_full, 1);
  MbarrierInit(&shared.q_empty, 2 * kWarps);
  for (int slot = 0; slot < 2; ++slot) {
    MbarrierInit(&shared.work_full[slot], 1);
    MbarrierInit(&shared.work_empty[slot], 2 * kWarps + (kInt8 ? kConverterWarps : 0));
  }
  MbarrierInitFence();
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <class Source, bool kInt8>
__global__ void __launch_bounds__(kThreads, 1)
    LatentKernel(const __grid_constant__ KernelArgs<Source> kernel) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t raw_shared[];
  Shared& shared = *reinterpret_cast<Shared*>(raw_shared);
  LetNextKernelStart();
  if (threadIdx.x == 0) {
    InitBarriers<kInt8>(shared);
    TmaPrefetchDescriptor(&kernel.q_map);
    TmaPrefetchDescriptor(&kernel.kv_map);
  }
  __syncthreads();        // barriers are ready
  WaitForPriorKernels();  // queries, the cache and the plan may be the previous kernel's work
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  const int lane = threadIdx.x % 32;
  const RowPacking packing = kernel.source.packing;
  if (warpgroup == 2) {
    DecreaseRegisters<kProducerRegisters>();
    const int warp = __shfl_sync(~0u, threadIdx.x / 32 % 4, 0);
    if (warp > 0) {
      if constexpr (kInt8) Converter{kernel.args, shared, lane, warp - 1}.Run();
      return;
    }
    // Another block reads the same latents soon, unless each is a worker of its own.
    const uint64_t policy = kernel.blocks_per_worker == 1 ? L2EvictFirst() : L2EvictNormal();
    Source source(kernel.source);
    Producer<kInt8>{kernel.args, shared, &kernel.q_map, &kernel.kv_map, packing, policy, lane}.Run(
        source);
  } else {
    IncreaseRegisters<kConsumerRegisters>();
    const int warp = __shfl_sync(~0u, threadIdx.x / 32 % 4, 0);
    const int rank = static_cast<int>(blockIdx.x) % kernel.blocks_per_worker;
    if (warpgroup == 0) {
      Consumer<0, kInt8>{kernel.args, shared, packing, lane, warp}.Run(rank);
    } else {
      Consumer<1, kInt8>{kernel.args, shared, packing, lane, warp}.Run(rank);
    }
  }
#endif
}

}  // namespace pingti::kernels::latent
