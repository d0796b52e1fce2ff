// How a prepared weight matrix is kept and what it is multiplied with: one vocabulary for all
// backends. What is asked of a backend is a WeightFormat (backend.h); this is what became of it.
#pragma once

#include <cstdint>
#include <string>

#include "worker/backend/operand.h"
#include "worker/tensor/dtype.h"

namespace pingti::worker {

// kTable4: 4 bits, each a place in the list of values of GGUF's IQ4_NL. kFp4: 4-bit floats (E2M1).
enum class ElementType { kF32, kBf16, kInt8, kInt4, kTable4, kFp4 };

struct MatrixFormat {
  ElementType element = ElementType::kBf16;
  OperandType operand{};  // the activations that it is multiplied with

  // Elements of 8 and 4 bits alone: value = scale * (q - zero), with a scale per group of values of
  // a row.
  int64_t group_size = 0;     // values that share a scale; 0: the whole row
  DType scale = DType::kF32;  // type of the scales: F32, F16 or BF16
  bool has_zeros = false;     // a zero point, or a minimum, per group; otherwise symmetric

  bool has_scales() const {
    return element == ElementType::kInt8 || element == ElementType::kInt4 ||
           element == ElementType::kTable4 || element == ElementType::kFp4;
  }
  bool operator==(const MatrixFormat&) const = default;
};

// For people: "bf16", "int8 (F32 per row) x int8 per token", "int4 (F16 per 32, with zeros)".
std::string MatrixFormatName(const MatrixFormat& format);

}  // namespace pingti::worker
