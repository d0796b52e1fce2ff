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
  }
  CheckFailed(__FILE__, __LINE__, "known DType", "");
}

}  // namespace

std::string_view DTypeName(DType dtype) { return Info(dtype).name; }
int64_t BlockElements(DType dtype) { return Info(dtype).block_elements; }
int64_t BlockBytes(DType dtype) { return Info(dtype).block_bytes; }

}  // namespace pingti::worker
