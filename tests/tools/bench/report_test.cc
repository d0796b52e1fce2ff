// Percentiles, rates and goodput from the definitions; the table, the JSON and the picture.
#include "tools/bench/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "boost/json.hpp"
#include "tools/bench/report_svg.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

LoadResult ResultOf(std::vector<Answered> answered, double wall_s = 10) {
  LoadResult result;
  result.answered = std::move(answered);
  result.wall_s = wall_s;
  return result;
}

// The k-th smallest value, k = ceil(q n): the definition.
double Exact(std::vector<double> values, double quantile) {
  std::sort(values.begin(), values.end());
  const double rank = std::max(1.0, std::ceil(quantile * static_cast<double>(values.size())));
  return values[static_cast<size_t>(rank) - 1];
}

TEST(MakeReport, PercentilesAreThoseOfTheSortedValues) {
  for (const size_t count : {1u, 2u, 19u, 20u, 100u, 1001u}) {
    std::mt19937_64 random(count);
    std::lognormal_distribution<double> latency(3, 1);
    std::vector<Answered> answered(count);
    std::vector<double> ttft;
    std::vector<double> e2e;
    for (Answered& one : answered) {
      one.ttft_ms = latency(random);
      one.e2e_ms = one.ttft_ms + latency(random);
      one.output_tokens = 2;
      ttft.push_back(one.ttft_ms);
      e2e.push_back(one.e2e_ms);
    }
    const RunReport report = MakeReport(1, ResultOf(answered), {});
    for (const auto& [got, values] :
         {std::pair(report.ttft_ms, ttft), std::pair(report.e2e_ms, e2e)}) {
      EXPECT_EQ(got.p50, Exact(values, 0.5)) << count;
      EXPECT_EQ(got.p95, Exact(values, 0.95)) << count;
      EXPECT_EQ(got.p99, Exact(values, 0.99)) << count;
      EXPECT_EQ(got.max, Exact(values, 1)) << count;
    }
  }
}

TEST(MakeReport, AnAnswerOfOneTokenHasNoTimePerToken) {
  const RunReport report = MakeReport(1,
                                      ResultOf({{.ttft_ms = 5, .e2e_ms = 5, .output_tokens = 1},
                                                {.tpot_ms = 8, .output_tokens = 3}}),
                                      {});
  EXPECT_EQ(report.tpot_ms.mean, 8);
  EXPECT_EQ(report.tpot_ms.p50, 8);
}

TEST(MakeReport, CountsAndRatesAddUp) {
  LoadResult result = ResultOf(
      {{.prompt_tokens = 10, .output_tokens = 4}, {.prompt_tokens = 20, .output_tokens = 6}}, 4);
  result.errors = {{"HTTP 429", 2}, {"timeout", 1}};
  result.first_error = "HTTP 429: busy";
  result.unfinished = 5;
  result.client_cpu_s = 1;
  const RunReport report = MakeReport(3, result, {});
  EXPECT_EQ(report.load, 3);
  EXPECT_EQ(report.num_answered, 2);
  EXPECT_EQ(report.num_failed, 3);
  EXPECT_EQ(report.num_unfinished, 5);
  EXPECT_EQ(report.requests_per_s, 0.5);
  EXPECT_EQ(report.output_tokens_per_s, 2.5);
  EXPECT_EQ(report.input_tokens_mean, 15);
  EXPECT_EQ(report.output_tokens_mean, 5);
  EXPECT_EQ(report.client_cpu_share, 0.25);
}

struct GoodputCase {
  Slo slo;
  int good;
};

// Each limit alone, all together, and a value that is just the limit.
TEST(MakeReport, GoodputCountsWhatKeepsEveryLimitOverAllThatWereDue) {
  LoadResult result = ResultOf({{.ttft_ms = 100, .e2e_ms = 900, .tpot_ms = 10, .output_tokens = 9},
                                {.ttft_ms = 200, .e2e_ms = 500, .tpot_ms = 20, .output_tokens = 9},
                                {.ttft_ms = 300, .e2e_ms = 700, .tpot_ms = 30, .output_tokens = 9}},
                               2);
  result.errors = {{"timeout", 1}};
  const std::vector<GoodputCase> cases = {
      {{}, 3},
      {{.ttft_ms = 200}, 2},
      {{.tpot_ms = 10}, 1},
      {{.e2e_ms = 700}, 2},
      {{.ttft_ms = 200, .e2e_ms = 700}, 1},
      {{.ttft_ms = 1, .tpot_ms = 1, .e2e_ms = 1}, 0},
  };
  for (const auto& [slo, good] : cases) {
    const RunReport report = MakeReport(1, result, slo);
    EXPECT_DOUBLE_EQ(report.goodput_share, good / 4.0);
    EXPECT_DOUBLE_EQ(report.goodput_per_s, good / 2.0);
  }
}

TEST(MakeReport, WithoutAnAnswerAllIsZero) {
  LoadResult result = ResultOf({}, 0);
  result.errors = {{"connect", 7}};
  const RunReport report = MakeReport(1, result, {.ttft_ms = 1});
  EXPECT_EQ(report.num_failed, 7);
  EXPECT_EQ(report.goodput_share, 0);
  EXPECT_EQ(report.requests_per_s, 0);
  EXPECT_EQ(report.e2e_ms.p99, 0);
}

BenchReport TwoRuns() {
  BenchReport report;
  report.model = "a <model> & more";
  report.options.rates = {1, 2.5};
  report.options.slo.ttft_ms = 50;
  report.options.input = {16, 32};
  for (const double rate : report.options.rates) {
    LoadResult result = ResultOf(
        {{.ttft_ms = 40 * rate, .e2e_ms = 90 * rate, .tpot_ms = 5, .output_tokens = 11}}, 1);
    result.errors["HTTP 503"] = 1;
    result.first_error = "HTTP 503: no \"worker\"";
    result.inter_token.Add(std::chrono::milliseconds(5));
    report.runs.push_back(MakeReport(rate, result, report.options.slo));
  }
  return report;
}

TEST(ReportJson, SaysWhatWasAskedAndWhatCame) {
  const json::value out = json::parse(ReportJson(TwoRuns()));
  EXPECT_EQ(out.at("arrivals"), "poisson");
  EXPECT_EQ(out.at("input_tokens"), "16-32");
  EXPECT_EQ(out.at("output_tokens"), "128");
  EXPECT_EQ(out.at("slo").at("ttft_ms"), 50.0);
  EXPECT_TRUE(out.at("slo").at("e2e_ms").is_null());
  EXPECT_EQ(out.at("stopped"), false);
  ASSERT_EQ(out.at("runs").as_array().size(), 2u);
  const json::value& second = out.at("runs").at(1);
  EXPECT_EQ(second.at("rate"), 2.5);
  EXPECT_FALSE(second.as_object().contains("concurrency"));
  EXPECT_EQ(second.at("ttft_ms").at("p95"), 100.0);
  EXPECT_EQ(second.at("errors").at("HTTP 503"), 1);
  EXPECT_EQ(out.at("runs").at(0).at("goodput_share"), 0.5);
  EXPECT_EQ(second.at("goodput_share"), 0.0);
}

TEST(ReportJson, AClosedLoopHasStreams) {
  BenchReport report = TwoRuns();
  report.options.rates.clear();
  report.options.concurrencies = {1, 2};
  const json::value out = json::parse(ReportJson(report));
  EXPECT_EQ(out.at("arrivals"), "closed");
  EXPECT_TRUE(out.at("runs").at(0).as_object().contains("concurrency"));
}

// The cells of the row that begins with `name`.
std::vector<std::string> RowOf(const std::string& table, const std::string& name) {
  const size_t at = table.find(name + " ");
  EXPECT_NE(at, std::string::npos) << name << "\n" << table;
  if (at == std::string::npos) return {};
  const size_t begin = at + name.size();
  std::vector<std::string> cells(1);
  for (const char c : table.substr(begin, table.find('\n', begin) - begin)) {
    if (c != ' ') {
      cells.back() += c;
    } else if (!cells.back().empty()) {
      cells.emplace_back();
    }
  }
  return cells;
}

TEST(ReportTable, HasAColumnForEveryRun) {
  const std::string table = ReportTable(TwoRuns());
  using Cells = std::vector<std::string>;
  EXPECT_EQ(RowOf(table, "due requests / s"), (Cells{"1.00", "2.50"}));
  EXPECT_EQ(RowOf(table, "answered"), (Cells{"1", "1"}));
  EXPECT_EQ(RowOf(table, "failed"), (Cells{"1", "1"}));
  EXPECT_EQ(RowOf(table, "TTFT p99 / ms"), (Cells{"40.0", "100"}));
  EXPECT_EQ(RowOf(table, "goodput, share"), (Cells{"0.500", "0.000"}));
  EXPECT_NE(table.find("errors at 2.50: 1 x HTTP 503"), std::string::npos) << table;
  EXPECT_NE(table.find("no \"worker\""), std::string::npos);
  EXPECT_EQ(table.find("unfinished"), std::string::npos);
}

TEST(ReportTable, AStoppedRunSaysWhatIsUnfinished) {
  BenchReport report = TwoRuns();
  report.stopped = true;
  report.runs[1].num_unfinished = 9;
  EXPECT_EQ(RowOf(ReportTable(report), "unfinished"), (std::vector<std::string>{"0", "9"}));
}

size_t Count(const std::string& text, const std::string& piece) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(piece, at)) != std::string::npos; ++at) ++count;
  return count;
}

TEST(ReportSvg, HasAPointForEveryRunAndPercentile) {
  const std::string svg = ReportSvg(TwoRuns());
  EXPECT_EQ(Count(svg, "<circle"), 2u * (3 * 3 + 1));
  EXPECT_EQ(Count(svg, "class=\"line"), 10u);
  EXPECT_NE(svg.find("a &lt;model> &amp; more"), std::string::npos);
  EXPECT_NE(svg.find("due requests / s"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(ReportSvg, NoRunAndNoAnswerAreStillPictures) {
  BenchReport report;
  EXPECT_EQ(Count(ReportSvg(report), "<circle"), 0u);
  report.runs.push_back(MakeReport(1, ResultOf({}, 0), {}));
  const std::string svg = ReportSvg(report);
  EXPECT_EQ(Count(svg, "<circle"), 10u);
  EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
}

}  // namespace
}  // namespace pingti::tools
