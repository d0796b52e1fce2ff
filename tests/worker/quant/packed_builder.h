// Random packed weights for tests, written value by value from the layouts' definitions, with the
// numbers that they mean.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "worker/tensor/packed_weights.h"

namespace pingti::worker::testing {

struct PackedSpec {
  PackedLayout layout = PackedLayout::kGptq;
  int bits = 4;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t group_size = 0;
  bool has_zeros = true;
  int zero_offset = 0;
  DType scale_dtype = DType::kF16;
  float scale = 0.02f;        // of a usual step
  bool middle_zeros = false;  // all zeros 2^(bits - 1), as symmetric weights have them
};

// Words, zeros and scales as a file would have them. Movable: views point into the vectors' memory.
struct BuiltPacked {
  PackedSpec spec;
  std::vector<uint32_t> words;
  std::vector<uint32_t> zeros;
  std::vector<uint16_t> scales;
  std::vector<float> values;  // [rows, cols], exact

  // Tensors named "w.words", "w.scales" and "w.zeros".
  PackedWeights View() const;
};

BuiltPacked BuildPacked(const PackedSpec& spec, std::mt19937* rng);

std::string NameOf(const PackedSpec& spec);

}  // namespace pingti::worker::testing
