// Concatenation for messages. Debian's Abseil has its own string_view, so absl::StrCat refuses
// std::string_view, which is what pingti's interfaces carry.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>

namespace pingti {
namespace internal {

inline void Append(std::string& out, std::string_view text) { out.append(text); }
inline void Append(std::string& out, char c) { out.push_back(c); }

// Shortest text that reads back as the same value, in every locale.
template <typename Number>
requires(std::is_arithmetic_v<Number> && !std::is_same_v<Number, char> &&
         !std::is_same_v<Number, bool>) void Append(std::string& out, Number value) {
  char digits[64];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), value);
  out.append(digits, end.ptr);
}

template <typename Bool>
requires std::is_same_v<Bool, bool>
void Append(std::string& out, Bool value) { out.append(value ? "true" : "false"); }

}  // namespace internal

// Concat("port ", 8080, " is taken"): text, characters, numbers and booleans.
template <typename... Parts>
std::string Concat(const Parts&... parts) {
  std::string out;
  (internal::Append(out, parts), ...);
  return out;
}

}  // namespace pingti
