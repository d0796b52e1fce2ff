// How much of a text's end may still become a marker.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace pingti::router {

// Length of the longest suffix of `text` that is a proper prefix of `marker`. O(|marker|^2), and
// markers are short.
inline size_t PartialMatch(std::string_view text, std::string_view marker) {
  for (size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n) {
    if (text.ends_with(marker.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace pingti::router
