#include "worker/tensor/dtype.h"

#include "common/base/check.h"

namespace pingti::worker {
namespace {

struct DTypeInfo {
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
};

DTypeInfo Info(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {"F32", 1, 4};
    case DType::kF16:
      return {"F16", 1, 2};
    case DType::kBf16:
      return {"BF16", 1, 2};
    case DType::kF8E4M3:
      return {"F8_E4M3", 1, 1};
    case DType::kI8:
      return {"I8", 1, 1};
    case DType::kI32:
      return {"I32", 1, 4};
    case DType::kI64:
      return {"I64", 1, 8};
    case DType::kU8:
      return {"U8", 1, 1};
    case DType::kQ8_0:
      return {"Q8_0", 32, 34};
    case DType::kQ4_0:
      return {"Q4_0", 32, 18};
    case DType::kQ4_1:
      return {"Q4_1", 32, 20};
    case DType::kQ4K:
      return {"Q4_K", 256, 144};
    case DType::kQ5K:
      return {"Q5_K", 256, 176};
    case DType::kQ6K:
      return {"Q6_K", 256, 210};
    case DType::kQ5_0:
      return {"Q5_0", 32, 22};
    case DType::kQ5_1:
      return {"Q5_1", 32, 24};
    case DType::kQ2K:
      return {"Q2_K", 256, 84};
    case DType::kQ3K:
      return {"Q3_K", 256, 110};
    case DType::kIq1S:
      return {"IQ1_S", 256, 50};
    case DType::kIq1M:
      return {"IQ1_M", 256, 56};
    case DType::kIq2Xxs:
      return {"IQ2_XXS", 256, 66};
    case DType::kIq2Xs:
      return {"IQ2_XS", 256, 74};
    case DType::kIq2S:
      return {"IQ2_S", 256, 82};
    case DType::kIq3Xxs:
      return {"IQ3_XXS", 256, 98};
    case DType::kIq3S:
      return {"IQ3_S", 256, 110};
    case DType::kIq4Nl:
      return {"IQ4_NL", 32, 18};
    case DType::kIq4Xs:
      return {"IQ4_XS", 256, 136};
    case DType::kTq1_0:
      return {"TQ1_0", 256, 54};
    case DType::kTq2_0:
      return {"TQ2_0", 256, 66};
    case DType::kMxfp4:
      return {"MXFP4", 32, 17};
    case DType::kNf4:
      return {"NF4", 64, 36};
  }
  CheckFailed(__FILE__, __LINE__, "known DType", "");
}

}  // namespace

std::string_view DTypeName(DType dtype) { return Info(dtype).name; }
int64_t BlockElements(DType dtype) { return Info(dtype).block_elements; }
int64_t BlockBytes(DType dtype) { return Info(dtype).block_bytes; }

}  // namespace pingti::worker
