// Bias, q/k norm, rotary embedding and KV append: see rope_kv.h for the formula.
//
// Mapping: head_dim / 8 lanes take one head; lane j holds elements 4j..4j+3 of the head's lower
//   half and of its upper half, so that the partners of either rotation style sit in one lane.
//   Grid: (token, group of heads); a thread works on kHeadsPerThread heads with one load of cos and
//   sin.
// Head sums (norm, int8 scale) are shuffles among a head's lanes; everything is float until stored.
// Tolerance: one rounding of dtype; int8: one step.
// Bytes per token: 2 * (q + k + v) read, 2 * q written, and k + v in the cache's type; cos and sin
//   4 * head_dim. Bound by memory bandwidth.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).
// Source: Su et al., "RoFormer" (2021), section 3.4.

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/rope_kv.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kHeadsPerThread = 2;

enum class Role { kQuery, kKey, kValue };

// Elements 4j..4j+3 and head_dim/2 + 4j.. of a head: its lane's two chunks.
template <class T, int kHeadDim>
__device__ __forceinline__ void LoadChunks(const T* head, int lane, uint2 (&raw)[2]) {
  raw[0] = *reinterpret_cast<const uint2*>(head + 4 * lane);
  raw[1] = *reinterpret_cast<const uint2*>(head + kHeadDim / 2 + 4 * lane);
}

template <class T>
__device__ __forceinline__ void UnpackChunks(const uint2 (&raw)[2], float (&x)[8]) {
  Unpack8<T>(make_uint4(raw[0].x, raw[0].y, raw[1].x, raw[1].y), x);
}

template <int kLanes>
__device__ __forceinline__ float HeadSum(float value) {
#pragma unroll
  for (int delta = kLanes / 2; delta > 0; delta /= 2) value += __shfl_xor_sync(~0u, value, delta);
  return value;
}
template <int kLanes>
__device__ __forceinline__ float HeadMax(float value) {
#pragma unroll
  for (int delta = kLanes / 2; delta > 0; delta /= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, delta));
  }
  return value;
}

// cos and sin of the lane's four pairs: halves: pairs 4j..4j+3; interleaved: 2j, 2j+1 of the lower
// half of the head and of the upper.
template <int kHeadDim>
__device__ __forceinline__ void LoadAngles(const float* table, RopeStyle style, int lane,
                                           float (&x)[4]) {
  if (style == RopeStyle::kHalves) {
    const float4 four = __ldg(reinterpret_cast<const float4*>(table) + lane);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  } else {
    const float2 low = __ldg(reinterpret_cast<const float2*>(table) + lane);
    const float2 high = __ldg(reinterpret_cast<const float2*>(table + kHeadDim / 4) + lane);
    x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
  }
}

__device__ __forceinline__ void Turn(float cos, float sin, float& a, float& b) {
  const float first = a;
  a = first * cos - b * sin;
  b = b * cos + first * sin;
}

__device__ __forceinline__ void Rotate(RopeStyle style, const float (&cos)[4],
                                       const float (&sin)[4], float (&x)[8]) {
  if (style == RopeStyle::kHalves) {
#pragma unroll
    for (int i = 0; i < 4; ++i) Turn(cos[i], sin[i], x[i], x[i + 4]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) Turn(cos[i], sin[i], x[2 * i], x[2 * i + 1]);
  }
}

template <int kHeadDim>
__device__ __forceinline__ void NormHead(const float* weight, float eps, int lane, float (&x)[8]) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += x[i] * x[i];
  const float inverse = rsqrtf(HeadSum<kHeadDim / 8>(sum) / kHeadDim + eps);
  const float4 low = __ldg(reinterpret_cast<const float4*>(weight) + lane);
  const float4 high = __ldg(reinterpret_cast<const float4*>(weight + kHeadDim / 2) + lane);
  const float w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] *= inverse * w[i];
}

template <class T, int kHeadDim>
__device__ __forceinline__ void StoreHead(T* head, int lane, const float (&x)[8]) {
  const uint4 packed = Pack8<T>(x);
  *reinterpret_cast<uint2*>(head + 4 * lane) = make_uint2(packed.x, packed.y);
  *reinterpret_cast<uint2*>(head + kHeadDim / 2 + 4 * lane) = make_uint2(packed.z, packed.w);
}

// Writes one k or v head of one token to its slot.
template <class T, int kHeadDim>
__device__ __forceinline__ void Append(const RopeKvParams& p, bool is_key, int head, int64_t slot,
                                       int lane, const float (&x)[8]) {
  const int64_t page = slot / p.kv.page_tokens;
  const int64_t offset = slot % p.kv.page_tokens;
  const int64_t at = page * p.kv.page_stride + head * p.kv.head_stride + offset * p.kv.token_stride;
  void* pool = const_cast<void*>(is_key ? p.kv.k : p.kv.v);
  if (p.kv.dtype != DType::kI8) {
    if (slot >= 0) StoreHead<T, kHeadDim>(static_cast<T*>(pool) + at, lane, x);
    return;
  }
  float max = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) max = fmaxf(max, fabsf(x[i]));
  max = HeadMax<kHeadDim / 8>(max);
  if (slot < 0) return;
  const float inverse = max > 0.0f ? 127.0f / max : 0.0f;
  const uint2 bytes = Round8(x, inverse);
  int8_t* row = static_cast<int8_t*>(pool) + at;
  *reinterpret_cast<uint32_t*>(row + 4 * lane) = bytes.x;
  *reinterpret_cast<uint32_t*>(row + kHeadDim / 2 + 4 * lane) = bytes.y;
  if (lane == 0) {
    float* scales = const_cast<float*>(is_key ? p.kv.k_scale : p.kv.v_scale);
    scales[page * p.kv.scale_page_stride + head * p.kv.scale_head_stride + offset] = max / 127.0f;
  }
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads) RopeKvKernel(const RopeKvParams p) {
  constexpr int kLanes = kHeadDim / 8;
  constexpr int kHeadsPerPass = kThreads / kLanes;
  const int lane = threadIdx.x % kLanes;
  const int num_kv_heads = p.kv.num_kv_heads;
  const int num_heads = p.num_q_heads + 2 * num_kv_heads;
  const int64_t token = blockIdx.x;
  const int first = blockIdx.y * kHeadsPerPass * kHeadsPerThread + threadIdx.x / kLanes;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const T* row = static_cast<const T*>(p.qkv) + token * p.qkv_stride;
  uint2 raw[kHeadsPerThread][2];
#pragma unroll
  for (int i = 0; i < kHeadsPerThread; ++i) {
    const int head = first + i * kHeadsPerPass;
    raw[i][0] = raw[i][1] = make_uint2(0, 0);
    if (head < num_heads) LoadChunks<T, kHeadDim>(row + head * kHeadDim, lane, raw[i]);
  }
  const int64_t position = p.positions ? p.positions[token] : token;
  const int64_t slot = p.slots[token];
  float cos[4];
  float sin[4];
  LoadAngles<kHeadDim>(p.cos + position * (kHeadDim / 2), p.style, lane, cos);
  LoadAngles<kHeadDim>(p.sin + position * (kHeadDim / 2), p.style, lane, sin);
#pragma unroll
  for (int i = 0; i < kHeadsPerThread; ++i) {
    // Lanes past the last head go along, as shuffles need whole warps, and store nothing.
    const int head = first + i * kHeadsPerPass;
    const Role role = head < p.num_q_heads                  ? Role::kQuery
                      : head < p.num_q_heads + num_kv_heads ? Role::kKey
                                                            : Role::kValue;
    float x[8];
    UnpackChunks<T>(raw[i], x);
    if (p.bias && head < num_heads) {
      uint2 raw_bias[2];
      float bias[8];
      LoadChunks<T, kHeadDim>(static_cast<const T*>(p.bias) + head * kHeadDim, lane, raw_bias);
      UnpackChunks<T>(raw_bias, bias);
#pragma unroll
      for (int j = 0; j < 8; ++j) x[j] += bias[j];
    }
    // Norm weights are chosen per head but every lane runs the shuffles.
    const float* norm = role == Role::kKey ? p.k_norm : p.q_norm;
    if (p.q_norm || p.k_norm) {
      float normed[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) normed[j] = x[j];
      NormHead<kHeadDim>(norm ? norm : (p.q_norm ? p.q_norm : p.k_norm), p.norm_eps, lane, normed);
      if (norm && role != Role::kValue) {
#pragma unroll
        for (int j = 0; j < 8; ++j) x[j] = normed[j];
      }
    }
    if (role != Role::kValue) Rotate(p.style, cos, sin, x);
    if (role == Role::kQuery) {
      StoreHead<T, kHeadDim>(static_cast<T*>(p.q_out) + token * p.q_out_stride + head * kHeadDim,
                             lane, x);
    }
    const bool is_key = role == Role::kKey;
    const int kv_head = head - p.num_q_heads - (is_key ? 0 : num_kv_heads);
    const bool appends = role != Role::kQuery && head < num_heads;
    // The warp goes in together, for the shuffles of the int8 scale.
    if (__any_sync(~0u, appends)) {
      Append<T, kHeadDim>(p, is_key, kv_head, appends ? slot : -1, lane, x);
    }
  }
}

bool Valid(const RopeKvParams& p) {
  const bool int8_kv = p.kv.dtype == DType::kI8;
  return p.num_q_heads > 0 && p.kv.num_kv_heads > 0 && p.kv.page_tokens > 0 &&
         (p.qkv_stride | p.q_out_stride) % 8 == 0 &&
         (p.kv.token_stride | p.kv.head_stride | p.kv.page_stride) % 8 == 0 && p.slots &&
         IsPresent(p.qkv) && IsAligned(p.bias) && IsAligned(p.q_norm) && IsAligned(p.k_norm) &&
         IsPresent(p.cos) && IsPresent(p.sin) && IsPresent(p.q_out) && IsPresent(p.kv.k) &&
         IsPresent(p.kv.v) && (!int8_kv || (p.kv.k_scale && p.kv.v_scale));
}

template <class T>
cudaError_t Launch(const RopeKvParams& p, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int heads_per_block = kThreads / (p.kv.head_dim / 8) * kHeadsPerThread;
  const dim3 grid(p.num_tokens, CeilDiv(p.num_q_heads + 2 * p.kv.num_kv_heads, heads_per_block));
  auto* kernel = p.kv.head_dim == 64 ? RopeKvKernel<T, 64> : RopeKvKernel<T, 128>;
  return LaunchOverlapped(kernel, grid, dim3(kThreads), 0, stream, device.compute_capability, p);
}

}  // namespace

cudaError_t LaunchRopeKv(const RopeKvParams& p, cudaStream_t stream) {
  if (p.num_tokens < 0) return cudaErrorInvalidValue;
  if (p.num_tokens == 0) return cudaSuccess;
  if ((p.dtype != DType::kBf16 && p.dtype != DType::kF16) ||
      (p.kv.dtype != p.dtype && p.kv.dtype != DType::kI8) ||
      (p.kv.head_dim != 64 && p.kv.head_dim != 128)) {
    return cudaErrorNotSupported;
  }
  if (!Valid(p)) return cudaErrorInvalidValue;
  return p.dtype == DType::kBf16 ? Launch<__nv_bfloat16>(p, stream) : Launch<__half>(p, stream);
}

}  // namespace pingti::kernels
