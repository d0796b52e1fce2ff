// Passes over a row's logits that more than one kernel makes: load, adjust, find the best, weigh,
// draw. Device code.
// Read next: row_blocks.cuh, sample.cu, sample_parts.cu.
#pragma once

#include <cstdint>

#include "kernels/common/status.h"
#include "kernels/sampling/noise.cuh"
#include "kernels/sampling/row_blocks.cuh"
#include "pingti/kernels/sampling.h"

namespace pingti::kernels::sampling {

inline constexpr int kMaxVocab = 360448;
inline constexpr int kGroup = 4;  // tokens whose noise comes from one call of the generator

// Logits per block of a row: a multiple of what one load brings.
inline int SliceSize(int vocab_size, int cluster) {
  return CeilDiv(CeilDiv(vocab_size, cluster), 4) * 4;
}

__device__ inline bool Draws(const SamplingRowParams& r) {
  return r.temperature > 0.0f && r.top_k != 1;
}
__device__ inline bool HasAdjustments(const SamplingRowParams& r) {
  return r.biases_begin < r.biases_end || r.counts_begin < r.counts_end || r.mask_row >= 0;
}
__device__ inline float InverseTemperature(const SamplingRowParams& r) {
  return fminf(1.0f / r.temperature, 1e30f);
}

// The best of the values that a thread has seen. Places must ascend: of equals the first stays.
struct BestSeen {
  float value = -INFINITY;
  int at = -1;

  __device__ void See(int i, float x) {
    if (x > value) {
      value = x;
      at = i;
    }
  }
  __device__ uint64_t Key(int first_id) const {
    return at >= 0 ? TokenKey(value, first_id + at) : 0;
  }
};

// Adds noise to the logits of groups of tokens.
class Noise {
 public:
  __device__ explicit Noise(const SamplingRowParams& r)
      : seed_(r.seed), position_(r.position), inverse_temperature_(InverseTemperature(r)) {}

  // x: logits of ids [first, first + 4), first a multiple of 4.
  __device__ float4 Added(float4 x, int first) const {
    const uint4 words = NoiseWords(seed_, position_, static_cast<uint32_t>(first) / kGroup);
    return {One(x.x, words.x), One(x.y, words.y), One(x.z, words.z), One(x.w, words.w)};
  }

 private:
  __device__ float One(float x, uint32_t word) const {
    return Score(x, inverse_temperature_, GumbelNoise(word));
  }

  uint64_t seed_;
  uint64_t position_;
  float inverse_temperature_;
};

// See, for the values of a group, which begins at place `i`.
__device__ __forceinline__ void SeeGroup(int i, float4 x, BestSeen* best) {
  best->See(i, x.x);
  best->See(i + 1, x.y);
  best->See(i + 2, x.z);
  best->See(i + 3, x.w);
}

// Up to four values; -inf stands for those that there are not.
__device__ inline float4 LoadPart(const float* x, int count) {
  return {count > 0 ? x[0] : -INFINITY, count > 1 ? x[1] : -INFINITY, count > 2 ? x[2] : -INFINITY,
          count > 3 ? x[3] : -INFINITY};
}

// Starts to bring `count` values into the L2 cache.
__device__ inline void Prefetch(const float* x, int count) {
  constexpr int kLine = 128 / sizeof(float);
  for (int i = kLine * static_cast<int>(threadIdx.x); i < count; i += kLine * kThreads) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(x + i));
  }
}

// Copies the slice's logits from device memory, and finds the best of them, kDraws: with noise too.
template <bool kDraws>
__device__ Loaded LoadSlice(const Slice& slice, const float* logits, const SamplingRowParams& r) {
  const Noise noise(r);
  BestSeen best;
  BestSeen drawn;
  bool has_nan = false;
  const auto take = [&](int group, float4 x) {
    reinterpret_cast<float4*>(slice.values)[group] = x;
    has_nan |= isnan(x.x) || isnan(x.y) || isnan(x.z) || isnan(x.w);
    SeeGroup(kGroup * group, x, &best);
    if (kDraws) {
      SeeGroup(kGroup * group, noise.Added(x, slice.first_id + kGroup * group), &drawn);
    }
  };
  const bool is_aligned = reinterpret_cast<uintptr_t>(logits) % sizeof(float4) == 0;
  const int whole = is_aligned ? slice.size / kGroup : 0;
  int group = threadIdx.x;
  constexpr int kAtOnce = kDraws ? 2 : 4;  // that registers hold
#pragma unroll kAtOnce
  for (; group < whole; group += kThreads) {
    take(group, reinterpret_cast<const float4*>(logits)[group]);
  }
  for (; kGroup * group < slice.size; group += kThreads) {
    take(group, LoadPart(logits + kGroup * group, slice.size - kGroup * group));
  }
  return {best.Key(slice.first_id), drawn.Key(slice.first_id), has_nan};
}

// Weights of tokens in a draw; the best one's is 1.
struct Weights {
  float max;
  float inverse_temperature;
  __device__ float operator()(float x) const { return __expf((x - max) * inverse_temperature); }
};

// Weights of this thread's tokens: in all of those with keys from `least` on, and of those with
// keys above `key`. Those of a group are added in float, groups in double.
__device__ inline Masses MassesOver(const Slice& slice, const Weights& weight, uint64_t least,
                                    uint64_t key) {
  Masses masses;
  for (int i = kGroup * static_cast<int>(threadIdx.x); i < slice.size; i += kGroup * kThreads) {
    const float4 group = *reinterpret_cast<const float4*>(slice.values + i);
    const float x[kGroup] = {group.x, group.y, group.z, group.w};
    float total[kGroup];
    float before[kGroup];
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const uint64_t own = TokenKey(x[j], slice.first_id + i + j);
      const float w = i + j < slice.size ? weight(x[j]) : 0.0f;
      total[j] = own >= least ? w : 0.0f;
      before[j] = own > key ? w : 0.0f;
    }
    masses.total += (total[0] + total[1]) + (total[2] + total[3]);
    masses.before += (before[0] + before[1]) + (before[2] + before[3]);
  }
  return masses;
}

// Bias, penalties and mask, in place. Ends with a block barrier.
template <class Params>
__device__ void AdjustLogits(const Slice& slice, const Params& p, const SamplingRowParams& r) {
  __syncthreads();  // raw values are no longer read by others
  for (int i = r.biases_begin + threadIdx.x; i < r.biases_end; i += kThreads) {
    const SamplingTokenBias bias = p.token_biases[i];
    const int at = bias.token_id - slice.first_id;
    if (at >= 0 && at < slice.size) slice.values[at] += bias.bias;
  }
  __syncthreads();  // biases come before penalties
  for (int i = r.counts_begin + threadIdx.x; i < r.counts_end; i += kThreads) {
    const SamplingTokenCount count = p.token_counts[i];
    const int at = count.token_id - slice.first_id;
    if (at < 0 || at >= slice.size) continue;
    float x = slice.values[at];
    if (r.repetition_penalty != 1.0f && count.prompt_count + count.output_count > 0) {
      x = x > 0.0f ? x / r.repetition_penalty : x * r.repetition_penalty;
    }
    if (count.output_count > 0) {
      x -= r.presence_penalty;
      x -= r.frequency_penalty * static_cast<float>(count.output_count);
    }
    slice.values[at] = x;
  }
  __syncthreads();  // penalties come before the mask
  if (r.mask_row >= 0) {
    const uint32_t* mask = p.allowed_masks + r.mask_row * p.allowed_mask_stride;
    for (int i = threadIdx.x; i < slice.size; i += kThreads) {
      const int id = slice.first_id + i;
      if ((mask[id / 32] >> (id % 32) & 1u) == 0) slice.values[i] = -INFINITY;
    }
  }
  __syncthreads();  // adjusted
}

// What a draw is from: the tokens from key `least` on (0: all) that weigh at least min_p.
struct Kept {
  uint64_t least;
  float min_p;
  Weights weight;
  __device__ bool Has(float x, int id) const {
    return TokenKey(x, id) >= least && (min_p <= 0.0f || weight(x) >= min_p);
  }
};

// The best of this thread's kept tokens with noise.
__device__ inline Highest DrawAmong(const Slice& slice, const SamplingRowParams& r,
                                    const Kept& kept) {
  const Noise noise(r);
  BestSeen drawn;
#pragma unroll 1
  for (int i = kGroup * static_cast<int>(threadIdx.x); i < slice.size; i += kGroup * kThreads) {
    const int id = slice.first_id + i;
    const float4 x = *reinterpret_cast<const float4*>(slice.values + i);
    const bool has[kGroup] = {kept.Has(x.x, id), kept.Has(x.y, id + 1), kept.Has(x.z, id + 2),
                              kept.Has(x.w, id + 3)};
    if (!has[0] && !has[1] && !has[2] && !has[3]) continue;
    const float4 z = noise.Added(x, id);
    if (has[0]) drawn.See(i, z.x);
    if (has[1]) drawn.See(i + 1, z.y);
    if (has[2]) drawn.See(i + 2, z.z);
    if (has[3]) drawn.See(i + 3, z.w);
  }
  return {drawn.Key(slice.first_id)};
}

// The best of this thread's logits, when they were adjusted.
__device__ inline Loaded BestOfSlice(const Slice& slice) {
  BestSeen best;
  bool has_nan = false;
  ForEach(slice, [&](int i, float x) {
    has_nan |= isnan(x);
    best.See(i, x);
  });
  return {best.Key(slice.first_id), 0, has_nan};
}

}  // namespace pingti::kernels::sampling
