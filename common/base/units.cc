// Parsing and formatting of sizes and durations. Both read "number unit" and keep exact integers.
#include "common/base/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>

#include "common/base/strings.h"

namespace pingti {
namespace {

struct Unit {
  std::string_view name;  // lower case
  int64_t factor;
};

constexpr int64_t kKi = 1024;
constexpr int64_t kK = 1000;
constexpr std::array<Unit, 14> kByteUnits = {{
    {"", 1},
    {"b", 1},
    {"k", kKi},
    {"kib", kKi},
    {"kb", kK},
    {"m", kKi* kKi},
    {"mib", kKi* kKi},
    {"mb", kK* kK},
    {"g", kKi* kKi* kKi},
    {"gib", kKi* kKi* kKi},
    {"gb", kK* kK* kK},
    {"t", kKi* kKi* kKi* kKi},
    {"tib", kKi* kKi* kKi* kKi},
    {"tb", kK* kK* kK* kK},
}};
constexpr std::array<Unit, 5> kDurationUnits = {{
    {"ms", 1},
    {"s", 1000},
    {"m", 60'000},
    {"h", 3'600'000},
    {"d", 86'400'000},
}};

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

// The number times the unit's factor, when that is a whole number that fits; `unit` is
// case-sensitive.
std::optional<int64_t> Scale(std::string_view number, int64_t factor) {
  int64_t whole = 0;
  const char* const end = number.data() + number.size();
  const auto [rest, error] = std::from_chars(number.data(), end, whole);
  if (error == std::errc() && rest == end) {
    int64_t product = 0;
    if (__builtin_mul_overflow(whole, factor, &product)) return std::nullopt;
    return product;
  }
  double fraction = 0;
  const auto [fraction_rest, fraction_error] = std::from_chars(number.data(), end, fraction);
  if (fraction_error != std::errc() || fraction_rest != end) return std::nullopt;
  const double product = fraction * static_cast<double>(factor);
  constexpr double kExact = 9007199254740992.0;  // 2^53: whole numbers are exact below
  if (!(std::abs(product) < kExact) || product != std::floor(product)) return std::nullopt;
  return static_cast<int64_t>(product);
}

std::optional<int64_t> ParseWithUnit(std::string_view text, std::span<const Unit> units) {
  size_t number_length = 0;
  while (number_length < text.size() &&
         (std::isdigit(static_cast<unsigned char>(text[number_length])) != 0 ||
          text[number_length] == '.')) {
    ++number_length;
  }
  const std::string_view number = text.substr(0, number_length);
  std::string_view unit = text.substr(number_length);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (number.empty()) return std::nullopt;
  for (const Unit& known : units) {
    if (unit == known.name) return Scale(number, known.factor);
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<int64_t> ParseByteSize(std::string_view text) {
  const std::optional<int64_t> bytes = ParseWithUnit(Lower(text), kByteUnits);
  if (!bytes) {
    return absl::InvalidArgumentError(
        Concat("'", text, "' is not a size: expected whole bytes such as 100M, 2GiB or 1048576"));
  }
  return *bytes;
}

std::string FormatByteSize(int64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % kKi == 0 && unit + 1 < kNames.size()) {
    bytes /= kKi;
    ++unit;
  }
  return Concat(bytes, kNames[unit]);
}

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  if (text == "0") return std::chrono::milliseconds(0);
  const std::optional<int64_t> ms = ParseWithUnit(text, kDurationUnits);
  if (!ms) {
    return absl::InvalidArgumentError(Concat(
        "'", text, "' is not a duration: expected whole milliseconds such as 250ms, 30s or 1.5h"));
  }
  return std::chrono::milliseconds(*ms);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t ms = duration.count();
  for (auto unit = kDurationUnits.rbegin(); unit != kDurationUnits.rend(); ++unit) {
    if (ms != 0 && ms % unit->factor == 0) return Concat(ms / unit->factor, unit->name);
  }
  return Concat(ms, "ms");
}

}  // namespace pingti
