#include "worker/weights/gguf_keys.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

absl::StatusOr<int64_t> InRange(const std::string& name, int64_t value, int64_t min, int64_t max) {
  if (value < min || value > max) {
    return absl::InvalidArgumentError(
        Concat("metadata key '", name, "' is ", value, "; expected ", min, " to ", max));
  }
  return value;
}

}  // namespace

GgufKeys::GgufKeys(const GgufFile& file, std::string prefix)
    : file_(file), prefix_(std::move(prefix)) {}

absl::StatusOr<int64_t> GgufKeys::RequiredInt(std::string_view key, int64_t min,
                                              int64_t max) const {
  const std::string name = Concat(prefix_, key);
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, file_.Int(name));
  if (!value.has_value()) {
    return absl::InvalidArgumentError(Concat("metadata key '", name, "' is missing"));
  }
  return InRange(name, *value, min, max);
}

absl::StatusOr<int64_t> GgufKeys::IntOr(std::string_view key, int64_t fallback, int64_t min,
                                        int64_t max) const {
  const std::string name = Concat(prefix_, key);
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, file_.Int(name));
  if (!value.has_value()) return fallback;
  return InRange(name, *value, min, max);
}

absl::StatusOr<std::optional<double>> GgufKeys::Float(std::string_view key, double min,
                                                      double max) const {
  const std::string name = Concat(prefix_, key);
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> value, file_.Float(name));
  if (value.has_value() && !(*value >= min && *value <= max)) {
    return absl::InvalidArgumentError(
        Concat("metadata key '", name, "' is ", *value, "; expected ", min, " to ", max));
  }
  return value;
}

absl::StatusOr<std::optional<std::string_view>> GgufKeys::String(std::string_view key) const {
  return file_.String(Concat(prefix_, key));
}

}  // namespace pingti::worker
