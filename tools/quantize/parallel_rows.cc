#include "tools/quantize/parallel_rows.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "common/base/processors.h"

namespace pingti::tools {
namespace {

// A thread costs about what a few rows of a large model do.
constexpr int64_t kMinRowsPerThread = 64;

}  // namespace

void ForRowRanges(int64_t count, int threads,
                  const std::function<void(int64_t begin, int64_t end)>& body) {
  const int64_t wanted = threads > 0 ? threads : AvailableProcessors();
  const int64_t used = std::clamp<int64_t>(std::min(wanted, count / kMinRowsPerThread), 1, 256);
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < used; ++t) {
    helpers.emplace_back([&, t] { body(count * t / used, count * (t + 1) / used); });
  }
  body(0, count / used);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace pingti::tools
