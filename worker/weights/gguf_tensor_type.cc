#include "worker/weights/gguf_tensor_type.h"

#include <iterator>

namespace pingti::worker {

std::optional<DType> GgufTensorType(uint32_t type) {
  switch (type) {
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 8:
      return DType::kQ8_0;
    case 12:
      return DType::kQ4K;
    case 13:
      return DType::kQ5K;
    case 14:
      return DType::kQ6K;
    case 30:
      return DType::kBf16;
    default:
      return std::nullopt;
  }
}

std::string_view GgufTensorTypeName(uint32_t type) {
  constexpr std::string_view kNames[] = {
      "F32",     "F16",    "Q4_0",    "Q4_1",  "Q4_2",   "Q4_3",  "Q5_0",  "Q5_1",
      "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
      "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
      "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};
  return type < std::size(kNames) ? kNames[type] : "unknown";
}

}  // namespace pingti::worker
