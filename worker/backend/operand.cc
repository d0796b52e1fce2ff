#include "worker/backend/operand.h"

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

constexpr int64_t kColumnMultiple = 32;  // so that rows begin where vector loads want them
constexpr int64_t kAlignment = 64;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t ElementBytes(QuantType type) {
  switch (type) {
    case QuantType::kNone:
      return 0;
    case QuantType::kInt8:
      return 1;
  }
  CheckFailed(__FILE__, __LINE__, "known QuantType", "");
}

// Where the parts of a form begin, in bytes from its start.
struct Layout {
  int64_t stride;
  int64_t num_groups;
  int64_t scales;
  int64_t sums;
  int64_t end;
};

Layout LayoutOf(OperandType type, int64_t rows, int64_t cols) {
  Layout layout{};
  layout.stride = RoundUp(cols, kColumnMultiple);
  layout.num_groups = type.group_size == 0 ? 1 : RoundUp(cols, type.group_size) / type.group_size;
  const int64_t numbers = RoundUp(rows * layout.num_groups * int64_t{sizeof(float)}, kAlignment);
  layout.scales = RoundUp(rows * layout.stride * ElementBytes(type.quant), kAlignment);
  layout.sums = layout.scales + numbers;
  layout.end = layout.sums + numbers;
  return layout;
}

}  // namespace

QuantizedView QuantizedView::From(int64_t first) const {
  if (type.quant == QuantType::kNone) return {};
  QuantizedView view = *this;
  view.values = static_cast<char*>(values) + first * stride * ElementBytes(type.quant);
  view.scales = scales + first * num_groups;
  view.sums = sums + first * num_groups;
  return view;
}

Operand Operand::Rows(int64_t first, int64_t count) const {
  return {values.Rows(first, count), quantized.From(first)};
}

int64_t QuantizedBytes(OperandType type, int64_t rows, int64_t cols) {
  return type.quant == QuantType::kNone ? 0 : LayoutOf(type, rows, cols).end;
}

QuantizedView PlaceQuantized(OperandType type, void* memory, int64_t rows, int64_t cols) {
  if (type.quant == QuantType::kNone) return {};
  const Layout layout = LayoutOf(type, rows, cols);
  char* bytes = static_cast<char*>(memory);
  return {type,
          bytes,
          layout.stride,
          reinterpret_cast<float*>(bytes + layout.scales),
          reinterpret_cast<int32_t*>(bytes + layout.sums),
          layout.num_groups};
}

std::string OperandTypeName(OperandType type) {
  switch (type.quant) {
    case QuantType::kNone:
      return "plain";
    case QuantType::kInt8:
      return type.group_size == 0 ? "int8 per token" : Concat("int8 per ", type.group_size);
  }
  CheckFailed(__FILE__, __LINE__, "known QuantType", "");
}

absl::Status MissingFormError(OperandType wanted, const Operand& x) {
  return absl::InvalidArgumentError(Concat("a product of [", x.values.rows, ", ", x.values.cols,
                                           "] activations, ", OperandTypeName(x.quantized.type),
                                           ", with a weight that reads ", OperandTypeName(wanted),
                                           "; the workspace was allocated without plain_operands"));
}

}  // namespace pingti::worker
