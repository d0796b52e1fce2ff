// Prints the broken invariant to stderr and aborts, so that a core dump shows the place.
#include "common/base/check.h"

#include <cstdio>
#include <cstdlib>

#include "common/base/log.h"

namespace pingti {

void CheckFailed(const char* file, int line, const char* condition, std::string_view detail) {
  // No allocation: the heap may be what is broken.
  std::fprintf(stderr, "%s:%d: invariant broken: %s%s%.*s\n", file, line, condition,
               detail.empty() ? "" : ": ", static_cast<int>(detail.size()), detail.data());
  std::fflush(stderr);
  FlushLogs();
  std::abort();
}

}  // namespace pingti
