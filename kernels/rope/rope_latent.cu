// Norm, rotation and append of latents, rotation of queries: see rope_latent.h for the formula.
//
// Mapping: a warp takes the token's latent or one head of its queries; a lane has one pair of the
//   rotated part, and of the latent two times eight elements. Grid: (token, group of warps' tasks).
// Accumulation: float, the sum of squares by shuffles. Tolerance: one rounding of bf16; int8: half
//   a step.
// Bytes per token: 2 * 576 read and written (int8: 656), 4 * 64 per head. Bound by latency and
//   bandwidth.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).
// Sources: Su et al., "RoFormer" (2021), section 3.4.2; DeepSeek-V2 (arXiv:2405.04434), 2.1.3.

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/latent_attention.h"
#include "pingti/kernels/rope_latent.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTasksPerWarp = 4;
constexpr int kPairs = kLatentRopeDim / 2;
static_assert(kPairs == 32, "a lane has one pair");

using Bf16 = __nv_bfloat16;

__device__ __forceinline__ void RotatePair(const Bf16* from, float cos, float sin, Bf16* to) {
  const float2 x = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(from));
  *reinterpret_cast<__nv_bfloat162*>(to) =
      __floats2bfloat162_rn(x.x * cos - x.y * sin, x.y * cos + x.x * sin);
}

// Sum over the warp, to every lane.
__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) value += __shfl_xor_sync(~0u, value, delta);
  return value;
}

// Largest value of the eight lanes that hold the same group, to all of them.
__device__ __forceinline__ float GroupMax(float value) {
#pragma unroll
  for (int delta = 4; delta > 0; delta /= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, delta));
  }
  return value;
}

// Stores a lane's eight elements `x` of the latent, the ones from 8 * vector on, as int8. The whole
// warp goes in together; `page` is the token's, `offset` its place there.
__device__ __forceinline__ void StoreInt8(const PagedKv& kv, uint8_t* page, int64_t offset,
                                          int vector, const float (&x)[8]) {
  static_assert(kLatentScaleGroup == 8 * 8, "eight lanes hold a group");
  float max = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) max = fmaxf(max, fabsf(x[i]));
  const Bf16 scale = __float2bfloat16_ru(GroupMax(max) / 127.0f);
  const float step = __bfloat162float(scale);
  uint8_t* row = page + offset * kv.token_stride;
  reinterpret_cast<uint2*>(row)[vector] = Round8(x, step > 0.0f ? 1.0f / step : 0.0f);
  if (vector % 8 != 0) return;
  auto* scales = reinterpret_cast<Bf16*>(page + kv.page_tokens * kv.token_stride);
  scales[offset * kLatentScales + vector / 8] = scale;
}

__device__ __forceinline__ void AppendLatent(const RopeLatentParams& p, int64_t token, float cos,
                                             float sin) {
  constexpr int kVectors = kLatentValueDim / 8 / 32;  // of a lane
  const int64_t slot = p.slots[token];
  if (slot < 0) return;
  const int lane = threadIdx.x % 32;
  const bool is_int8 = p.kv.dtype == DType::kI8;
  const Bf16* from = static_cast<const Bf16*>(p.latents) + token * p.latents_stride;
  const int64_t offset = slot % p.kv.page_tokens;
  uint8_t* page = static_cast<uint8_t*>(const_cast<void*>(p.kv.k)) +
                  slot / p.kv.page_tokens * p.kv.page_stride * (is_int8 ? 1 : 2);
  // Where the rotated part follows.
  Bf16* to = reinterpret_cast<Bf16*>(page) + offset * p.kv.token_stride / (is_int8 ? 2 : 1) +
             (is_int8 ? kLatentValueDim / 2 : kLatentValueDim);
  float x[kVectors][8];
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    Unpack8<Bf16>(reinterpret_cast<const uint4*>(from)[i * 32 + lane], x[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) squares += x[i][j] * x[i][j];
  }
  const float inverse = rsqrtf(WarpSum(squares) / kLatentValueDim + p.norm_eps);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    float weight[8];
    Load8(p.norm_weight + (i * 32 + lane) * 8, weight);
#pragma unroll
    for (int j = 0; j < 8; ++j) x[i][j] *= inverse * weight[j];
    if (is_int8) {
      StoreInt8(p.kv, page, offset, i * 32 + lane, x[i]);
    } else {
      reinterpret_cast<uint4*>(to - kLatentValueDim)[i * 32 + lane] = Pack8<Bf16>(x[i]);
    }
  }
  RotatePair(from + kLatentValueDim + 2 * lane, cos, sin, to + 2 * lane);
}

__global__ void __launch_bounds__(kThreads) RopeLatentKernel(const RopeLatentParams p) {
  const int64_t token = blockIdx.x;
  const int lane = threadIdx.x % 32;
  const int first = (blockIdx.y * kWarps + threadIdx.x / 32) * kTasksPerWarp;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const float cos = p.cos[token * kPairs + lane];
  const float sin = p.sin[token * kPairs + lane];
#pragma unroll
  for (int i = 0; i < kTasksPerWarp; ++i) {
    const int task = first + i;  // the latent, then the heads
    if (task == 0) {
      AppendLatent(p, token, cos, sin);
    } else if (task <= p.num_heads) {
      const int head = task - 1;
      RotatePair(static_cast<const Bf16*>(p.q) + token * p.q_token_stride + head * p.q_head_stride +
                     2 * lane,
                 cos, sin,
                 static_cast<Bf16*>(p.out) + token * p.out_token_stride + head * p.out_head_stride +
                     2 * lane);
    }
  }
}

bool Valid(const RopeLatentParams& p) {
  return p.num_heads > 0 && p.kv.num_kv_heads == 1 && p.kv.page_tokens > 0 &&
         (p.q_token_stride | p.q_head_stride | p.out_token_stride | p.out_head_stride) % 2 == 0 &&
         (p.latents_stride | p.kv.token_stride | p.kv.page_stride) % 8 == 0 && p.slots &&
         IsPresent(p.q, 4) && IsPresent(p.out, 4) && IsPresent(p.latents) &&
         IsPresent(p.norm_weight) && IsPresent(p.cos, 4) && IsPresent(p.sin, 4) &&
         IsPresent(p.kv.k);
}

}  // namespace

cudaError_t LaunchRopeLatent(const RopeLatentParams& p, cudaStream_t stream) {
  if (p.num_tokens < 0) return cudaErrorInvalidValue;
  if (p.num_tokens == 0) return cudaSuccess;
  const bool is_int8 = p.kv.dtype == DType::kI8;
  if ((!is_int8 && p.kv.dtype != DType::kBf16) || p.kv.head_dim != kLatentKeyDim) {
    return cudaErrorNotSupported;
  }
  if (!Valid(p) || (is_int8 && !HasDenseLatents(p.kv))) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.num_tokens, CeilDiv(1 + p.num_heads, kWarps * kTasksPerWarp));
  return LaunchOverlapped(RopeLatentKernel, grid, dim3(kThreads), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
