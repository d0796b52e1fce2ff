// Small files as a whole: settings, keys, certificates.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace pingti {

// The most that is taken of one file: a device such as /dev/zero has no end.
inline constexpr size_t kMaxReadFileBytes = size_t{64} << 20;

// Errors: NotFound with the path and the system's reason, also for a directory; OutOfRange for a
// file of more than kMaxReadFileBytes.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace pingti
