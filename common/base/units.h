// Sizes and durations as people write them in settings: "100M", "2GiB", "250ms", "1.5h".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pingti {

// A number and a unit without regard to case: B, K/KiB/KB, M/MiB/MB, G/GiB/GB, T/TiB/TB. A bare
// letter and the -iB forms are powers of 1024; the -B forms are powers of 1000; no unit is bytes.
// The number may have a fraction if the result is whole bytes. Errors: InvalidArgument.
absl::StatusOr<int64_t> ParseByteSize(std::string_view text);
// The largest power of 1024 that divides it: "100MiB", "1536KiB", "17B".
std::string FormatByteSize(int64_t bytes);

// A number and a unit: ms, s, m, h, d; the unit may be left out only for 0. Resolution 1 ms.
// Errors: InvalidArgument.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);
// The largest unit that divides it: "90s", "2m", "1500ms".
std::string FormatDuration(std::chrono::milliseconds duration);

}  // namespace pingti
