// Reads a checkpoint's small files whole: configurations, tokenizers, templates. Internal to
// worker/weights.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace pingti::worker {

// `status` with the file's path before its message.
absl::Status InFile(const std::string& path, const absl::Status& status);

// Nullopt when there is none. Errors: as MappedFile::Open; InvalidArgument when the file is larger
// than a text of a checkpoint can be.
absl::StatusOr<std::optional<std::string>> ReadOptionalFile(const std::string& path);
// The same with NotFound when there is none.
absl::StatusOr<std::string> ReadRequiredFile(const std::string& path);

}  // namespace pingti::worker
