// Activations as matrix products read them: the values, and beside them, where a weight multiplies
// with quantized activations, those.
//
// An operand is a value; its memory belongs to whoever allocated it, as that of a MatrixView does.
// The operations of Backend that take an Operand to write (norms, activations, attention) write
// every form that it has, so the forms of an operand never disagree. Next: backend.h.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Element types of quantized activations. A new one is named here, gets its bytes in operand.cc,
// and kernels that write and read it.
enum class QuantType {
  kNone,
  kInt8,  // symmetric: value = scale * q, q in [-127, 127]
};

// The form of activations that a weight multiplies with; see LinearWeight::operand_type().
struct OperandType {
  QuantType quant = QuantType::kNone;  // kNone: the values as they are
  int64_t group_size = 0;              // values of a row that share a scale; 0: the whole row

  bool operator==(const OperandType&) const = default;
};
// "plain", "int8 per token", "int8 per 32".
std::string OperandTypeName(OperandType type);

// Quantized activations on a backend's device.
struct QuantizedView {
  OperandType type;  // kNone: there are none
  void* values = nullptr;
  int64_t stride = 0;       // elements between rows, a multiple of 32 and at least the columns
  float* scales = nullptr;  // [rows, num_groups]
  // Sum of each group's quantized values, [rows, num_groups]; left alone by backends whose products
  // do not need it.
  int32_t* sums = nullptr;
  int64_t num_groups = 0;

  // From row `first` on.
  QuantizedView From(int64_t first) const;
};

struct Operand {
  Operand() = default;
  // Without a quantized form.
  Operand(MatrixView v) : values(v) {}  // NOLINT: activations are an operand as they are
  Operand(MatrixView v, QuantizedView q) : values(v), quantized(q) {}

  MatrixView values;
  QuantizedView quantized;  // of as many rows and columns as `values`

  // Rows [first, first + count).
  Operand Rows(int64_t first, int64_t count) const;
};

// Bytes that the quantized form of [rows, cols] takes; 0 for kNone.
int64_t QuantizedBytes(OperandType type, int64_t rows, int64_t cols);
// That form in memory of so many bytes, aligned to 64. Plain pointer arithmetic: `memory` may be a
// device's.
QuantizedView PlaceQuantized(OperandType type, void* memory, int64_t rows, int64_t cols);

// Linear was given an operand without the form that the weight reads, and has no place to make it.
absl::Status MissingFormError(OperandType wanted, const Operand& x);

}  // namespace pingti::worker
