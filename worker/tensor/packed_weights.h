// Weight-only quantized matrices as Hugging Face checkpoints pack them: 4 or 8 bits a value,
// several values in a 32-bit word, a scale (and a zero point) for each group of values along a row.
// Plain views. Next: worker/quant/packed_reader.h, which reads them.
#pragma once

#include <cstdint>

#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Where words lie, for a matrix of n rows (output features) and k columns; a word holds p = 32 /
// bits values, element i at bits [i * bits, (i + 1) * bits). Sources: AutoGPTQ's and AutoAWQ's
// linear modules, compressed-tensors' "pack-quantized" compressor.
enum class PackedLayout {
  kGptq,  // words [k / p, n]: word (r, c) has columns p r + i of row c
  kAwq,   // words [k, n / 8]: word (r, c) has column r of rows 8 c + {0, 2, 4, 6, 1, 3, 5, 7}[i]
  kRowMajor,  // words [n, ceil(k / p)]: word (r, c) has columns p c + i of row r
};

// value[r, c] = scale[r, g] * (q[r, c] - zero[r, g]), g = c / group_size, or the group that
// group_index gives column c.
struct PackedWeights {
  PackedLayout layout = PackedLayout::kGptq;
  int bits = 4;            // 4 or 8; kAwq: 4
  int64_t rows = 0;        // n
  int64_t cols = 0;        // k
  int64_t group_size = 0;  // 32, 64 or a multiple of 128; or cols: one group
  TensorView words;        // I32, as the layout says
  TensorView scales;       // F16 or BF16 [groups, n]; kRowMajor: [n, groups]
  // I32; null data: every zero is 2^(bits - 1). kGptq and kAwq: [groups, n / p], packed along n,
  // for kAwq in the order of its words; kRowMajor: [n / p, groups], packed along n.
  TensorView zeros;
  // I32 [k], each below groups(); null data: groups lie in order. Columns were quantized in the
  // order of their activations ("act-order", desc_act).
  TensorView group_index;
  int zero_offset = 0;  // added to what is stored, modulo 2^bits: 1 for GPTQ files of version 1

  int64_t groups() const { return (cols + group_size - 1) / group_size; }
  int values_per_word() const { return 32 / bits; }
  bool has_zeros() const { return zeros.data != nullptr; }
  bool has_group_index() const { return group_index.data != nullptr; }
};

}  // namespace pingti::worker
