// Weight-only GEMM for few tokens: the formula of launch.h, 4- or 8-bit weights, bf16 tokens.
//
//   a [m, k] bf16, packed weights (launch.h), scales [groups, n] f16 or bf16, zeros [groups, n]
//   u8, y [m, n] bf16. q - zero is exact in bf16; a group's products are summed in f32, scaled in
//   f32 and added up in f32: y is within one bf16 ulp of float64 where nothing cancels.
// Mapping: stream-K over tiles of 128 or 256 weight rows in stages of 128 or 256 k
// (common/stream_k.h),
//   one or two blocks per SM. Each of eight warps multiplies 32 (or 16) rows x 128 k of a stage;
//   where a stage has 256 k, pairs of warps share their rows and add up at the end of a tile.
//   Weights are mma.m16n8k16's A, made in registers from packed words; tokens are B, shared by the
//   block through ldmatrix. From 32 tokens on sm_90a multiplies with wgmma instead: its A in
//   registers is four warps' fragments of mma, its B the same tokens in shared memory, and the next
//   weights are unpacked while it runs. Cut tiles meet in common/join_partials.cuh, always added in
//   the same order.
// Shared memory: kStages of weights (a lane reads only what it copied itself), swizzled tokens,
//   scales and zeros, filled by cp.async; 160 KB per SM (two blocks: 222 KB, which sm_80 runs as
//   one).
// Bound: n k bits / 8 bytes of weights over memory bandwidth; about 1.4 instructions a weight and
//   lane. sm_80 and later; on sm_90a the first stages' weights come before the previous kernel has
//   ended. Source: PTX ISA (mma.sync, ldmatrix, cp.async, griddepcontrol). Read next:
//   repack.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/common/cp_async.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/status.h"
#include "kernels/common/tma.cuh"
#include "kernels/common/wgmma_f16.cuh"
#include "kernels/gemm/common/join_partials.cuh"
#include "kernels/gemm/common/stream_k.h"
#include "kernels/gemm/common/token_major.cuh"
#include "kernels/gemm/w4a16/launch.h"
#include "kernels/gemm/w4a16/unpack.cuh"

namespace pingti::kernels {

// Grouped products (kernels/moe/grouped_w4a16) have smaller blocks than dense ones.
// kIsFloat_: 4 bits are E2M1 floats, without zeros.
template <int kBits_, int kTokens_, int kSteps_, int kWarps_ = 8,
          int kBlocksPerSm_ = kTokens_ <= 16 ? 2 : 1, bool kIsFloat_ = false>
struct GemmW4A16Traits {
  static constexpr int kBits = kBits_;
  static constexpr bool kIsFloat = kIsFloat_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kSteps = kSteps_;      // k16-steps a scale covers within a chunk
  static constexpr int kGroups = 8 / kSteps;  // scales a chunk and row
  static constexpr int kWarps = kWarps_;
  static constexpr int kThreads = 32 * kWarps;
  // Measured on an H100. With few tokens two blocks per SM hide the latency of unpacking. 8-bit
  // weights then prefer one slab of 16 rows per warp; 4-bit weights two slabs, which share every
  // fragment of tokens that ldmatrix brings, in pairs of warps that halve k: a tile of 128 rows
  // instead of 256 leaves half the partial sums.
  static constexpr bool kFewTokens = kTokens <= 16;
  static constexpr int kSlabs = kBits == 8 && kFewTokens ? 1 : 2;
  static constexpr int kKWarps = kBits == 4 && kFewTokens ? 2 : 1;  // warps that share rows
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  // Where rows of tokens are looked up, their addresses would cost registers all at once.
  static constexpr int kUnrolledCopies = kWarps == 8 ? 8 : 2;
  static constexpr int kOutSlabs = kSlabs / kKWarps;  // of a warp once the pairs have met
  static constexpr int kBlockRows = 16 * kOutSlabs * kWarps;
  static constexpr int kStageK = kPackedK * kKWarps;
  static constexpr int kVectors = kSlabs * kBits / 2;  // 16-byte weight vectors per lane and stage
  static constexpr int kRegisters = kSlabs * kTokens / 2;  // accumulators a thread
  static constexpr int kOutRegisters = kRegisters / kKWarps;

  static constexpr int kWeightBytes = kThreads * kVectors * 16;
  static constexpr int kTokenBytes = kTokens * kStageK * 2;
  static constexpr int kScaleBytes = kKWarps * kGroups * kBlockRows * 2;
  static constexpr int kZeroBytes = kKWarps * kGroups * kBlockRows;
  static constexpr bool kUsesWgmma = kTokens >= 32;  // where there is one
  // wgmma wants its tokens at multiples of 1024 bytes.
  static constexpr int kStageBytes =
      CeilDiv(kWeightBytes + kTokenBytes + kScaleBytes + kZeroBytes, 1024) * 1024;
  static constexpr int kSharedBudget = (kBlocksPerSm == 1 ? 160 : 222 / kBlocksPerSm) * 1024;
  static constexpr int kStagesThatFit = kSharedBudget / kStageBytes;
  static constexpr int kStages = kStagesThatFit < 8 ? kStagesThatFit : 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + 16;

  static_assert(kBits == 4 || (kBits == 8 && !kIsFloat));
  static_assert(kTokens == 8 || (kTokens % 16 == 0 && kTokens <= kGemmW4A16MaxTokens),
                "ldmatrix.x4 takes 16 tokens, or two steps of 8");
  static_assert(kKWarps == 1 || (kKWarps == 2 && kSlabs == 2), "a pair shares out its slabs");
  static_assert(kKWarps == 1 || kThreads * kOutRegisters * 4 <= kWeightBytes,
                "pairs meet in a stage of weights");
  static_assert(kBlocksPerSm * kThreads * kOutRegisters <= 256 * 64,
                "what the workspace is sized for");
  static_assert(kStages >= 3, "one stage in use, two in flight");
  static_assert(!kUsesWgmma || (kKWarps == 1 && kWeightBytes % 1024 == 0),
                "a warpgroup reads the tokens of the whole stage");
};

// Byte offset of 16-byte column `column` of token row `row`: rows of 256 bytes, or for wgmma two
// halves of 64 k in rows of 128 bytes, swizzled so that the eight rows that are read at once lie in
// different banks.
template <typename Traits>
__device__ __forceinline__ int TokenOffset(int row, int column) {
  if constexpr (Traits::kUsesWgmma) {
    return column / 8 * (Traits::kTokens * 128) + row * 128 + 16 * (column % 8 ^ row % 8);
  }
  return row * (kPackedK * 2) + 16 * (column ^ (row % 8));
}

// Where a warp works within a tile and a stage.
template <typename Traits>
struct WarpPlace {
  int warp = threadIdx.x / 32;
  int row = warp / Traits::kKWarps * (16 * Traits::kSlabs);  // its first row within the tile
  int part = warp % Traits::kKWarps;                         // its 128 k within the stage
};

// What of its arguments a block works on: few registers, where the arguments are constants. A dense
// product is one part, {0, 0, m}.
struct GemmW4A16Part {
  int matrix_row;   // of the packed stack, where the matrix's n rows begin: a multiple of 32
  int first_token;  // row of y
  int num_tokens;
};

// Copies a stage's weights: the warp's own block.
template <typename Traits>
__device__ __forceinline__ void CopyWeights(uint8_t* stage, const GemmW4A16Args& args,
                                            const GemmW4A16Part& part, int tile, int stage_index,
                                            int chunks) {
  const WarpPlace<Traits> place;
  const int row = tile * Traits::kBlockRows + place.row;
  const int chunk = stage_index * Traits::kKWarps + place.part;
  const bool inside = row < args.n && chunk < chunks;
  const int block_row = (part.matrix_row + row) / kPackedRows;
  const int64_t block = inside ? int64_t{block_row} * chunks + chunk : 0;
  const int slab = row % kPackedRows / 16;
  const uint4* source = args.packed + block * (32 * Traits::kBits) +
                        32 * (slab * Traits::kBits / 2) + threadIdx.x % 32;
#pragma unroll
  for (int v = 0; v < Traits::kVectors; ++v) {
    CpAsync16(stage + (v * Traits::kThreads + threadIdx.x) * 16, source + 32 * v, inside);
  }
}

// Copies a stage's scales and zeros (weights too, in what they depend on) ...
template <typename Traits>
__device__ __forceinline__ void CopyScales(uint8_t* stage, const GemmW4A16Args& args,
                                           const GemmW4A16Part& part, int tile, int stage_index) {
  constexpr int kThreadsPerGroup = Traits::kBlockRows / 8;
  const int group = threadIdx.x / kThreadsPerGroup;
  if (group >= Traits::kKWarps * Traits::kGroups) return;
  const int row = tile * Traits::kBlockRows + 8 * (threadIdx.x % kThreadsPerGroup);
  const int k = stage_index * Traits::kStageK + group * (16 * Traits::kSteps);
  const bool inside = row < args.n && k < args.k;
  const int64_t index = inside ? static_cast<int64_t>(k / args.group_size) * args.scale_stride +
                                     (part.matrix_row + row)
                               : 0;
  uint8_t* scales = stage + Traits::kWeightBytes + Traits::kTokenBytes;
  CpAsync16(scales + threadIdx.x * 16, args.scales + index, inside);
  if (args.zeros != nullptr) {
    CpAsyncSmall<8>(scales + Traits::kScaleBytes + threadIdx.x * 8, args.zeros + index, inside);
  }
}

// ... and its tokens, which the kernel before this one may have written. Token r is row row_of(r)
// of `a`.
template <typename Traits, typename RowOf>
__device__ __forceinline__ void CopyTokens(uint8_t* stage, const GemmW4A16Args& args,
                                           const GemmW4A16Part& part, int stage_index,
                                           const RowOf& row_of) {
  constexpr int kColumns = kPackedK * 2 / 16;
  constexpr int kVectors = Traits::kKWarps * Traits::kTokens * kColumns;
#pragma unroll(Traits::kUnrolledCopies)
  for (int first = 0; first < kVectors; first += Traits::kThreads) {
    const int index = first + threadIdx.x;
    if (kVectors % Traits::kThreads != 0 && index >= kVectors) break;
    const int half = index / (kColumns * Traits::kTokens);
    const int row = index / kColumns % Traits::kTokens;
    const int column = index % kColumns;
    const int k = stage_index * Traits::kStageK + half * kPackedK + column * 8;
    const bool inside = row < part.num_tokens && k < args.k;
    CpAsync16(stage + Traits::kWeightBytes + half * (Traits::kTokens * kPackedK * 2) +
                  TokenOffset<Traits>(row, column),
              args.a + (inside ? row_of(row) * args.a_row_stride + k : 0), inside);
  }
}

// The scale of row `row` of the block in a stage's scale `group`.
template <typename Traits>
__device__ __forceinline__ float ReadScale(const uint8_t* stage, const GemmW4A16Args& args,
                                           int group, int row) {
  const auto* scales =
      reinterpret_cast<const uint16_t*>(stage + Traits::kWeightBytes + Traits::kTokenBytes);
  const uint16_t bits = scales[group * Traits::kBlockRows + row];
  return args.scales_are_bf16 ? __uint_as_float(static_cast<uint32_t>(bits) << 16)
                              : __half2float(__ushort_as_half(bits));
}

// What that row's weights have subtracted (see Unpack).
template <typename Traits>
__device__ __forceinline__ uint32_t ReadOffset(const uint8_t* stage, const GemmW4A16Args& args,
                                               int group, int row) {
  constexpr int kMiddle = Traits::kBits == 4 ? 8 : 128;
  const uint8_t* zeros = stage + Traits::kWeightBytes + Traits::kTokenBytes + Traits::kScaleBytes;
  const int zero = args.zeros != nullptr ? zeros[group * Traits::kBlockRows + row] : kMiddle;
  const float value = static_cast<float>(Traits::kBits == 4 ? 128 + zero : zero - 128);
  const __nv_bfloat162 pair = __float2bfloat162_rn(value);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

template <typename Traits>
__device__ __forceinline__ void UnpackWords(uint32_t (&a)[4], const uint32_t* words,
                                            const uint32_t (&offset)[2]) {
  if constexpr (Traits::kIsFloat) {
    UnpackFp4(a, words);
  } else {
    Unpack<Traits::kBits>(a, words, offset);
  }
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// sum = weights x tokens over the k of one scale, all four warps of a warpgroup together.
// sum[slab][token / 8][4], flattened.
template <typename Traits>
__device__ __forceinline__ void SumGroupWgmma(float (&sum)[Traits::kRegisters],
                                              const uint4* weights, const uint8_t* tokens,
                                              const uint32_t (&offset)[Traits::kSlabs][2],
                                              int group) {
  constexpr int kWordsPerStep = Traits::kBits / 4;
  constexpr int kHalf = Traits::kRegisters / Traits::kSlabs;
  using Slabs = float[Traits::kSlabs][kHalf];
  auto& slabs = reinterpret_cast<Slabs&>(sum);
  uint4 vector[Traits::kSlabs];
  WgmmaFence();
#pragma unroll
  for (int step = 0; step < Traits::kSteps; ++step) {
    const int c = group * Traits::kSteps + step;
    const int word = c * kWordsPerStep;  // within a slab
    const uint64_t b =
        MakeKMajorDescriptor128B(tokens + c / 4 * (Traits::kTokens * 128)) + (c % 4 * 32 >> 4);
#pragma unroll
    for (int s = 0; s < Traits::kSlabs; ++s) {
      if (word % 4 == 0) {
        vector[s] = weights[(s * Traits::kBits / 2 + word / 4) * Traits::kThreads];
      }
      const uint32_t words[4] = {vector[s].x, vector[s].y, vector[s].z, vector[s].w};
      uint32_t a[4];
      UnpackWords<Traits>(a, words + word % 4, offset[s]);
      WgmmaF16<__nv_bfloat16, Traits::kTokens>::template Run<false>(slabs[s], a, b, step > 0);
    }
    WgmmaCommit();
  }
  WgmmaWait<0>();
#pragma unroll
  for (int i = 0; i < Traits::kRegisters; ++i) WgmmaFenceRegister(sum[i]);
}
#endif

// sum = weights x tokens over the k of one scale. sum[slab][token / 8][4], flattened.
template <typename Traits>
__device__ __forceinline__ void SumGroup(float (&sum)[Traits::kRegisters], const uint4* weights,
                                         const uint8_t* tokens,
                                         const uint32_t (&offset)[Traits::kSlabs][2], int group) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (Traits::kUsesWgmma) {
    return SumGroupWgmma<Traits>(sum, weights, tokens, offset, group);
  }
#endif
  constexpr int kBlocks = Traits::kTokens / 8;
  constexpr int kWordsPerStep = Traits::kBits / 4;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < Traits::kRegisters; ++i) sum[i] = 0.0f;
  uint4 vector[Traits::kSlabs];
  uint32_t b[(kBlocks + 1) / 2][4];
#pragma unroll
  for (int step = 0; step < Traits::kSteps; ++step) {
    const int c = group * Traits::kSteps + step;
    const int word = c * kWordsPerStep;  // within a slab
    if (word % 4 == 0) {
#pragma unroll
      for (int s = 0; s < Traits::kSlabs; ++s) {
        vector[s] = weights[(s * Traits::kBits / 2 + word / 4) * Traits::kThreads];
      }
    }
    if (kBlocks == 1 && c % 2 == 0) {  // this step and the next
      LoadMatrix4(b[0], tokens + TokenOffset<Traits>(lane % 8, 2 * c + lane / 8));
    }
#pragma unroll
    for (int j = 0; j < kBlocks / 2; ++j) {
      const int row = 16 * j + lane % 8 + lane / 16 * 8;
      LoadMatrix4(b[j], tokens + TokenOffset<Traits>(row, 2 * c + lane / 8 % 2));
    }
#pragma unroll
    for (int s = 0; s < Traits::kSlabs; ++s) {
      const uint32_t words[4] = {vector[s].x, vector[s].y, vector[s].z, vector[s].w};
      uint32_t a[4];
      UnpackWords<Traits>(a, words + word % 4, offset[s]);
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        const int at = 2 * ((kBlocks == 1 ? c : j) % 2);
        Mma16816<__nv_bfloat16>(&sum[(s * kBlocks + j) * 4], a, b[j / 2][at], b[j / 2][at + 1]);
      }
    }
  }
}

// acc += scale * (weights x tokens) over the warp's 128 k of a stage. acc[slab][token / 8][4],
// flattened.
template <typename Traits>
__device__ __forceinline__ void MultiplyStage(float (&acc)[Traits::kRegisters],
                                              const uint8_t* stage, const GemmW4A16Args& args) {
  constexpr int kBlocks = Traits::kTokens / 8;
  const WarpPlace<Traits> place;
  const int lane = threadIdx.x % 32;
  const uint4* weights = reinterpret_cast<const uint4*>(stage) + threadIdx.x;
  const uint8_t* tokens =
      stage + Traits::kWeightBytes + place.part * (Traits::kTokens * kPackedK * 2);

#pragma unroll
  for (int group = 0; group < Traits::kGroups; ++group) {
    uint32_t offset[Traits::kSlabs][2];
#pragma unroll
    for (int i = 0; i < 2 * Traits::kSlabs; ++i) {
      offset[i / 2][i % 2] = ReadOffset<Traits>(stage, args, place.part * Traits::kGroups + group,
                                                place.row + 8 * i + lane / 4);
    }
    float sum[Traits::kRegisters];
    SumGroup<Traits>(sum, weights, tokens, offset, group);
#pragma unroll
    for (int i = 0; i < 2 * Traits::kSlabs; ++i) {  // eight rows each
      const float scale = ReadScale<Traits>(stage, args, place.part * Traits::kGroups + group,
                                            place.row + 8 * i + lane / 4);
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        const int r = (i / 2 * kBlocks + j) * 4 + 2 * (i % 2);
        acc[r] = fmaf(scale, sum[r], acc[r]);
        acc[r + 1] = fmaf(scale, sum[r + 1], acc[r + 1]);
      }
    }
  }
}

// Adds up what the pair of warps that share rows have: each keeps one slab of the two. `buffer` is
// a stage of weights that has been used up. All threads of the block.
template <typename Traits>
__device__ __forceinline__ void MeetPair(const float (&acc)[Traits::kRegisters],
                                         float (&out)[Traits::kOutRegisters], uint8_t* buffer) {
  constexpr int kOut = Traits::kOutRegisters;
  if constexpr (Traits::kKWarps == 1) {
#pragma unroll
    for (int i = 0; i < kOut; ++i) out[i] = acc[i];
  } else {
    const bool second = threadIdx.x / 32 % 2 != 0;
    auto* vectors = reinterpret_cast<float4*>(buffer) + threadIdx.x;
    __syncthreads();  // nobody reads these weights any more
#pragma unroll
    for (int v = 0; v < kOut; v += 4) {
      float give[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) give[i] = second ? acc[v + i] : acc[kOut + v + i];
      vectors[v / 4 * Traits::kThreads] = make_float4(give[0], give[1], give[2], give[3]);
    }
    __syncthreads();  // both of every pair have written
    const float4* others = reinterpret_cast<const float4*>(buffer) + (threadIdx.x ^ 32);
#pragma unroll
    for (int v = 0; v < kOut; v += 4) {
      const float4 take = others[v / 4 * Traits::kThreads];
      const float taken[4] = {take.x, take.y, take.z, take.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) out[v + i] = (second ? acc[kOut + v + i] : acc[v + i]) + taken[i];
    }
  }
}

// Writes a finished tile: bias, residual, bf16 or f32.
template <typename Traits>
__device__ __forceinline__ void WriteTile(const float (&acc)[Traits::kOutRegisters],
                                          const GemmW4A16Args& args, const GemmW4A16Part& part,
                                          int row0) {
  constexpr int kBlocks = Traits::kTokens / 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2 * Traits::kOutSlabs; ++i) {  // eight rows each
    const int base = row0 + threadIdx.x / 32 * (16 * Traits::kOutSlabs) + 8 * i;
    if (base >= args.n) continue;  // n is a multiple of 8
    const float bias = args.bias != nullptr
                           ? __bfloat162float(args.bias[part.matrix_row + base + lane / 4])
                           : 0.0f;
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (8 * j >= part.num_tokens) break;
      float2 addend = make_float2(bias, bias);
      if (args.residual != nullptr) {
        const float2 residual =
            LoadTokenMajor(args.residual + part.first_token * args.residual_row_stride,
                           args.residual_row_stride, part.num_tokens, 8 * j, base);
        addend.x += residual.x;
        addend.y += residual.y;
      }
      const int r = ((i / 2) * kBlocks + j) * 4 + 2 * (i % 2);
      if (args.y_f32 != nullptr) {
        StoreTokenMajorF32(args.y_f32 + part.first_token * args.y_row_stride, args.y_row_stride,
                           part.num_tokens, 8 * j, base, acc[r] + addend.x, acc[r + 1] + addend.y);
      } else {
        StoreTokenMajor(args.y + part.first_token * args.y_row_stride, args.y_row_stride,
                        part.num_tokens, 8 * j, base, acc[r] + addend.x, acc[r + 1] + addend.y);
      }
    }
  }
}

__device__ __forceinline__ void WaitForPriorKernelsIfOverlapped() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WaitForPriorKernels();
#endif
}

// Before the barrier behind which wgmma reads what this thread has copied into shared memory.
__device__ __forceinline__ void ShowToWgmma() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  FenceProxyAsync();
#endif
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocksPerSm)
    GemmW4A16Kernel(const GemmW4A16Args args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  auto* shared_answer =
      reinterpret_cast<volatile uint32_t*>(shared + Traits::kStages * Traits::kStageBytes);
  const int chunks = CeilDiv(args.k, kPackedK);
  const int stages = CeilDiv(args.k, Traits::kStageK);  // of a tile
  const int tiles = CeilDiv(args.n, Traits::kBlockRows);
  const StreamK split = {tiles * stages, static_cast<int>(gridDim.x)};
  const int start = split.Start(blockIdx.x);
  const int end = split.Start(blockIdx.x + 1);
  const GemmW4A16Part all = {0, 0, args.m};
  const auto same_row = [](int row) { return row; };
  const auto stage_of = [&](int unit) {
    return shared + (unit - start) % Traits::kStages * Traits::kStageBytes;
  };

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#endif
  const int ahead = min(end, start + Traits::kStages - 1);
  for (int unit = start; unit < ahead; ++unit) {
    CopyWeights<Traits>(stage_of(unit), args, all, unit / stages, unit % stages, chunks);
    CopyScales<Traits>(stage_of(unit), args, all, unit / stages, unit % stages);
  }
  WaitForPriorKernelsIfOverlapped();
#pragma unroll
  for (int i = 0; i < Traits::kStages - 1; ++i) {
    if (start + i < ahead) {
      CopyTokens<Traits>(stage_of(start + i), args, all, (start + i) % stages, same_row);
    }
    CpAsyncCommit();  // empty groups keep the count
  }

  const PartialJoiner<float, Traits::kOutRegisters, Traits::kThreads, 1> joiner = {
      args.counters,
      args.partials,
      shared_answer,
      static_cast<int>(blockIdx.x),
      0,
      static_cast<int>(threadIdx.x),
      1};
  for (int unit = start; unit < end;) {
    const int tile = unit / stages;
    const int tile_end = (tile + 1) * stages;
    const int segment_end = min(end, tile_end);
    const bool whole_here = unit == tile * stages && segment_end == tile_end;
    const bool worked_before = unit > start;
    float acc[Traits::kRegisters];
#pragma unroll
    for (int i = 0; i < Traits::kRegisters; ++i) acc[i] = 0.0f;
    for (; unit < segment_end; ++unit) {
      // This stage has landed for every thread, and every thread is done with the one before it,
      // which is the one refilled next.
      CpAsyncWait<Traits::kStages - 2>();
      if constexpr (Traits::kUsesWgmma) ShowToWgmma();
      __syncthreads();
      const int next = unit + Traits::kStages - 1;
      if (next < end) {
        CopyWeights<Traits>(stage_of(next), args, all, next / stages, next % stages, chunks);
        CopyScales<Traits>(stage_of(next), args, all, next / stages, next % stages);
        CopyTokens<Traits>(stage_of(next), args, all, next % stages, same_row);
      }
      CpAsyncCommit();
      MultiplyStage<Traits>(acc, stage_of(unit), args);
    }
    float out[Traits::kOutRegisters];
    MeetPair<Traits>(acc, out, stage_of(unit - 1));
    if (whole_here ||
        joiner.Join(out, split.Owner(tile * stages), split.Owner(tile_end - 1), worked_before)) {
      WriteTile<Traits>(out, args, all, tile * Traits::kBlockRows);
    }
  }
}

}  // namespace pingti::kernels
