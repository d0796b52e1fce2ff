// White space around what a model writes.
#pragma once

#include <string_view>

namespace pingti::router {

inline constexpr std::string_view kBlank = " \t\r\n";

inline bool IsBlank(std::string_view text) {
  return text.find_first_not_of(kBlank) == std::string_view::npos;
}
inline bool IsBlank(char c) { return kBlank.find(c) != std::string_view::npos; }

inline std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace pingti::router
