// Stops the process when one of pingti's own invariants is broken. Never for request data, files or
// devices: those return absl::Status.
#pragma once

#include <string_view>

namespace pingti {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view detail);

}  // namespace pingti

#define PINGTI_CHECK(condition) PINGTI_CHECK_MSG(condition, "")
#define PINGTI_CHECK_MSG(condition, detail)                                            \
  do {                                                                                 \
    if (!(condition)) ::pingti::CheckFailed(__FILE__, __LINE__, #condition, (detail)); \
  } while (false)
