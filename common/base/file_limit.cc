#include "common/base/file_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace pingti {
namespace {

// More than any process here uses; some systems' "no limit" would make tables of that size.
constexpr rlim_t kEnough = 1 << 20;

}  // namespace

size_t RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;  // POSIX systems' usual one
  const rlim_t wanted = std::min(limit.rlim_max, std::max(limit.rlim_cur, kEnough));
  const rlim_t before = std::exchange(limit.rlim_cur, wanted);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return static_cast<size_t>(before);
  return static_cast<size_t>(wanted);
}

}  // namespace pingti
