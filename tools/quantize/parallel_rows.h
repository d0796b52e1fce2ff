// Work on a matrix's rows by a few threads that live for the call. For work on rows that do not
// depend on each other, so that the result is the same whatever their number.
#pragma once

#include <cstdint>
#include <functional>

namespace pingti::tools {

// Calls body(begin, end) for ranges that make up [0, count), at the same time on up to `threads`
// threads (0: one per processor), the caller's included. Returns when all are done.
void ForRowRanges(int64_t count, int threads,
                  const std::function<void(int64_t begin, int64_t end)>& body);

}  // namespace pingti::tools
