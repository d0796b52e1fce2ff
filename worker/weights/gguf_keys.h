// Typed look-ups of a GGUF file's keys under one prefix, "llama." for example, that name the key
// when they fail: what JsonFields is for config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {

// Borrows the file.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string prefix);

  // InvalidArgument when absent or out of [min, max].
  absl::StatusOr<int64_t> RequiredInt(std::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min,
                                int64_t max) const;
  // Unset when absent. InvalidArgument when not in [min, max].
  absl::StatusOr<std::optional<double>> Float(std::string_view key, double min, double max) const;
  absl::StatusOr<std::optional<std::string_view>> String(std::string_view key) const;

 private:
  const GgufFile& file_;
  const std::string prefix_;
};

}  // namespace pingti::worker
