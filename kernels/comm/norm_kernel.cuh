// All-reduce with residual add, RMSNorm and int8 quantization: see all_reduce.h for the formula,
// exchange.cuh for how ranks exchange.
//
// Grid: a cluster of 1 to 8 blocks of up to 512 threads for each row; clusters go through the rows
//   in steps. A thread keeps 1 or 2 vectors of eight elements of a row in registers. One reduction
//   gives both the sum of squares and max |h * weight|, as in kernels/norm/rms_norm.cu.
// Accumulation: float. Tolerance: the residual bit for bit (the sum is rounded to bf16, then added
//   and rounded again, as by two kernels); out within one rounding; quantized within one step.
// Bytes over NVLink as sum_kernel.cuh; of device memory, hidden * (4 with residual + 2 + 2 out + 1
//   quantized). Bound by one (two) NVLink latencies while small.
// Architectures: as sum_kernel.cuh; clusters on sm_90 only.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/comm/exchange.cuh"
#include "kernels/comm/launch.h"
#include "kernels/comm/row_stats.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/vec8.cuh"

namespace pingti::kernels {

// Which vectors of a row are this thread's.
struct RowShare {
  int first;  // the others follow blockDim.x apart
  int vecs;   // of the row

  __device__ int At(int i) const { return first + i * static_cast<int>(blockDim.x); }
  __device__ bool Has(int i) const { return At(i) < vecs; }
};

__device__ __forceinline__ uint4 LoadVector(const void* matrix, int64_t stride, int row, int j) {
  return *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(matrix) + row * stride +
                                         j * 8);
}
__device__ __forceinline__ void StoreVector(void* matrix, int64_t stride, int row, int j,
                                            uint4 value) {
  *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(matrix) + row * stride + j * 8) = value;
}

// h of one vector: the sum over ranks plus the residual, as the residual stream keeps it.
__device__ __forceinline__ uint4 AddResidual(uint4 sum, uint4 residual) {
  float h[8];
  float before[8];
  Unpack8<__nv_bfloat16>(sum, h);
  Unpack8<__nv_bfloat16>(residual, before);
#pragma unroll
  for (int e = 0; e < 8; ++e) h[e] += before[e];
  return Pack8<__nv_bfloat16>(h);
}

// Pushes this thread's vectors of one row.
template <int kVectors, class Exchange>
__device__ __forceinline__ void PushRow(const RmsNormParams& p, int row, const RowShare& share,
                                        Exchange* exchange) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (row < p.num_tokens && share.Has(i)) {
      exchange->Push(row, share.At(i), LoadVector(p.x, p.x_stride, row, share.At(i)));
    }
    exchange->ArmNext();
  }
}

// Two shots: sums this rank's stretch of one row and hands it out. `thread` of the cluster.
template <class Exchange>
__device__ __forceinline__ void RelayRow(const NormArgs& p, int row, int thread,
                                         Exchange* exchange) {
  if (row >= p.norm.num_tokens) return;
  for (int i = thread; i < exchange->stretch_count(); i += p.cluster * blockDim.x) {
    const int j = exchange->stretch_first() + i;
    const uint4 own = LoadVector(p.norm.x, p.norm.x_stride, row, j);
    exchange->template Relay<__nv_bfloat16>(row, j, own);
  }
}

// Sums, normalises and writes one row. What does not depend on peers is loaded before the waits.
template <int kVectors, class Exchange>
__device__ __forceinline__ void FinishRow(const RmsNormParams& p, int row, const RowShare& share,
                                          Exchange* exchange, RowStats* row_stats) {
  uint4 old[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    old[i] = make_uint4(0, 0, 0, 0);
    if (share.Has(i) && p.residual) {
      old[i] = LoadVector(p.residual, p.residual_stride, row, share.At(i));
    }
  }
  uint4 raw[kVectors] = {};  // h
  SumMax stats{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (!share.Has(i)) continue;
    const int j = share.At(i);
    float w[8];
    Load8(p.weight + j * 8, w);
    const uint4 own = LoadVector(p.x, p.x_stride, row, j);
    raw[i] = exchange->template Take<__nv_bfloat16>(row, j, own);
    if (p.residual) {
      raw[i] = AddResidual(raw[i], old[i]);
      StoreVector(p.residual, p.residual_stride, row, j, raw[i]);
    }
    float h[8];
    Unpack8<__nv_bfloat16>(raw[i], h);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      stats.sum += h[e] * h[e];
      stats.max = fmaxf(stats.max, fabsf(h[e] * w[e]));
    }
  }
  stats = row_stats->Reduce(stats);
  const float inverse_rms = rsqrtf(stats.sum / p.hidden + p.eps);
  const float max = stats.max * inverse_rms;
  const float inverse_scale = max > 0.0f ? 127.0f / max : 0.0f;
  if (p.quantized && share.first == 0) p.scales[row] = max / 127.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (!share.Has(i)) continue;
    const int j = share.At(i);
    float y[8];
    float w[8];
    Unpack8<__nv_bfloat16>(raw[i], y);
    Load8(p.weight + j * 8, w);
#pragma unroll
    for (int e = 0; e < 8; ++e) y[e] = y[e] * w[e] * inverse_rms;
    if (p.out) StoreVector(p.out, p.out_stride, row, j, Pack8<__nv_bfloat16>(y));
    if (p.quantized) {
      *reinterpret_cast<uint2*>(p.quantized + row * p.quantized_stride + j * 8) =
          Round8(y, inverse_scale);
    }
  }
}

template <int kRanks, int kVectors, bool kTwoShots>
__global__ void __launch_bounds__(kMaxCommThreads, CommBlocksPerSm(kRanks))
    NormKernel(const __grid_constant__ NormArgs p) {
  __shared__ RowStatsShared shared;
  RowStats row_stats(&shared, p.cluster);
  const int vecs = p.norm.hidden / 8;
  const int row_thread = row_stats.block_in_row() * blockDim.x + threadIdx.x;
  const RowShare share{
      static_cast<int>(row_stats.block_in_row() * kVectors * blockDim.x + threadIdx.x), vecs};
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (threadIdx.x % 4 == 0 && share.Has(i)) PrefetchLine(p.norm.weight + share.At(i) * 8);
  }
  WaitForPriorKernels();
#endif
  const int first_row = blockIdx.x / p.cluster;
  const int step = gridDim.x / p.cluster;
  Exchange<kRanks, kTwoShots> exchange(p.link, p.norm.num_tokens, vecs);
  PushRow<kVectors>(p.norm, first_row, share, &exchange);
  exchange.Arrive();
  row_stats.WaitForCluster();
  if constexpr (kTwoShots) {
    PushRow<kVectors>(p.norm, first_row + step, share, &exchange);
    RelayRow(p, first_row, row_thread, &exchange);
  }
  for (int row = first_row; row < p.norm.num_tokens; row += step) {
    PushRow<kVectors>(p.norm, row + (kTwoShots ? 2 : 1) * step, share, &exchange);
    if constexpr (kTwoShots) RelayRow(p, row + step, row_thread, &exchange);
    FinishRow<kVectors>(p.norm, row, share, &exchange, &row_stats);
  }
  exchange.Finish();
}

}  // namespace pingti::kernels
