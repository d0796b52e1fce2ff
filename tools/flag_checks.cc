// See flag_checks.h.
#include "tools/flag_checks.h"

#include <algorithm>

namespace pingti::tools {
namespace {

CLI::Validator NumberWith(bool (*fits)(double), const std::string& expected,
                          const std::string& name) {
  const auto check = [fits, expected](std::string& text) {
    double value = 0;
    const bool is_number = CLI::detail::lexical_cast(text, value);
    return is_number && fits(value) ? std::string() : Concat(text, ": expected ", expected);
  };
  return CLI::Validator(check, name, name);
}

}  // namespace

CLI::Validator Positive() {
  return NumberWith([](double value) { return value > 0; }, "a number above 0", "POSITIVE");
}

CLI::Validator NonNegative() {
  return NumberWith([](double value) { return value >= 0; }, "a number of at least 0",
                    "NONNEGATIVE");
}

CLI::Validator BaseUrl() {
  const auto shorten = [](std::string& text) {
    const auto cut_slashes = [&text] {
      while (text.ends_with('/') && !text.ends_with("://")) text.pop_back();
    };
    cut_slashes();
    if (text.ends_with("/v1")) text.resize(text.size() - 3);
    cut_slashes();
    return std::string();
  };
  return CLI::Validator(shorten, "");
}

CLI::Validator ApiKey() {
  const auto check = [](const std::string& text) {
    const bool fits =
        std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
    return std::string(fits ? "" : "expected printable ASCII characters, without a line's end");
  };
  return CLI::Validator(check, "");
}

}  // namespace pingti::tools
