#include "worker/backend/backend.h"

#include "common/base/check.h"

namespace pingti::worker {

std::string_view WeightFormatName(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt8Weights:
      return "int8_weights";
    case WeightFormat::kStored:
      return "stored";
  }
  CheckFailed(__FILE__, __LINE__, "known WeightFormat", "");
}

}  // namespace pingti::worker
