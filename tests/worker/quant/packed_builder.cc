#include "tests/worker/quant/packed_builder.h"

#include <array>
#include <cmath>

#include "common/base/strings.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::testing {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Places the low bits of `value` as element `element` of word `word`.
void Put(int64_t word, int64_t element, int bits, uint32_t value, std::vector<uint32_t>* words) {
  (*words)[static_cast<size_t>(word)] |= value << (element * bits);
}

// The element of an AWQ word that has row `row` of its eight.
int64_t AwqElement(int64_t row) {
  constexpr std::array<int64_t, 8> kRowOf = {0, 2, 4, 6, 1, 3, 5, 7};
  int64_t element = 0;
  while (kRowOf[static_cast<size_t>(element)] != row % 8) ++element;
  return element;
}

void PutValue(const PackedSpec& s, int64_t row, int64_t col, uint32_t q, BuiltPacked* out) {
  const int64_t p = 32 / s.bits;
  switch (s.layout) {
    case PackedLayout::kGptq:
      return Put(col / p * s.rows + row, col % p, s.bits, q, &out->words);
    case PackedLayout::kAwq:
      return Put(col * (s.rows / p) + row / p, AwqElement(row), s.bits, q, &out->words);
    case PackedLayout::kRowMajor:
      return Put(row * CeilDiv(s.cols, p) + col / p, col % p, s.bits, q, &out->words);
  }
}

void PutZero(const PackedSpec& s, int64_t row, int64_t group, int64_t groups, uint32_t zero,
             BuiltPacked* out) {
  const int64_t p = 32 / s.bits;
  const uint32_t stored = (zero - static_cast<uint32_t>(s.zero_offset)) & ((1u << s.bits) - 1);
  const bool row_major = s.layout == PackedLayout::kRowMajor;
  const int64_t word = row_major ? row / p * groups + group : group * (s.rows / p) + row / p;
  Put(word, s.layout == PackedLayout::kAwq ? AwqElement(row) : row % p, s.bits, stored,
      &out->zeros);
}

int64_t NumWords(const PackedSpec& s) {
  const int64_t p = 32 / s.bits;
  if (s.layout == PackedLayout::kRowMajor) return s.rows * CeilDiv(s.cols, p);
  return s.rows * s.cols / p;
}

TensorView ViewOf(const char* name, DType dtype, std::vector<int64_t> shape, const void* data,
                  size_t bytes) {
  return {name, dtype, std::move(shape), data, static_cast<int64_t>(bytes)};
}

}  // namespace

BuiltPacked BuildPacked(const PackedSpec& spec, std::mt19937* rng) {
  BuiltPacked out;
  out.spec = spec;
  const int64_t groups = CeilDiv(spec.cols, spec.group_size);
  out.words.resize(static_cast<size_t>(NumWords(spec)));
  if (spec.has_zeros) out.zeros.resize(static_cast<size_t>(groups * spec.rows * spec.bits / 32));
  out.scales.resize(static_cast<size_t>(groups * spec.rows));
  out.values.resize(static_cast<size_t>(spec.rows * spec.cols));
  std::uniform_int_distribution<uint32_t> value(0, (1u << spec.bits) - 1);
  std::uniform_real_distribution<float> scale(0.2f * spec.scale, 2.0f * spec.scale);
  const bool row_major = spec.layout == PackedLayout::kRowMajor;
  for (int64_t row = 0; row < spec.rows; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const float drawn = scale(*rng);
      const bool bf16 = spec.scale_dtype == DType::kBf16;
      const uint16_t half = bf16 ? FloatToBf16(drawn) : FloatToF16(drawn);
      out.scales[static_cast<size_t>(row_major ? row * groups + group : group * spec.rows + row)] =
          half;
      uint32_t zero = 1u << (spec.bits - 1);
      if (spec.has_zeros) {
        if (!spec.middle_zeros) zero = value(*rng);
        PutZero(spec, row, group, groups, zero, &out);
      }
      const int64_t end = std::min(spec.cols, (group + 1) * spec.group_size);
      for (int64_t col = group * spec.group_size; col < end; ++col) {
        const uint32_t q = value(*rng);
        PutValue(spec, row, col, q, &out);
        out.values[static_cast<size_t>(row * spec.cols + col)] =
            (bf16 ? Bf16ToFloat(half) : F16ToFloat(half)) *
            static_cast<float>(static_cast<int>(q) - static_cast<int>(zero));
      }
    }
  }
  return out;
}

PackedWeights BuiltPacked::View() const {
  const int64_t p = 32 / spec.bits;
  const int64_t groups = CeilDiv(spec.cols, spec.group_size);
  std::vector<int64_t> word_shape{spec.cols / p, spec.rows};
  std::vector<int64_t> scale_shape{groups, spec.rows};
  std::vector<int64_t> zero_shape{groups, spec.rows / p};
  if (spec.layout == PackedLayout::kAwq) word_shape = {spec.cols, spec.rows / p};
  if (spec.layout == PackedLayout::kRowMajor) {
    word_shape = {spec.rows, CeilDiv(spec.cols, p)};
    scale_shape = {spec.rows, groups};
    zero_shape = {spec.rows / p, groups};
  }
  PackedWeights view;
  view.layout = spec.layout;
  view.bits = spec.bits;
  view.rows = spec.rows;
  view.cols = spec.cols;
  view.group_size = spec.group_size;
  view.zero_offset = spec.zero_offset;
  view.words = ViewOf("w.words", DType::kI32, word_shape, words.data(), words.size() * 4);
  view.scales = ViewOf("w.scales", spec.scale_dtype, scale_shape, scales.data(), scales.size() * 2);
  if (spec.has_zeros) {
    view.zeros = ViewOf("w.zeros", DType::kI32, zero_shape, zeros.data(), zeros.size() * 4);
  }
  return view;
}

std::string NameOf(const PackedSpec& spec) {
  const char* layout = spec.layout == PackedLayout::kGptq  ? "gptq"
                       : spec.layout == PackedLayout::kAwq ? "awq"
                                                           : "row-major";
  return Concat(layout, " ", spec.bits, " bits [", spec.rows, ", ", spec.cols, "] groups of ",
                spec.group_size, spec.has_zeros ? " with zeros" : "", " offset ", spec.zero_offset,
                " scales ", DTypeName(spec.scale_dtype));
}

}  // namespace pingti::worker::testing
