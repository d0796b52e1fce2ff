#include "worker/weights/gguf_tensor_type.h"

#include <iterator>

namespace pingti::worker {

std::optional<DType> GgufTensorType(uint32_t type) {
  const std::string_view name = GgufTensorTypeName(type);
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBf16;
  for (int i = 0; i <= static_cast<int>(DType::kMxfp4); ++i) {
    const auto dtype = static_cast<DType>(i);
    if (IsBlockType(dtype) && DTypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::string_view GgufTensorTypeName(uint32_t type) {
  constexpr std::string_view kNames[] = {
      "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
      "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
      "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
      "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
      "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
      "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4",    "Q1_0",
      "Q2_0"};
  return type < std::size(kNames) ? kNames[type] : "unknown";
}

}  // namespace pingti::worker
