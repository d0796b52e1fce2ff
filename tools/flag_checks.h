// What values a command's flag may have, told in its help and in what a wrong one gets, where CLI11
// itself would show how the values are kept.
#pragma once

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
