// What a measurement cannot be asked for, by name.
#include "tools/bench/options.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace pingti::tools {
namespace {

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(ParseLengthRange, TakesANumberOrARange) {
  const std::vector<std::pair<std::string, std::pair<int, int>>> cases = {
      {"1", {1, 1}}, {"128", {128, 128}}, {"64-256", {64, 256}}, {"7-7", {7, 7}}};
  for (const auto& [text, want] : cases) {
    const absl::StatusOr<LengthRange> range = ParseLengthRange(text);
    ASSERT_TRUE(range.ok()) << range.status();
    EXPECT_EQ(std::pair(range->least, range->most), want) << text;
  }
}

TEST(ParseLengthRange, RefusesAnythingElseByName) {
  for (const char* text : {"", "0", "-1", "1-", "-", "8-4", "a", "1.5", "1 ", " 1", "1-2-3", "0-4",
                           "99999999999", "1-10000001"}) {
    const absl::Status status = ParseLengthRange(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_NE(MessageOf(status).find("'" + std::string(text) + "'"), std::string::npos) << status;
  }
}

BenchOptions Good() {
  BenchOptions options;
  options.rates = {4};
  return options;
}

TEST(CheckBenchOptions, TakesARateOrAConcurrency) {
  EXPECT_TRUE(CheckBenchOptions(Good()).ok());
  BenchOptions options;
  options.concurrencies = {1, 10'000};
  EXPECT_TRUE(CheckBenchOptions(options).ok());
}

struct Bad {
  const char* named;
  void (*change)(BenchOptions* options);
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.named; }

class CheckRefuses : public ::testing::TestWithParam<Bad> {};

TEST_P(CheckRefuses, TheOptionByName) {
  BenchOptions options = Good();
  GetParam().change(&options);
  const absl::Status status = CheckBenchOptions(options);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(MessageOf(status).find(GetParam().named), std::string::npos) << status;
}

INSTANTIATE_TEST_SUITE_P(
    Options, CheckRefuses,
    ::testing::Values(
        Bad{"exactly one of --rate and --concurrency", [](BenchOptions* o) { o->rates.clear(); }},
        Bad{"exactly one of --rate and --concurrency",
            [](BenchOptions* o) { o->concurrencies = {1}; }},
        Bad{"--rate 0",
            [](BenchOptions* o) {
              o->rates = {1, 0};
            }},
        Bad{"--rate -1", [](BenchOptions* o) { o->rates = {-1}; }},
        Bad{"--rate nan",
            [](BenchOptions* o) { o->rates = {std::numeric_limits<double>::quiet_NaN()}; }},
        Bad{"--rate inf",
            [](BenchOptions* o) { o->rates = {std::numeric_limits<double>::infinity()}; }},
        Bad{"--concurrency 0",
            [](BenchOptions* o) {
              o->rates.clear();
              o->concurrencies = {0};
            }},
        Bad{"--concurrency 5: expected 1 to --max-in-flight (4)",
            [](BenchOptions* o) {
              o->rates.clear();
              o->concurrencies = {5};
              o->max_in_flight = 4;
            }},
        Bad{"--require-goodput", [](BenchOptions* o) { o->require_goodput = 0.5; }},
        Bad{"--shared-prefix",
            [](BenchOptions* o) {
              o->shared_prefix = 4;
              o->dataset = "x.jsonl";
            }},
        Bad{"--shared-prefix 64: expected fewer tokens than --input-tokens", [](BenchOptions* o) {
              o->shared_prefix = 64;
              o->input = {64, 128};
            }}));

TEST(CheckBenchOptions, AnyOneLimitIsEnoughForAGoal) {
  for (const auto limit : {&Slo::ttft_ms, &Slo::tpot_ms, &Slo::e2e_ms}) {
    BenchOptions options = Good();
    options.require_goodput = 0.5;
    options.slo.*limit = 100;
    EXPECT_TRUE(CheckBenchOptions(options).ok());
  }
}

}  // namespace
}  // namespace pingti::tools
