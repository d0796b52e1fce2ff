// What values a command's flag may have, told in its help and in what a wrong one gets, where CLI11
// itself would show how the values are kept.
#pragma once

#include <charconv>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "common/base/strings.h"

namespace pingti::tools {

// Numbers above 0, and from 0 on.
CLI::Validator Positive();
CLI::Validator NonNegative();

// Whole numbers that `Number` holds, in decimal: CLI11 itself takes the nearest that it holds.
template <typename Number>
CLI::Validator Integer() {
  const auto check = [](const std::string& text) {
    Number value = 0;
    const char* end = text.data() + text.size();
    const std::from_chars_result read = std::from_chars(text.data(), end, value);
    if (read.ec == std::errc() && read.ptr == end) return std::string();
    using Limits = std::numeric_limits<Number>;
    return Concat(text, ": expected an integer from ", Limits::min(), " to ", Limits::max());
  };
  return CLI::Validator(check, "");
}

// A server's address, of which a slash at the end and a /v1, as clients' libraries take it, are
// cut off.
CLI::Validator BaseUrl();

// A key that a header can carry. What is wrong with it is said without the key.
CLI::Validator ApiKey();

// Has `option`, of a bool or an enum, take one of the spellings, and its help name them.
template <typename Value>
CLI::Option* TakesOneOf(CLI::Option* option,
                        const std::vector<std::pair<std::string, Value>>& choices) {
  std::string names;
  std::string list;
  for (const auto& [name, value] : choices) {
    names += Concat(names.empty() ? "" : "|", name);
    list += Concat(list.empty() ? "" : ", ", name);
  }
  const auto read = [choices, list](std::string& text) {
    for (const auto& [name, value] : choices) {
      if (text != name) continue;
      text = std::to_string(static_cast<int>(value));
      return std::string();
    }
    return Concat("'", text, "': expected one of ", list);
  };
  return option->type_name(names)->transform(CLI::Validator(read, "", "one of"));
}

}  // namespace pingti::tools
