// The sampler's random numbers: a pure function of a request's seed, a token's position in its
// sequence and its id, so a sequence draws the same whatever shares its batch, and goes on the same
// when another worker takes over. Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2,
// 3" (SC 2011), Philox 4x32 with 10 rounds.
//
//   key     = (low 32 bits of seed, high 32 bits of seed)
//   counter = (low 32 bits of position, high 32 bits of position, token / 4, 0)
//   v       = (output word token % 4 + 1/2) * 2^-32 in float arithmetic, at most 1 - 2^-24
//   noise   = -log(-log(1 - v))
//
// Adding this noise to logits and taking the highest draws from their softmax (Gumbel, "Statistical
// Theory of Extreme Values", 1954). Ranks of a model can each do so on their part of the
// vocabulary, and a draft model that shares the noise draws the target's token whenever it can
// (Daliri et al., "Coupling without Communication and Drafter-Invariant Speculative Decoding",
// 2024).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pingti::worker {

inline std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                          std::array<uint32_t, 2> key) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53u;
  constexpr uint32_t kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u;
  constexpr uint32_t kWeyl1 = 0xBB67AE85u;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * counter[0];
    const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

inline constexpr int32_t kTokensPerDraw = 4;  // whose noise one call of the generator gives
// No noise is higher.
inline constexpr float kMaxNoise = 22.9f;

// The random words of tokens 4 * group to 4 * group + 3.
inline std::array<uint32_t, 4> NoiseWords(uint64_t seed, uint64_t position, uint32_t group) {
  return Philox4x32(
      {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), group, 0},
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// Small words, which win draws, keep all their bits.
inline float GumbelNoise(uint32_t word) {
  const float v = std::min((static_cast<float>(word) + 0.5f) * 0x1p-32f, 1.0f - 0x1p-24f);
  return -std::log(-std::log1p(-v));
}

inline float TokenNoise(uint64_t seed, uint64_t position, int32_t token_id) {
  const auto group = static_cast<uint32_t>(token_id / kTokensPerDraw);
  return GumbelNoise(
      NoiseWords(seed, position, group)[static_cast<size_t>(token_id % kTokensPerDraw)]);
}

}  // namespace pingti::worker
