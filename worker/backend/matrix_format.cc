#include "worker/backend/matrix_format.h"

#include <string_view>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

std::string_view ElementTypeName(ElementType element) {
  switch (element) {
    case ElementType::kF32:
      return "f32";
    case ElementType::kBf16:
      return "bf16";
    case ElementType::kInt8:
      return "int8";
    case ElementType::kInt4:
      return "int4";
    case ElementType::kTable4:
      return "4-bit list";
    case ElementType::kFp4:
      return "fp4";
  }
  CheckFailed(__FILE__, __LINE__, "known ElementType", "");
}

}  // namespace

std::string MatrixFormatName(const MatrixFormat& format) {
  std::string name(ElementTypeName(format.element));
  if (format.has_scales()) {
    name += Concat(" (", DTypeName(format.scale), " per ",
                   format.group_size == 0 ? "row" : Concat(format.group_size),
                   format.has_zeros ? ", with zeros)" : ")");
  }
  if (format.operand.quant != QuantType::kNone) name += " x " + OperandTypeName(format.operand);
  return name;
}

}  // namespace pingti::worker
