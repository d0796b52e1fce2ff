// Cosines and sines of rotary position embedding (Su et al., "RoFormer"), computed when a position
// is first seen and kept. How frequencies follow from a model's configuration:
// worker/model/rope_spec.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pingti::worker {

struct RotarySpec {
  std::vector<float> inv_freq;    // [head_dim / 2], radians per token
  int64_t still_pairs = 0;        // so many pairs at the end neither turn nor are scaled
  float attention_factor = 1.0f;  // multiplies cosines and sines (YaRN, LongRoPE)
  int64_t max_positions = 0;
  // Dynamic NTK: a token at position p >= dynamic_from uses the frequencies of a base stretched for
  // a context of p + 1 tokens. 0: off. (transformers stretches for the longest sequence seen so
  // far; going by the token's own position gives the same in decoding and does not depend on
  // chunking.)
  int64_t dynamic_from = 0;
  double theta = 10000.0;
  double factor = 1.0;
};

// Confined to the engine thread. Memory grows in pages with the highest position seen, whatever
// context a configuration claims, and nothing is copied when it grows.
class RotaryTable {
 public:
  explicit RotaryTable(RotarySpec spec);

  int64_t half_dim() const { return static_cast<int64_t>(spec_.inv_freq.size()); }

  // cos and sin: [positions.size(), half_dim]. REQUIRES: 0 <= position < max_positions.
  void Fill(std::span<const int32_t> positions, std::span<float> cos, std::span<float> sin);

 private:
  void Grow(int64_t num_positions);

  const RotarySpec spec_;
  int64_t num_positions_ = 0;  // so far
  // Of kPagePositions positions each: [kPagePositions, half_dim].
  std::vector<std::vector<float>> cos_;
  std::vector<std::vector<float>> sin_;
};

}  // namespace pingti::worker
