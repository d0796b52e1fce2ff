#include "tools/quantize/parallel_rows.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace pingti::tools {
namespace {

TEST(ForRowRanges, VisitsEachRowOnceWhateverTheNumberOfThreads) {
  for (const int threads : {0, 1, 3, 64}) {
    for (const int64_t count : {0, 1, 63, 64, 129, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      ForRowRanges(count, threads, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) ++visits[static_cast<size_t>(r)];
      });
      for (const std::atomic<int>& visit : visits) {
        ASSERT_EQ(visit, 1) << count << " rows, " << threads << " threads";
      }
    }
  }
}

}  // namespace
}  // namespace pingti::tools
