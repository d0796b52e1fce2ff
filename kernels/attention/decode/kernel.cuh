// Paged decode attention: out = softmax(scale * q K^T + mask) V for one to eight query tokens of
// every sequence, one persistent block per SM.
//
// Inputs: q [rows, num_q_heads, head_dim] bf16 or fp16; K, V pages [page, kv_head, token,
//   head_dim], the same type or int8 with a float scale per token and head (kv_layout.h); the plan
//   of plan.cu.
// Output: [rows, num_q_heads, head_dim] like q. Scores, softmax and output accumulate in float; P
//   (times the value scale for int8) is rounded to q's type for the second product; int8 V widens
//   exactly, and K too, or meets q in two int8 parts (narrow.cuh). Tolerance against float64 on the
//   same inputs: relative 2-norm 4e-3 (bf16), 1e-3 (fp16).
//
// Mapping: a block is a worker of the plan (work.cuh): it walks pieces of (sequence, KV head), 64
//   tokens at a time. The query tokens and heads that share a KV head are packed into 16-row tiles
//   (mma.m16n8k16's M), so K and V are read once for all of them. One warp loads; eight warps
//   multiply, each with its own tokens and its own running softmax, so tiles need no block barrier;
//   they combine once per piece (finish.cuh). Loading runs ahead across pieces.
// Shared memory: up to 12 stages of K + V tiles (16 KB each at head_dim 128, 16-bit: 6 stages),
//   32 KB to combine. One block per SM; registers are not the limit.
// Bytes: kv_tokens * num_kv_heads * head_dim * 2 * element size, each read once; FLOPs: 4 *
//   kv_tokens * num_q_heads * head_dim. At 8 heads per group and 16-bit KV that is 8 FLOP per byte:
//   bound by memory bandwidth on every GPU with tensor cores.
// Architectures: sm_90a (TMA), sm_80 and newer (cp.async).
// Sources: FlashAttention (Dao et al. 2022), online softmax; Flash-Decoding, split KV; Stream-K
//   (Osama et al. 2023), even division of a line of tiles.
#pragma once

#include <cuda.h>

#include <new>

#include "kernels/attention/decode/finish.cuh"

namespace pingti::kernels::decode {

struct KernelArgs {
  CUtensorMap k_map;
  CUtensorMap v_map;
  WorkArgs work;
  KvArgs kv;
  QueryArgs query;
  PartialArgs partial;
  int num_stages;
};

// The consumers' walk, in shared memory: one thread steps it, which spares the others its
// registers.
struct SharedWalk {
  SegmentWalk walk;
  Segment segments[2];  // this one and the next
  bool more[2];
};

// The consumer warps' whole life.
template <class Tr>
__device__ __forceinline__ void Consume(const Ring& ring, const KernelArgs& args,
                                        const MergeArea& area, SharedWalk* shared) {
  constexpr int kSharesPerTile = kTileTokens / Tr::kWarpTokens;
  static_assert(sizeof(SharedWalk) <= SharedLayout<Tr>::kWalkBytes);
  const int warp = threadIdx.x / 32;
  const int token_warp = warp % Tr::kTokenWarps;
  const int tile_group = token_warp / kSharesPerTile;
  const int token = token_warp % kSharesPerTile * Tr::kWarpTokens;
  if (threadIdx.x == 0) {
    new (&shared->walk) SegmentWalk(args.work, blockIdx.x);
    shared->more[0] = shared->walk.Next(&shared->segments[0]);
  }
  ConsumerSync();  // the first segment is known
  RingPosition at;
  uint32_t tile_count = 0;
  QueryOf<Tr> query;
  StateOf<Tr> state;
  int current = 0;
  if (shared->more[0]) query.Load(args.query, shared->segments[0], warp / Tr::kTokenWarps);
  while (shared->more[current]) {
    const Segment& segment = shared->segments[current];
    const int next = current ^ 1;
    if (threadIdx.x == 0) shared->more[next] = shared->walk.Next(&shared->segments[next]);
    const StepRange range{segment.kv_len, segment.q_len};
    const int tile_end = segment.tile_end;
    state.Reset();
    for (int tile = segment.tile_begin; tile < tile_end; ++tile, ++tile_count) {
      if (tile_count % Tr::kTileGroups == tile_group) {
        MbarrierWait(&ring.full[at.stage], at.phase);  // the tile has landed
#pragma unroll 1
        for (int t = token; t < token + Tr::kWarpTokens; t += Tr::kStepTokens) {
          Step<Tr>(ring, at.stage, t, tile * kTileTokens + t, query, range, args.query, state);
        }
        __syncwarp();  // all lanes have read their part
        if (threadIdx.x % 32 == 0) MbarrierArrive(&ring.empty[at.stage]);
      }
      at.Advance(ring.num_stages);
    }
    const float2 sums = ShareMaxima<Tr>(state, area);
    ConsumerSync();  // every warp's maxima, and the next segment, are in place
    // The next queries are on their way while this piece is combined.
    if (shared->more[next]) {
      query.Load(args.query, shared->segments[next], warp / Tr::kTokenWarps);
    }
    FinishSegment<Tr>(state, sums, area, segment, args.work.num_kv_heads, args.query, args.partial);
    current = next;
  }
}

template <class Tr>
__global__ void __launch_bounds__(kThreads, 1)
    DecodeKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t smem[];
  using Layout = SharedLayout<Tr>;
  const int stages = args.num_stages;
  uint64_t* barriers = reinterpret_cast<uint64_t*>(smem + Layout::Barriers(stages));
  const Ring ring{smem, stages, barriers, barriers + kMaxStages};
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  if (threadIdx.x == kConsumerWarps * 32) {
    TmaPrefetchDescriptor(&args.k_map);
    TmaPrefetchDescriptor(&args.v_map);
  }
#endif
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < stages; ++stage) {
      MbarrierInit(&ring.full[stage], kFullArrivals);
      MbarrierInit(&ring.empty[stage], Tr::kWarpsPerTile);
    }
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    MbarrierInitFence();
#endif
  }
  __syncthreads();  // barriers are ready
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WaitForPriorKernels();  // q, the cache and the plan may be the previous kernel's work
#endif
  if (threadIdx.x / 32 == kConsumerWarps) {
    Produce<Tr>(ring, args.kv, &args.k_map, &args.v_map, args.work);
  } else {
    const MergeArea area{reinterpret_cast<float*>(smem + Layout::Merge(stages)),
                         reinterpret_cast<float*>(smem + Layout::RowMax(stages)),
                         reinterpret_cast<float*>(smem + Layout::RowSum(stages)),
                         reinterpret_cast<int*>(smem + Layout::Flag(stages))};
    Consume<Tr>(ring, args, area, reinterpret_cast<SharedWalk*>(smem + Layout::Walk(stages)));
  }
}

}  // namespace pingti::kernels::decode
