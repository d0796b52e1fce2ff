// Choice of experts: see RouteExpertsParams in moe.h for the formula.
//
// Grid: a warp per token; expert e is lane e % 32's value e / 32, in registers. Scores are f32. The
// chosen are found one after the other: the highest of the warp's values that are left, the lower
// expert on ties. Bytes per token: 4 * num_experts read; bound by launch latency for few tokens.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).

#include <climits>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/moe.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 4;
constexpr unsigned kAll = 0xffffffffu;

__device__ __forceinline__ float Lowest() { return __int_as_float(0xff800000); }

__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) value += __shfl_xor_sync(kAll, value, i);
  return value;
}

// The highest value of the warp and where it is, the lowest index of equal ones.
__device__ __forceinline__ void WarpHighest(float* value, int* index) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) {
    const float other = __shfl_xor_sync(kAll, *value, i);
    const int at = __shfl_xor_sync(kAll, *index, i);
    if (other > *value || (other == *value && at < *index)) {
      *value = other;
      *index = at;
    }
  }
}

template <int kPerLane>
__device__ __forceinline__ void Score(const RouteExpertsParams& p, int64_t token,
                                      float (&score)[kPerLane]) {
  const int lane = threadIdx.x % 32;
  const float* logits = p.logits + token * p.logits_stride;
  float highest = Lowest();
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int e = 32 * i + lane;
    score[i] = e < p.num_experts ? logits[e] : Lowest();
    highest = fmaxf(highest, score[i]);
  }
  if (p.sigmoid) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) score[i] = 1.0f / (1.0f + expf(-score[i]));
    return;
  }
#pragma unroll
  for (int i = 16; i > 0; i /= 2) highest = fmaxf(highest, __shfl_xor_sync(kAll, highest, i));
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) sum += score[i] = expf(score[i] - highest);
  sum = WarpSum(sum);
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) score[i] /= sum;
}

// Takes experts of all but the best groups out of the choice. shared: [kMaxExperts], this warp's.
template <int kPerLane>
__device__ __forceinline__ void LimitGroups(const RouteExpertsParams& p, float* shared,
                                            float (&choice)[kPerLane]) {
  const int lane = threadIdx.x % 32;
  const int size = p.num_experts / p.num_groups;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) shared[32 * i + lane] = choice[i];
  __syncwarp();
  float first = Lowest();
  float second = Lowest();
  for (int i = 0; i < size && lane < p.num_groups; ++i) {
    const float value = shared[lane * size + i];
    second = fmaxf(second, fminf(first, value));
    first = fmaxf(first, value);
  }
  const float group = p.group_best == 2 ? first + second : first;
  unsigned taken = 0;
  for (int i = 0; i < p.groups_per_token; ++i) {
    const bool left = lane < p.num_groups && (taken >> lane & 1) == 0;
    float best = left ? group : Lowest();
    int at = left ? lane : INT_MAX;
    WarpHighest(&best, &at);
    taken |= 1u << (at & 31);
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    if ((taken >> (32 * i + lane) / size & 1) == 0) choice[i] = Lowest();
  }
}

template <int kPerLane>
__global__ void __launch_bounds__(32 * kWarps) RouteKernel(const RouteExpertsParams p) {
  __shared__ float shared[kWarps][32 * kPerLane];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int64_t token = int64_t{blockIdx.x} * kWarps + warp;
  if (token >= p.num_tokens) return;
  float score[kPerLane];
  float choice[kPerLane];
  Score(p, token, score);
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int e = 32 * i + lane;
    const bool exists = e < p.num_experts;
    choice[i] = score[i] + (exists && p.bias != nullptr ? p.bias[e] : 0.0f);
    if (!exists || isnan(choice[i])) choice[i] = Lowest();
  }
  if (p.num_groups > 1) LimitGroups(p, shared[warp], choice);
  unsigned taken = 0;  // of this lane's experts
  float weight = 0.0f;
  int expert = 0;
  for (int k = 0; k < p.experts_per_token; ++k) {
    float best = Lowest();
    int at = INT_MAX;
    float its_score = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int e = 32 * i + lane;
      const bool left = e < p.num_experts && (taken >> i & 1) == 0;
      if (left && (at == INT_MAX || choice[i] > best)) {
        best = choice[i];
        at = e;
        its_score = score[i];
      }
    }
    WarpHighest(&best, &at);
    its_score = __shfl_sync(kAll, its_score, at % 32);
    if (lane == at % 32) taken |= 1u << at / 32;
    if (lane == k) {
      weight = its_score;
      expert = at;
    }
  }
  const float sum = WarpSum(weight);
  if (lane >= p.experts_per_token) return;
  const int64_t out = token * p.experts_per_token + lane;
  p.experts[out] = expert;
  p.weights[out] = p.normalize ? weight * (p.scale / sum) : weight * p.scale;
  const bool counted = p.counts != nullptr && (p.slots == nullptr || p.slots[token] >= 0);
  if (counted) atomicAdd(p.counts + expert, 1.0f);
}

template <int kPerLane>
cudaError_t Launch(const RouteExpertsParams& p, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  return LaunchOverlapped(RouteKernel<kPerLane>, dim3(CeilDiv(p.num_tokens, kWarps)),
                          dim3(32 * kWarps), 0, stream, device.compute_capability, p);
}

}  // namespace

cudaError_t LaunchRouteExperts(const RouteExpertsParams& p, cudaStream_t stream) {
  if (p.num_tokens < 0 || p.num_experts < 1 || p.num_experts > kMaxExperts ||
      p.experts_per_token < 1 || p.experts_per_token > kMaxExpertsPerToken || p.num_groups < 1 ||
      p.num_groups > kMaxExpertGroups || p.num_experts % p.num_groups != 0 ||
      p.groups_per_token < 1 || p.groups_per_token > p.num_groups || p.group_best < 1 ||
      p.group_best > 2 || p.experts_per_token > p.num_experts / p.num_groups * p.groups_per_token) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (p.logits == nullptr || p.experts == nullptr || p.weights == nullptr) {
    return cudaErrorInvalidValue;
  }
  if (p.num_experts <= 64) return Launch<2>(p, stream);
  if (p.num_experts <= 128) return Launch<4>(p, stream);
  if (p.num_experts <= 256) return Launch<8>(p, stream);
  return Launch<16>(p, stream);
}

}  // namespace pingti::kernels
