// See flag_checks.h.
#include "tools/flag_checks.h"

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

}  // namespace pingti::tools
