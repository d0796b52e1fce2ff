// Weight-only GEMM for few tokens: the formula of gemm_w4a16.h, 4- or 8-bit weights, bf16 tokens.
//
//   a [m, k] bf16, packed weights (gemm_w4a16.h), scales [groups, n] f16 or bf16, zeros [groups, n]
//   u8, y [m, n] bf16. q - zero is exact in bf16; a group's products are summed in f32, scaled in
//   f32 and added up in f32: y is within one bf16 ulp of float64 where nothing cancels.
// Mapping: stream-K over tiles of 256 (or 128) weight rows in chunks of 128 k (stream_k.h), one or
//   two blocks an SM. Each of eight warps owns 32 (or 16) rows: weights are mma.m16n8k16's A, made
//   in registers from packed words; tokens are B, shared by the block through ldmatrix. Cut tiles
//   meet in join_partials.cuh, always added in the same order.
// Shared memory: kStages of weights (a lane reads only what it copied itself), swizzled tokens,
// scales
//   and zeros, filled by cp.async; 160 KB an SM (two blocks: 220 KB, which sm_80 runs as one).
// Bound: n k bits / 8 bytes of weights over memory bandwidth; about 1.4 instructions a weight and
// lane. sm_80 and later; on sm_90a the first stages' weights come before the previous kernel has
// ended. Source: PTX ISA (mma.sync, ldmatrix, cp.async, griddepcontrol). Read next:
// weight_repack.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/common/cp_async.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/gemm/gemm_w4a16.h"
#include "kernels/gemm/join_partials.cuh"
#include "kernels/gemm/stream_k.h"
#include "kernels/gemm/token_major.cuh"

namespace pingti::kernels {

template <int kBits_, int kTokens_, int kSteps_>
struct GemmW4A16Traits {
  static constexpr int kBits = kBits_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kSteps = kSteps_;      // k16-steps a scale covers within a chunk
  static constexpr int kGroups = 8 / kSteps;  // scales a chunk and row
  static constexpr int kWarps = 8;
  static constexpr int kThreads = 32 * kWarps;
  // Measured on an H100: with few tokens two blocks an SM hide the latency of unpacking; 8-bit
  // weights then prefer the smaller tile of one slab a warp, 4-bit weights that of two slabs, which
  // share every fragment of tokens that ldmatrix brings.
  static constexpr int kSlabs = kBits == 8 && kTokens == 16 ? 1 : 2;
  static constexpr int kBlocksPerSm = kTokens == 16 ? 2 : 1;
  static constexpr int kBlockRows = 16 * kSlabs * kWarps;
  static constexpr int kVectors = kSlabs * kBits / 2;  // 16-byte weight vectors a lane and chunk
  static constexpr int kRegisters = kSlabs * kTokens / 2;  // accumulators a thread

  static constexpr int kWeightBytes = kThreads * kVectors * 16;
  static constexpr int kTokenBytes = kTokens * kPackedK * 2;
  static constexpr int kScaleBytes = kGroups * kBlockRows * 2;
  static constexpr int kZeroBytes = kGroups * kBlockRows;
  static constexpr int kStageBytes = kWeightBytes + kTokenBytes + kScaleBytes + kZeroBytes;
  static constexpr int kSharedBudget = (kBlocksPerSm == 1 ? 160 : 220 / kBlocksPerSm) * 1024;
  static constexpr int kStages = kSharedBudget / kStageBytes < 8 ? kSharedBudget / kStageBytes : 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + 16;

  static_assert(kBits == 4 || kBits == 8);
  static_assert(kTokens % 16 == 0 && kTokens <= kGemmW4A16MaxTokens, "ldmatrix.x4 takes 16 tokens");
  static_assert(kBlocksPerSm * kRegisters <= 64, "what the workspace is sized for");
  static_assert(kStages >= 3, "one stage in use, two in flight");
};

// cp.async of 8 bytes, zero-filled when not `inside`.
__device__ __forceinline__ void CpAsync8(void* smem, const void* global, bool inside) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(SmemAddress(smem)), "l"(global),
               "r"(inside ? 8 : 0)
               : "memory");
}

__device__ __forceinline__ uint32_t SubtractBf16x2(uint32_t x, uint32_t y) {
  const __nv_bfloat162 difference = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&x),
                                            *reinterpret_cast<const __nv_bfloat162*>(&y));
  return *reinterpret_cast<const uint32_t*>(&difference);
}

// (value & mask) | magic in one instruction.
template <uint32_t kMask, uint32_t kMagic>
__device__ __forceinline__ uint32_t MaskedMagic(uint32_t value) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(out) : "r"(value), "n"(kMask), "n"(kMagic));
  return out;
}

// One A fragment (16 rows x 16 k) out of packed words. 0x4300 is bf16 128, whose unit in the last
// place is 1: or-ing an integer below 128 into it adds the integer. `offset` is per row half what
// to subtract: 128 + zero (4 bits) or zero - 128 (8 bits), twice.
template <int kBits>
__device__ __forceinline__ void Unpack(uint32_t (&a)[4], const uint32_t* words,
                                       const uint32_t (&offset)[2]) {
  if constexpr (kBits == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      a[i] =
          SubtractBf16x2(MaskedMagic<0x000F000F, 0x43004300>(words[0] >> (4 * i)), offset[i % 2]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // The byte is signed: its low seven bits, less 128 if its sign bit is set. 0x4380 is 256.
      const uint32_t word = words[i / 2] >> (8 * (i % 2));
      const uint32_t value = SubtractBf16x2(MaskedMagic<0x007F007F, 0x43004300>(word),
                                            MaskedMagic<0x00800080, 0x43004300>(word));
      a[i] = SubtractBf16x2(value, offset[i % 2]);
    }
  }
}

// Byte offset of 16-byte column `column` of token row `row`: 256-byte rows, swizzled so that the
// eight rows ldmatrix reads at once lie in different banks.
__device__ __forceinline__ int TokenOffset(int row, int column) {
  return row * (kPackedK * 2) + 16 * (column ^ (row % 8));
}

// Copies a stage's weights: the warp's own block of this chunk.
template <typename Traits>
__device__ __forceinline__ void CopyWeights(uint8_t* stage, const GemmW4A16Args& args, int tile,
                                            int chunk, int chunks) {
  const int row = tile * Traits::kBlockRows + threadIdx.x / 32 * (16 * Traits::kSlabs);
  const bool inside = row < args.n;
  const int64_t block = inside ? row / kPackedRows : 0;
  const int slab = row % kPackedRows / 16;
  const uint4* source = args.packed + (block * chunks + chunk) * (32 * Traits::kBits) +
                        32 * (slab * Traits::kBits / 2) + threadIdx.x % 32;
#pragma unroll
  for (int v = 0; v < Traits::kVectors; ++v) {
    CpAsync16(stage + (v * Traits::kThreads + threadIdx.x) * 16, source + 32 * v, inside);
  }
}

// Copies a stage's scales and zeros (weights too, in what they depend on) ...
template <typename Traits>
__device__ __forceinline__ void CopyScales(uint8_t* stage, const GemmW4A16Args& args, int tile,
                                           int chunk) {
  constexpr int kThreadsPerGroup = Traits::kBlockRows / 8;
  const int group = threadIdx.x / kThreadsPerGroup;
  if (group >= Traits::kGroups) return;
  const int row = tile * Traits::kBlockRows + 8 * (threadIdx.x % kThreadsPerGroup);
  const int k = chunk * kPackedK + group * (16 * Traits::kSteps);
  const bool inside = row < args.n && k < args.k;
  const int64_t index = inside ? static_cast<int64_t>(k / args.group_size) * args.n + row : 0;
  uint8_t* scales = stage + Traits::kWeightBytes + Traits::kTokenBytes;
  CpAsync16(scales + threadIdx.x * 16, args.scales + index, inside);
  if (args.zeros != nullptr) {
    CpAsync8(scales + Traits::kScaleBytes + threadIdx.x * 8, args.zeros + index, inside);
  }
}

// ... and its tokens, which the kernel before this one may have written.
template <typename Traits>
__device__ __forceinline__ void CopyTokens(uint8_t* stage, const GemmW4A16Args& args, int chunk) {
  constexpr int kColumns = kPackedK * 2 / 16;
#pragma unroll
  for (int i = 0; i < Traits::kTokens * kColumns / Traits::kThreads; ++i) {
    const int index = i * Traits::kThreads + threadIdx.x;
    const int row = index / kColumns;
    const int column = index % kColumns;
    const int k = chunk * kPackedK + column * 8;
    const bool inside = row < args.m && k < args.k;
    CpAsync16(stage + Traits::kWeightBytes + TokenOffset(row, column),
              args.a + (inside ? row * args.a_row_stride + k : 0), inside);
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

// acc += scale * (weights x tokens) over one chunk. acc[slab][token / 8][4], flattened.
template <typename Traits>
__device__ __forceinline__ void MultiplyChunk(float (&acc)[Traits::kRegisters],
                                              const uint8_t* stage, const GemmW4A16Args& args) {
  constexpr int kBlocks = Traits::kTokens / 8;
  constexpr int kWordsPerStep = Traits::kBits / 4;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * (16 * Traits::kSlabs);
  const uint4* weights = reinterpret_cast<const uint4*>(stage) + threadIdx.x;
  const uint8_t* tokens = stage + Traits::kWeightBytes;

#pragma unroll
  for (int group = 0; group < Traits::kGroups; ++group) {
    uint32_t offset[Traits::kSlabs][2];
#pragma unroll
    for (int i = 0; i < 2 * Traits::kSlabs; ++i) {
      offset[i / 2][i % 2] = ReadOffset<Traits>(stage, args, group, warp_row + 8 * i + lane / 4);
    }
    float sum[Traits::kRegisters];
#pragma unroll
    for (int i = 0; i < Traits::kRegisters; ++i) sum[i] = 0.0f;
    uint4 vector[Traits::kSlabs];
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
      uint32_t b[kBlocks / 2][4];
#pragma unroll
      for (int j = 0; j < kBlocks / 2; ++j) {
        const int row = 16 * j + lane % 8 + lane / 16 * 8;
        LoadMatrix4(b[j], tokens + TokenOffset(row, 2 * c + lane / 8 % 2));
      }
#pragma unroll
      for (int s = 0; s < Traits::kSlabs; ++s) {
        const uint32_t words[4] = {vector[s].x, vector[s].y, vector[s].z, vector[s].w};
        uint32_t a[4];
        Unpack<Traits::kBits>(a, words + word % 4, offset[s]);
#pragma unroll
        for (int j = 0; j < kBlocks; ++j) {
          Mma16816<__nv_bfloat16>(&sum[(s * kBlocks + j) * 4], a, b[j / 2][2 * (j % 2)],
                                  b[j / 2][2 * (j % 2) + 1]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 2 * Traits::kSlabs; ++i) {  // eight rows each
      const float scale = ReadScale<Traits>(stage, args, group, warp_row + 8 * i + lane / 4);
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        const int r = (i / 2 * kBlocks + j) * 4 + 2 * (i % 2);
        acc[r] = fmaf(scale, sum[r], acc[r]);
        acc[r + 1] = fmaf(scale, sum[r + 1], acc[r + 1]);
      }
    }
  }
}

// Writes a finished tile: bias, residual, bf16.
template <typename Traits>
__device__ __forceinline__ void WriteTile(const float (&acc)[Traits::kRegisters],
                                          const GemmW4A16Args& args, int row0) {
  constexpr int kBlocks = Traits::kTokens / 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2 * Traits::kSlabs; ++i) {  // eight rows each
    const int base = row0 + threadIdx.x / 32 * (16 * Traits::kSlabs) + 8 * i;
    if (base >= args.n) continue;  // n is a multiple of 8
    const float bias = args.bias != nullptr ? __bfloat162float(args.bias[base + lane / 4]) : 0.0f;
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (8 * j >= args.m) break;
      float2 addend = make_float2(bias, bias);
      if (args.residual != nullptr) {
        const float2 residual =
            LoadTokenMajor(args.residual, args.residual_row_stride, args.m, 8 * j, base);
        addend.x += residual.x;
        addend.y += residual.y;
      }
      const int r = ((i / 2) * kBlocks + j) * 4 + 2 * (i % 2);
      StoreTokenMajor(args.y, args.y_row_stride, args.m, 8 * j, base, acc[r] + addend.x,
                      acc[r + 1] + addend.y);
    }
  }
}

__device__ __forceinline__ void WaitForPriorKernelsIfOverlapped() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WaitForPriorKernels();
#endif
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocksPerSm)
    GemmW4A16Kernel(const GemmW4A16Args args) {
  extern __shared__ __align__(16) uint8_t shared[];
  auto* shared_answer =
      reinterpret_cast<volatile uint32_t*>(shared + Traits::kStages * Traits::kStageBytes);
  const int chunks = (args.k + kPackedK - 1) / kPackedK;
  const int tiles = (args.n + Traits::kBlockRows - 1) / Traits::kBlockRows;
  const StreamK split = {tiles * chunks, static_cast<int>(gridDim.x)};
  const int start = split.Start(blockIdx.x);
  const int end = split.Start(blockIdx.x + 1);
  const auto stage_of = [&](int unit) {
    return shared + (unit - start) % Traits::kStages * Traits::kStageBytes;
  };

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#endif
  const int ahead = min(end, start + Traits::kStages - 1);
  for (int unit = start; unit < ahead; ++unit) {
    CopyWeights<Traits>(stage_of(unit), args, unit / chunks, unit % chunks, chunks);
    CopyScales<Traits>(stage_of(unit), args, unit / chunks, unit % chunks);
  }
  WaitForPriorKernelsIfOverlapped();
#pragma unroll
  for (int i = 0; i < Traits::kStages - 1; ++i) {
    if (start + i < ahead) CopyTokens<Traits>(stage_of(start + i), args, (start + i) % chunks);
    CpAsyncCommit();  // empty groups keep the count
  }

  const PartialJoiner<float, Traits::kRegisters, Traits::kThreads, 1> joiner = {
      args.counters,
      args.partials,
      shared_answer,
      static_cast<int>(blockIdx.x),
      0,
      static_cast<int>(threadIdx.x),
      1};
  for (int unit = start; unit < end;) {
    const int tile = unit / chunks;
    const int tile_end = (tile + 1) * chunks;
    const int segment_end = min(end, tile_end);
    const bool whole_here = unit == tile * chunks && segment_end == tile_end;
    const bool worked_before = unit > start;
    float acc[Traits::kRegisters];
#pragma unroll
    for (int i = 0; i < Traits::kRegisters; ++i) acc[i] = 0.0f;
    for (; unit < segment_end; ++unit) {
      // This stage has landed for every thread, and every thread is done with the one before it,
      // which is the one refilled next.
      CpAsyncWait<Traits::kStages - 2>();
      __syncthreads();
      const int next = unit + Traits::kStages - 1;
      if (next < end) {
        CopyWeights<Traits>(stage_of(next), args, next / chunks, next % chunks, chunks);
        CopyScales<Traits>(stage_of(next), args, next / chunks, next % chunks);
        CopyTokens<Traits>(stage_of(next), args, next % chunks);
      }
      CpAsyncCommit();
      MultiplyChunk<Traits>(acc, stage_of(unit), args);
    }
    if (whole_here ||
        joiner.Join(acc, split.Owner(tile * chunks), split.Owner(tile_end - 1), worked_before)) {
      WriteTile<Traits>(acc, args, tile * Traits::kBlockRows);
    }
  }
}

}  // namespace pingti::kernels
