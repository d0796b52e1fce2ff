// Host face of the weight-only GEMM's kernel: its arguments, its packed layout, its instantiations.
// Read next: kernel.cuh (the kernel), repack.cu (who writes the layout).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/include/pingti/kernels/gemm_w4a16.h"

namespace pingti::kernels {

// Packed weights: blocks of 32 rows x 128 k, k fastest; a block is what one warp multiplies, vector
// v of lane l at 16-byte index 32 v + l. With g = l / 4 and t = l % 4, mma.m16n8k16's registers of
// A for slab s (rows 16 s..) and step c (k 16 c..) are
//   r0 = (g, 2t), (g, 2t + 1)   r1 = (g + 8, ..)   r2 = (g, 2t + 8), (g, 2t + 9)   r3 = (g + 8, ..)
// 4 bits: vector 2 s + c / 4, word c % 4; register i is nibbles i (low half) and i + 4 (high half).
// 8 bits: vector 4 s + c / 2, words 2 (c % 2) + i / 2; register i is bytes i % 2 and i % 2 + 2.
inline constexpr int kPackedRows = 32;
inline constexpr int kPackedK = 128;

inline constexpr int kGemmW4A16MaxTokens = 64;
inline constexpr int kGemmW4A16MaxSms = 160;  // the workspace is sized for this many at most
// Blocks are 256 threads; a launch leaves at most two partial tiles per block, and up to three
// blocks per SM together have at most 64 accumulators for each of 256 threads.
inline constexpr size_t kGemmW4A16CounterBytes = 4096;
inline constexpr size_t kGemmW4A16WorkspaceBytes =
    kGemmW4A16CounterBytes + size_t{kGemmW4A16MaxSms} * 2 * 256 * 64 * sizeof(float);

// Kernel arguments; fields as in GemmW4A16Params.
struct GemmW4A16Args {
  int m;
  int n;
  int k;
  int group_size;  // at most k rounded up to 128
  const __nv_bfloat16* a;
  int64_t a_row_stride;
  const uint4* packed;
  const uint16_t* scales;
  int scale_stride;  // from a group's scales (and zeros) to the next one's; a multiple of 8
  bool scales_are_bf16;
  const uint8_t* zeros;
  const __nv_bfloat16* bias;
  const __nv_bfloat16* residual;
  int64_t residual_row_stride;
  __nv_bfloat16* y;
  float* y_f32;  // in place of y if not null
  int64_t y_row_stride;
  uint32_t* counters;  // [blocks], zero between launches
  float* partials;     // [blocks, 2, 256 * accumulators]
};

// One instantiation, m <= kTokens: kSteps k16-steps between two scales (2, 4 or 8); each token tile
// and bit width lives in its own file.
template <int kBits, int kTokens, int kSteps>
cudaError_t LaunchGemmW4A16As(const GemmW4A16Args& args, cudaStream_t stream);

}  // namespace pingti::kernels
