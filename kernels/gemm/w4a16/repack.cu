// Turns checkpoint layouts of 4-bit and 8-bit weights, zeros and scales into what the weight-only
// GEMM reads (launch.h: the packed layout). Runs once, at load; plain gathers, one output word
// a thread. Reads every source word a few times and writes n k bits / 8 bytes.
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/status.h"
#include "kernels/gemm/w4a16/launch.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;

// Where AWQ keeps column c of each eight within a word: inverse of {0, 2, 4, 6, 1, 3, 5, 7}.
__device__ __forceinline__ int AwqPosition(int column) { return column % 8 / 2 + (column % 2) * 4; }

// Element `index` of a row-major matrix packed `32 / bits` a word along its columns.
__device__ __forceinline__ uint32_t Element(const uint32_t* source, int64_t word, int position,
                                            int bits) {
  return (source[word] >> (position * bits)) & ((1u << bits) - 1);
}

// q[row, k] of the checkpoint; padding reads as 0.
__device__ uint32_t ReadWeight(const RepackWeightsParams& p, int bits, int row, int k) {
  if (row >= p.n || k >= p.k) return 0;
  const int per_word = 32 / bits;
  switch (p.layout) {
    case WeightLayout::kGptq:
      return Element(p.source, static_cast<int64_t>(k / per_word) * p.n + row, k % per_word, bits);
    case WeightLayout::kAwq:
      return Element(p.source, static_cast<int64_t>(k) * (p.n / 8) + row / 8, AwqPosition(row),
                     bits);
    case WeightLayout::kRowMajor:
      return Element(p.source,
                     static_cast<int64_t>(row) * ((p.k + per_word - 1) / per_word) + k / per_word,
                     k % per_word, bits);
  }
  return 0;
}

__global__ void RepackKernel(RepackWeightsParams p, int bits, int64_t words) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= words) return;
  const int chunks = (p.k + kPackedK - 1) / kPackedK;
  const int word = static_cast<int>(index % 4);
  const int lane = static_cast<int>(index / 4 % 32);
  const int vector = static_cast<int>(index / 128 % bits);
  const int64_t block = index / (128 * bits);
  const int row0 = static_cast<int>(block / chunks) * kPackedRows;
  const int k0 = static_cast<int>(block % chunks) * kPackedK;
  const int slab = vector / (bits / 2);
  const int slab_word = vector % (bits / 2) * 4 + word;  // 0..2 bits - 1: one or two words per step
  const int step = bits == 4 ? slab_word : slab_word / 2;

  uint32_t out = 0;
  for (int e = 0; e < 32 / bits; ++e) {
    // Register and half of mma's A fragment that element e of this word becomes.
    const int reg = bits == 4 ? e % 4 : 2 * (slab_word % 2) + e % 2;
    const int half = bits == 4 ? e / 4 : e / 2;
    const int row = row0 + 16 * slab + lane / 4 + 8 * (reg % 2);
    const int k = k0 + 16 * step + 2 * (lane % 4) + 8 * (reg / 2) + half;
    uint32_t q = ReadWeight(p, bits, row, k);
    if (bits == 8) q ^= 0x80;  // kept as signed bytes
    out |= q << (e * bits);
  }
  static_cast<uint32_t*>(p.packed)[index] = out;
}

__global__ void UnpackZerosKernel(UnpackZerosParams p, int bits) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= int64_t{p.num_groups} * p.n) return;
  const int group = static_cast<int>(index / p.n);
  const int row = static_cast<int>(index % p.n);
  const int per_word = 32 / bits;
  const int64_t word = p.layout == WeightLayout::kRowMajor
                           ? static_cast<int64_t>(row / per_word) * p.num_groups + group
                           : static_cast<int64_t>(group) * (p.n / per_word) + row / per_word;
  const int position = p.layout == WeightLayout::kAwq ? AwqPosition(row) : row % per_word;
  p.zeros[index] = static_cast<uint8_t>((Element(p.source, word, position, bits) + p.offset) &
                                        ((1u << bits) - 1));
}

__global__ void TransposeScalesKernel(const uint16_t* source, uint16_t* scales, int n,
                                      int num_groups) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= int64_t{num_groups} * n) return;
  scales[index] = source[index % n * num_groups + index / n];
}

unsigned Blocks(int64_t size) { return static_cast<unsigned>((size + kThreads - 1) / kThreads); }

int Bits(WeightBits bits) { return bits == WeightBits::k4 ? 4 : 8; }

}  // namespace

size_t PackedWeightBytes(int n, int k, WeightBits bits) {
  return size_t(CeilDiv(n, kPackedRows)) * CeilDiv(k, kPackedK) * kPackedRows * kPackedK *
         Bits(bits) / 8;
}

cudaError_t LaunchRepackWeights(const RepackWeightsParams& params, cudaStream_t stream) {
  const int bits = Bits(params.bits);
  const int per_word = 32 / bits;
  if (params.n < 0 || params.k < 0) return cudaErrorInvalidValue;
  if (params.layout == WeightLayout::kAwq && (bits != 4 || params.n % 8 != 0)) {
    return cudaErrorNotSupported;
  }
  if (params.layout == WeightLayout::kGptq && params.k % per_word != 0) {
    return cudaErrorInvalidValue;
  }
  if (params.n == 0 || params.k == 0) return cudaSuccess;
  if (params.source == nullptr || params.packed == nullptr) return cudaErrorInvalidValue;
  const int64_t words =
      static_cast<int64_t>(PackedWeightBytes(params.n, params.k, params.bits) / 4);
  RepackKernel<<<Blocks(words), kThreads, 0, stream>>>(params, bits, words);
  return cudaGetLastError();
}

cudaError_t LaunchUnpackZeros(const UnpackZerosParams& params, cudaStream_t stream) {
  const int bits = Bits(params.bits);
  if (params.n < 0 || params.num_groups < 0 || params.n % (32 / bits) != 0) {
    return cudaErrorInvalidValue;
  }
  if (params.layout == WeightLayout::kAwq && bits != 4) return cudaErrorNotSupported;
  const int64_t size = int64_t{params.n} * params.num_groups;
  if (size == 0) return cudaSuccess;
  if (params.source == nullptr || params.zeros == nullptr) return cudaErrorInvalidValue;
  UnpackZerosKernel<<<Blocks(size), kThreads, 0, stream>>>(params, bits);
  return cudaGetLastError();
}

cudaError_t LaunchTransposeScales(const void* source, void* scales, int n, int num_groups,
                                  cudaStream_t stream) {
  if (n < 0 || num_groups < 0) return cudaErrorInvalidValue;
  const int64_t size = int64_t{n} * num_groups;
  if (size == 0) return cudaSuccess;
  if (source == nullptr || scales == nullptr) return cudaErrorInvalidValue;
  TransposeScalesKernel<<<Blocks(size), kThreads, 0, stream>>>(
      static_cast<const uint16_t*>(source), static_cast<uint16_t*>(scales), n, num_groups);
  return cudaGetLastError();
}

}  // namespace pingti::kernels
