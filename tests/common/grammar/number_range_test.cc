// Ranges of numbers: every bound with every other, open and closed, against every number near them
// and the order of the numbers themselves.
#include "common/grammar/number_range.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

// A bound, and numbers, in units of 1 / scale; scale is a power of ten.
struct Bound {
  int64_t units = 0;
  bool exclusive = false;
};
using MaybeBound = std::optional<Bound>;

// With every digit behind the point that the scale has.
std::string Written(int64_t units, int64_t scale) {
  const int64_t magnitude = std::abs(units);
  const std::string whole = Concat(units < 0 ? "-" : "", magnitude / scale);
  if (scale == 1) return whole;
  return whole + "." + Concat(scale + magnitude % scale).substr(1);
}

std::string Schema(const MaybeBound& low, const MaybeBound& high, int64_t scale) {
  std::string schema = Concat(R"({"type":")", scale == 1 ? "integer" : "number", "\"");
  if (low) {
    schema += Concat(low->exclusive ? R"(,"exclusiveMinimum":)" : R"(,"minimum":)",
                     Written(low->units, scale));
  }
  if (high) {
    schema += Concat(high->exclusive ? R"(,"exclusiveMaximum":)" : R"(,"maximum":)",
                     Written(high->units, scale));
  }
  return schema + "}";
}

bool IsWithin(const MaybeBound& low, const MaybeBound& high, int64_t units) {
  const bool above = !low || (low->exclusive ? units > low->units : units >= low->units);
  const bool below = !high || (high->exclusive ? units < high->units : units <= high->units);
  return above && below;
}

// A range without numbers may be refused instead.
void CheckRange(const MaybeBound& low, const MaybeBound& high, int64_t scale,
                const std::set<int64_t>& candidates) {
  const std::string schema = Schema(low, high, scale);
  const auto grammar = CompileForTest(GrammarSource::Kind::kJsonSchema, schema);
  for (const int64_t units : candidates) {
    const bool accepted = grammar.ok() && Matches(*grammar, Written(units, scale));
    EXPECT_EQ(accepted, IsWithin(low, high, units)) << schema << " / " << Written(units, scale);
  }
}

// Every pair of bounds, also none, in every combination of open and closed.
void CheckAll(const std::vector<int64_t>& bounds, int64_t scale,
              const std::set<int64_t>& candidates) {
  std::vector<MaybeBound> all{std::nullopt};
  for (const int64_t units : bounds) {
    all.push_back(Bound{units, false});
    all.push_back(Bound{units, true});
  }
  for (const MaybeBound& low : all) {
    for (const MaybeBound& high : all) {
      if (low && high && low->units > high->units) continue;
      CheckRange(low, high, scale, candidates);
    }
  }
}

TEST(NumberRange, IntegersOfSmallRanges) {
  std::vector<int64_t> bounds;
  std::set<int64_t> candidates;
  for (int64_t i = -12; i <= 12; ++i) bounds.push_back(i);
  for (int64_t i = -14; i <= 14; ++i) candidates.insert(i);
  CheckAll(bounds, 1, candidates);
}

TEST(NumberRange, IntegersWhoseBoundsDifferInLengthOrInOneDigit) {
  const std::vector<int64_t> bounds = {-1003, -100, -99, -20, 0,   9,   10,  11,  19,   20,
                                       99,    100,  101, 110, 190, 199, 200, 989, 1000, 1101};
  std::set<int64_t> candidates;
  for (const int64_t bound : bounds) candidates.insert({bound - 1, bound, bound + 1});
  candidates.insert({12, 55, 105, 115, 150, 195, 500, 1010, 1100, 2000, 10000, -10, -55, -500});
  CheckAll(bounds, 1, candidates);
}

TEST(NumberRange, NumbersWithFractions) {
  const std::vector<int64_t> bounds = {-110, -100, -95, -10, -5,  0,   5,  10,
                                       45,   50,   95,  99,  100, 105, 110};
  std::set<int64_t> candidates;
  for (const int64_t bound : bounds) candidates.insert({bound - 1, bound, bound + 1});
  candidates.insert({-150, -50, 20, 75, 150, 1000});
  CheckAll(bounds, 100, candidates);
}

TEST(NumberRange, BoundsAreComparedByValueWhateverZerosFollow) {
  const auto grammar = CompileForTest(GrammarSource::Kind::kJsonSchema,
                                      R"({"type":"number","minimum":0.5,"exclusiveMaximum":1.50})");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  for (const char* within : {"0.5", "0.50", "0.500", "1", "1.0", "1.4", "1.49", "1.499"}) {
    EXPECT_TRUE(Matches(*grammar, within)) << within;
  }
  for (const char* outside :
       {"0.4", "0.49", "0", "1.5", "1.50", "1.500", "1.51", "2", "-0.5", "-1"}) {
    EXPECT_FALSE(Matches(*grammar, outside)) << outside;
  }
}

TEST(NumberRange, TheLargestIntegersAreBounds) {
  constexpr int64_t kMost = 999'999'999'999'999'999;
  CheckRange(Bound{kMost, false}, std::nullopt, 1, {kMost, kMost - 1, 9});
  CheckRange(Bound{-kMost, true}, Bound{-kMost + 2, false}, 1,
             {-kMost, -kMost + 1, -kMost + 2, -kMost + 3});
  CheckRange(Bound{kMost - 2, true}, Bound{kMost, true}, 1, {kMost - 2, kMost - 1, kMost});
  EXPECT_FALSE(CompileForTest(GrammarSource::Kind::kJsonSchema,
                              R"({"type":"integer","minimum":1000000000000000000})")
                   .ok());
  EXPECT_EQ(Decimal::FromInteger(kMost)->integer, static_cast<uint64_t>(kMost));
  EXPECT_FALSE(Decimal::FromInteger(kMost + 1).ok());
  EXPECT_FALSE(Decimal::FromInteger(-kMost - 1).ok());
}

}  // namespace
}  // namespace pingti::grammar
