// The noise that a draw adds to logits: see sampling.h. Device code. Read next: sample.cu.
#pragma once

#include <cstdint>

namespace pingti::kernels::sampling {

// The random words of tokens 4 * group to 4 * group + 3: Philox 4x32 with 10 rounds.
__device__ __forceinline__ uint4 NoiseWords(uint64_t seed, uint64_t position, uint32_t group) {
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
  uint4 c = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), group, 0};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c.x);
    const uint32_t low0 = 0xD2511F53u * c.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c.z);
    const uint32_t low1 = 0xCD9E8D57u * c.z;
    c = {high1 ^ c.y ^ key0, low1, high0 ^ c.w ^ key1, low0};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

// -log(-log(1 - v)), v = (word + 1/2) / 2^32. Words near 0 win draws, so that there v keeps all of
// its bits: a series stands for the inner logarithm below 1/8. Within 4e-6.
__device__ __forceinline__ float GumbelNoise(uint32_t word) {
  const float v = fminf((static_cast<float>(word) + 0.5f) * 0x1p-32f, 1.0f - 0x1p-24f);
  const float series =
      v * (1.0f + v * (0.5f + v * (1.0f / 3 + v * (0.25f + v * (0.2f + v * (1.0f / 6))))));
  return -__logf(v < 0.125f ? series : -__logf(1.0f - v));
}

__device__ inline float TokenNoise(uint64_t seed, uint64_t position, int token_id) {
  const uint4 words = NoiseWords(seed, position, static_cast<uint32_t>(token_id) / 4);
  return GumbelNoise(token_id % 4 == 0   ? words.x
                     : token_id % 4 == 1 ? words.y
                     : token_id % 4 == 2 ? words.z
                                         : words.w);
}

// What a draw takes the highest of; rounded once, so that every kernel comes to the same.
__device__ __forceinline__ float Score(float logit, float inverse_temperature, float noise) {
  return __fmaf_rn(logit, inverse_temperature, noise);
}

}  // namespace pingti::kernels::sampling
