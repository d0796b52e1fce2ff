// Widens int8 pages: see kv_dequantize.h. Grid: (page of a sequence, sequence, KV head); a block
// whose page lies past the sequence's length ends at once. A thread widens 16 values at a time: one
// 16-byte load, one scale, two 16-byte stores. Bytes: 1 + 4 / head_dim read and 2 written for each
// key and value element, bound by memory. A page that several sequences share is written by each of
// them with the same bytes. Tolerance: one rounding to bf16.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).

#include <cuda_bf16.h>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/kv_dequantize.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kValues = 16;  // a thread and turn

__device__ __forceinline__ uint32_t TwoBf16(float a, float b) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(a, b);
  return reinterpret_cast<const uint32_t&>(two);
}

__device__ __forceinline__ void Widen(const int8_t* from, float scale, __nv_bfloat16* to) {
  const int4 raw = *reinterpret_cast<const int4*>(from);
  const int words[4] = {raw.x, raw.y, raw.z, raw.w};
  uint32_t out[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float x[4];
#pragma unroll
    for (int b = 0; b < 4; ++b) x[b] = scale * static_cast<float>((words[i] << (24 - 8 * b)) >> 24);
    out[2 * i] = TwoBf16(x[0], x[1]);
    out[2 * i + 1] = TwoBf16(x[2], x[3]);
  }
  auto* target = reinterpret_cast<uint4*>(to);
  target[0] = make_uint4(out[0], out[1], out[2], out[3]);
  target[1] = make_uint4(out[4], out[5], out[6], out[7]);
}

__global__ void __launch_bounds__(kThreads) DequantizePagesKernel(const DequantizeKvPagesParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int seq = blockIdx.y;
  const int head = blockIdx.z;
  const int tokens = p.kv_len[seq] - static_cast<int>(blockIdx.x) * p.kv.page_tokens;
  if (tokens <= 0) return;
  const int page = p.kv.block_table[seq * p.kv.block_table_stride + blockIdx.x];
  const int64_t from = page * p.kv.page_stride + head * p.kv.head_stride;
  const int64_t scales = page * p.kv.scale_page_stride + head * p.kv.scale_head_stride;
  const int64_t to = (int64_t{page} * p.kv.num_kv_heads + head) * p.kv.head_stride;
  const int count = min(tokens, p.kv.page_tokens) * p.kv.head_dim;
  for (int i = threadIdx.x * kValues; i < count; i += kThreads * kValues) {
    const int token = i / p.kv.head_dim;
    Widen(static_cast<const int8_t*>(p.kv.k) + from + i, p.kv.k_scale[scales + token],
          static_cast<__nv_bfloat16*>(p.k_out) + to + i);
    Widen(static_cast<const int8_t*>(p.kv.v) + from + i, p.kv.v_scale[scales + token],
          static_cast<__nv_bfloat16*>(p.v_out) + to + i);
  }
}

}  // namespace

cudaError_t LaunchDequantizeKvPages(const DequantizeKvPagesParams& p, cudaStream_t stream) {
  if (p.kv.dtype != DType::kI8 || p.kv.head_dim <= 0 || p.kv.head_dim % kValues != 0) {
    return cudaErrorNotSupported;
  }
  if (p.num_seqs < 0 || p.num_seqs > 65535 || p.kv.num_kv_heads > 65535) {
    return cudaErrorInvalidValue;
  }
  if (p.num_seqs == 0 || p.kv.block_table_stride == 0) return cudaSuccess;
  if (!IsPresent(p.kv.k) || !IsPresent(p.kv.v) || !IsPresent(p.k_out) || !IsPresent(p.v_out) ||
      p.kv.k_scale == nullptr || p.kv.v_scale == nullptr || p.kv.block_table == nullptr ||
      p.kv_len == nullptr || p.kv.token_stride != p.kv.head_dim ||
      p.kv.head_stride != p.kv.token_stride * p.kv.page_tokens || p.kv.page_stride % kValues != 0) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(static_cast<unsigned>(p.kv.block_table_stride), static_cast<unsigned>(p.num_seqs),
                  static_cast<unsigned>(p.kv.num_kv_heads));
  return LaunchOverlapped(DequantizePagesKernel, grid, dim3(kThreads), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
