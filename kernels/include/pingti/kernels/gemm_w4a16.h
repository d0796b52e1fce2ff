// Weight-only quantized matrix product (W4A16, W8A16) with group scales:
//   y[m, n] = bf16(bias[n] + residual[m, n] + sum over groups g of
//                  scale[g, n] * sum over k in g of a[m, k] (q[n, k] - zero[g, n]))
// q is 4 bits (0..15) or 8 bits (0..255), exact in bf16 after the zero is subtracted; products are
// bf16, sums and scales f32. Meant for few tokens: the weights are read once per 64 tokens. For
// many, LaunchDequantizeWeights turns rows of weights into bf16, for a product of bf16 matrices.
// Runs on sm_80 and later. Thread-safe: launches share nothing but the workspace they are given.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace pingti::kernels {

enum class WeightBits { k4, k8 };
enum class ScaleType { kF16, kBf16 };

// How a checkpoint packs q into 32-bit words, element i of a word at bits [i * bits, (i + 1) *
// bits).
enum class WeightLayout {
  kGptq,  // [k / p, n]: word (r, c) holds k = p r + i of column c. p = 32 / bits.
  kAwq,   // [k, n / p]: word (r, c) holds columns p c + {0, 2, 4, 6, 1, 3, 5, 7}[i]. 4 bits only.
  kRowMajor,  // [n, k / p]: word (r, c) holds k = p c + i of row r (compressed-tensors).
};

// Bytes of repacked weights [n, k]: rows padded to 32, columns to 128.
size_t PackedWeightBytes(int n, int k, WeightBits bits);

// Repacks checkpoint weights once, at load. All pointers are device memory.
struct RepackWeightsParams {
  int n = 0;
  int k = 0;
  WeightBits bits = WeightBits::k4;
  WeightLayout layout = WeightLayout::kGptq;
  const uint32_t* source = nullptr;  // as the layout says, contiguous
  void* packed = nullptr;            // PackedWeightBytes(), 16-byte aligned
};
cudaError_t LaunchRepackWeights(const RepackWeightsParams& params, cudaStream_t stream);

// Unpacks zero points to bytes [num_groups, n].
struct UnpackZerosParams {
  int n = 0;
  int num_groups = 0;
  WeightBits bits = WeightBits::k4;
  // kGptq and kAwq: [num_groups, n / p], packed along n as the weights' layout packs columns (GPTQ
  // in plain order). kRowMajor: [n / p, num_groups], packed along n in plain order.
  WeightLayout layout = WeightLayout::kGptq;
  const uint32_t* source = nullptr;
  int offset = 0;  // added to every zero, modulo 2^bits: 1 for GPTQ files that store zero - 1
  uint8_t* zeros = nullptr;  // [num_groups, n]
};
cudaError_t LaunchUnpackZeros(const UnpackZerosParams& params, cudaStream_t stream);

// Turns 16-bit scales [n, num_groups] (compressed-tensors) into [num_groups, n].
cudaError_t LaunchTransposeScales(const void* source, void* scales, int n, int num_groups,
                                  cudaStream_t stream);

// out[r, k] = bf16(scale[g, first_row + r] * (q[first_row + r, k] - zero[g, first_row + r])), g =
// k / group_size.
struct DequantizeWeightsParams {
  int n = 0;  // rows of the whole matrix
  int k = 0;  // a multiple of 8
  WeightBits bits = WeightBits::k4;
  int group_size = 128;          // a multiple of 16, or at least k (one group)
  const void* packed = nullptr;  // from LaunchRepackWeights
  const void* scales = nullptr;  // and zeros: as in GemmW4A16Params
  ScaleType scale_type = ScaleType::kF16;
  const uint8_t* zeros = nullptr;
  int first_row = 0;  // a multiple of 32
  int num_rows = 0;
  __nv_bfloat16* out = nullptr;  // [num_rows, k], 16-byte aligned
};
// Errors as of LaunchGemmW4A16.
cudaError_t LaunchDequantizeWeights(const DequantizeWeightsParams& params, cudaStream_t stream);

// Columns are contiguous; row strides count elements.
struct GemmW4A16Params {
  int m = 0;  // tokens
  int n = 0;  // output channels, a multiple of 8
  int k = 0;  // input channels, a multiple of 8
  WeightBits bits = WeightBits::k4;
  int group_size = 128;  // 32, 64, a multiple of 128, or at least k (one group)

  const __nv_bfloat16* a = nullptr;  // [m, k], 16-byte aligned
  int64_t a_row_stride = 0;          // multiple of 8
  const void* packed = nullptr;      // from LaunchRepackWeights
  const void* scales = nullptr;      // [ceil(k / group_size), n], 2-byte elements
  ScaleType scale_type = ScaleType::kF16;
  const uint8_t* zeros = nullptr;  // [ceil(k / group_size), n], or null: 8 (4 bits), 128 (8 bits)

  const __nv_bfloat16* bias = nullptr;      // [n] or null
  const __nv_bfloat16* residual = nullptr;  // [m, n] or null, 4-byte aligned; may be y itself
  int64_t residual_row_stride = 0;          // even
  __nv_bfloat16* y = nullptr;               // [m, n], 4-byte aligned; null if y_f32 is not
  float* y_f32 = nullptr;                   // the same, not rounded, as for logits; or null
  int64_t y_row_stride = 0;                 // even

  // Scratch of GemmW4A16WorkspaceBytes(), 256-byte aligned, zeroed once after allocation. Every
  // launch leaves it ready for the next; concurrent launches need one each.
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

size_t GemmW4A16WorkspaceBytes();

// Neither allocates nor synchronises; an empty m or n does nothing. cudaErrorInvalidValue: a broken
// condition above; cudaErrorNotSupported: an unsupported group size or a device older than sm_80.
cudaError_t LaunchGemmW4A16(const GemmW4A16Params& params, cudaStream_t stream);

}  // namespace pingti::kernels
