// See number_range.h.
#include "common/grammar/number_range.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/strings.h"
#include "common/grammar/json_rules.h"

namespace pingti::grammar {
namespace {

constexpr uint64_t kLargest = 999'999'999'999'999'999u;  // kMaxIntegerDigits nines

// Digits of a bound that are still to be compared with: nothing, once they do not matter.
struct Digits {
  std::string_view rest;
  bool exclusive = false;

  char next() const { return rest.empty() ? '0' : rest.front(); }
  Digits Skip() const { return {rest.empty() ? rest : rest.substr(1), exclusive}; }
  bool all_zero() const { return rest.find_first_not_of('0') == std::string_view::npos; }
};
using MaybeDigits = std::optional<Digits>;

// Magnitudes (numbers without sign) between two bounds.
class Magnitudes {
 public:
  Magnitudes(bool integer, Grammar* grammar)
      : grammar_(*grammar), fraction_digits_(integer ? 0 : kMaxFractionDigits) {}

  ExprId Between(const NumberBound& low, const NumberBound& high) {
    const Digits low_digits{low.value.fraction, low.exclusive};
    const Digits high_digits{high.value.fraction, high.exclusive};
    const uint64_t first = low.value.integer;
    const uint64_t last = high.value.integer;
    if (first > last) return grammar_.Choice({});
    if (first == last) return WithInteger(first, low_digits, high_digits);
    std::vector<ExprId> choices{WithInteger(first, low_digits, {}),
                                WithInteger(last, {}, high_digits)};
    if (last - first > 1) {
      choices.push_back(
          grammar_.Sequence({Integers(first + 1, last - 1), Fraction(MaybeDigits(), {})}));
    }
    return grammar_.Choice(std::move(choices));
  }

 private:
  ExprId Digit(char first, char last) {
    return grammar_.Class(CharClass{{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
  }

  ExprId WithInteger(uint64_t integer, MaybeDigits low, MaybeDigits high) {
    return grammar_.Sequence({grammar_.Literal(Concat(integer)), Fraction(low, high)});
  }

  static bool MayEnd(const MaybeDigits& low, const MaybeDigits& high) {
    const bool above = !low || (low->all_zero() && !low->exclusive);
    const bool below = !high || !high->all_zero() || !high->exclusive;
    return above && below;
  }

  // The point and what stands behind it, or nothing where that lies between the bounds.
  ExprId Fraction(MaybeDigits low, MaybeDigits high) {
    const ExprId digits =
        fraction_digits_ == 0
            ? grammar_.Choice({})
            : grammar_.Sequence({grammar_.Literal("."), Next(low, high, fraction_digits_)});
    if (!MayEnd(low, high)) return digits;
    return grammar_.Optional(digits);
  }

  // One more digit at least. The digits strictly between the bounds' leave the rest free.
  ExprId Next(MaybeDigits low, MaybeDigits high, int32_t left) {
    if (!low && !high) return grammar_.Repeat(Digit('0', '9'), 1, left);
    const char from = low ? low->next() : '0';
    const char to = high ? high->next() : '9';
    std::vector<ExprId> choices;
    const auto add = [&](char first, char last, MaybeDigits lower, MaybeDigits upper) {
      if (first > last) return;
      choices.push_back(grammar_.Sequence({Digit(first, last), Rest(lower, upper, left - 1)}));
    };
    if (low && high && from == to) {
      add(from, from, low->Skip(), high->Skip());
    } else if (from <= to) {
      if (low) add(from, from, low->Skip(), {});
      add(low ? from + 1 : from, high ? to - 1 : to, {}, {});
      if (high) add(to, to, {}, high->Skip());
    }
    return grammar_.Choice(std::move(choices));
  }

  ExprId Rest(MaybeDigits low, MaybeDigits high, int32_t left) {
    const ExprId more = left == 0 ? grammar_.Choice({}) : Next(low, high, left);
    return MayEnd(low, high) ? grammar_.Optional(more) : more;
  }

  // Integers of any length, split into those of one length.
  ExprId Integers(uint64_t first, uint64_t last) {
    std::vector<ExprId> choices;
    uint64_t power = 10;
    for (uint64_t begin = first; begin <= last; power *= 10) {
      if (begin >= power) continue;
      const uint64_t end = std::min(last, power - 1);
      choices.push_back(SameLength(Concat(begin), Concat(end)));
      begin = end + 1;
    }
    return grammar_.Choice(std::move(choices));
  }

  ExprId SameLength(std::string_view low, std::string_view high) {
    if (low.empty()) return grammar_.Literal("");
    if (low.front() == high.front()) {
      return grammar_.Sequence(
          {Digit(low.front(), low.front()), SameLength(low.substr(1), high.substr(1))});
    }
    const std::string zeros(low.size() - 1, '0');
    const std::string nines(low.size() - 1, '9');
    // Bounds whose remaining digits bound nothing join the digits between them.
    const bool low_free = low.substr(1) == zeros;
    const bool high_free = high.substr(1) == nines;
    const char from = low_free ? low.front() : static_cast<char>(low.front() + 1);
    const char to = high_free ? high.front() : static_cast<char>(high.front() - 1);
    std::vector<ExprId> choices;
    if (!low_free) {
      choices.push_back(
          grammar_.Sequence({Digit(low.front(), low.front()), SameLength(low.substr(1), nines)}));
    }
    if (from <= to) {
      const int32_t length = static_cast<int32_t>(zeros.size());
      choices.push_back(
          grammar_.Sequence({Digit(from, to), grammar_.Repeat(Digit('0', '9'), length, length)}));
    }
    if (!high_free) {
      choices.push_back(grammar_.Sequence(
          {Digit(high.front(), high.front()), SameLength(zeros, high.substr(1))}));
    }
    return grammar_.Choice(std::move(choices));
  }

  Grammar& grammar_;
  const int32_t fraction_digits_;
};

NumberBound Zero(bool exclusive) { return {Decimal(), exclusive}; }
// The largest magnitude that is written.
NumberBound Largest() { return {Decimal{false, kLargest, ""}, false}; }

}  // namespace

absl::StatusOr<Decimal> Decimal::FromDouble(double value) {
  if (!std::isfinite(value) || std::abs(value) > static_cast<double>(kLargest)) {
    return absl::InvalidArgumentError(
        Concat("bound ", value, ": expected at most ", kMaxIntegerDigits, " digits"));
  }
  char text[400];
  const auto end =
      std::to_chars(text, text + sizeof(text), std::abs(value), std::chars_format::fixed);
  const std::string_view digits(text, end.ptr - text);
  Decimal result;
  result.negative = value < 0;
  const size_t point = std::min(digits.find('.'), digits.size());
  std::from_chars(digits.data(), digits.data() + point, result.integer);
  if (point < digits.size()) result.fraction = digits.substr(point + 1);
  if (result.fraction.size() > static_cast<size_t>(kMaxFractionDigits)) {
    return absl::InvalidArgumentError(Concat("bound ", value, ": expected at most ",
                                             kMaxFractionDigits, " digits after the point"));
  }
  while (!result.fraction.empty() && result.fraction.back() == '0') result.fraction.pop_back();
  if (result.is_zero()) result.negative = false;
  return result;
}

absl::StatusOr<Decimal> Decimal::FromInteger(int64_t value) {
  const uint64_t magnitude =
      value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  if (magnitude > kLargest) {
    return absl::InvalidArgumentError(
        Concat("bound ", value, ": expected at most ", kMaxIntegerDigits, " digits"));
  }
  return Decimal{value < 0, magnitude, ""};
}

ExprId NumberInRange(const NumberRange& range, bool integer, Grammar* grammar) {
  Magnitudes magnitudes(integer, grammar);
  std::vector<ExprId> choices;
  const bool low_negative = !range.low || range.low->value.negative;
  const bool high_negative = range.high && range.high->value.negative;
  const bool high_zero = range.high && range.high->value.is_zero();
  if (low_negative) {
    const NumberBound from = high_negative ? *range.high : Zero(true);
    const NumberBound to = range.low ? *range.low : Largest();
    choices.push_back(grammar->Sequence({grammar->Literal("-"), magnitudes.Between(from, to)}));
  }
  if (!high_negative && !(high_zero && range.high->exclusive)) {
    const NumberBound from = low_negative ? Zero(false) : *range.low;
    choices.push_back(magnitudes.Between(from, range.high ? *range.high : Largest()));
  }
  return grammar->Choice(std::move(choices));
}

}  // namespace pingti::grammar
