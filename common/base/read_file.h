// Small files as a whole: settings, keys, certificates.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace pingti {

// Errors: NotFound with the path and the system's reason, also for a directory.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace pingti
