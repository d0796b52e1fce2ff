// See report.h.
#include "tools/bench/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

// The smallest value that the share `quantile` of all does not exceed.
double QuantileOf(const std::vector<double>& sorted, double quantile) {
  if (sorted.empty()) return 0;
  const double rank = std::ceil(quantile * static_cast<double>(sorted.size()));
  return sorted[static_cast<size_t>(std::max(1.0, rank)) - 1];
}

Percentiles PercentilesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += value;
  return {sum / static_cast<double>(values.size()), QuantileOf(values, 0.5),
          QuantileOf(values, 0.95), QuantileOf(values, 0.99), values.back()};
}

bool Keeps(const Answered& answered, const Slo& slo) {
  return (!slo.ttft_ms || answered.ttft_ms <= *slo.ttft_ms) &&
         (!slo.tpot_ms || answered.tpot_ms <= *slo.tpot_ms) &&
         (!slo.e2e_ms || answered.e2e_ms <= *slo.e2e_ms);
}

template <typename Get>
std::vector<double> Collect(const std::vector<Answered>& answered, const Get& get) {
  std::vector<double> values;
  values.reserve(answered.size());
  for (const Answered& one : answered) get(one, &values);
  return values;
}

// Three significant digits, without an exponent.
std::string Short(double value) {
  char text[32];
  const int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

class Table {
 public:
  explicit Table(const std::vector<RunReport>& runs) : runs_(runs) {}

  void Row(const std::string& name, const std::function<std::string(const RunReport&)>& cell) {
    std::string line = name;
    line.resize(std::max<size_t>(line.size(), kNameWidth), ' ');
    for (const RunReport& run : runs_) {
      const std::string text = cell(run);
      line.append(text.size() < kCellWidth ? kCellWidth - text.size() : 1, ' ');
      line += text;
    }
    text_ += line + "\n";
  }
  void Latency(const std::string& name, Percentiles RunReport::*member) {
    Row(name + " p50 / ms", [=](const RunReport& run) { return Short((run.*member).p50); });
    Row(name + " p95 / ms", [=](const RunReport& run) { return Short((run.*member).p95); });
    Row(name + " p99 / ms", [=](const RunReport& run) { return Short((run.*member).p99); });
  }
  void Line(const std::string& line) { text_ += line + "\n"; }
  std::string Take() { return std::move(text_); }

 private:
  static constexpr size_t kNameWidth = 22;
  static constexpr size_t kCellWidth = 11;

  const std::vector<RunReport>& runs_;
  std::string text_;
};

json::object ToJson(const Percentiles& value) {
  return {{"mean", value.mean},
          {"p50", value.p50},
          {"p95", value.p95},
          {"p99", value.p99},
          {"max", value.max}};
}

json::object ToJson(const RunReport& run, bool is_open_loop) {
  json::object errors;
  for (const auto& [kind, count] : run.errors) errors[kind] = count;
  return {{is_open_loop ? "rate" : "concurrency", run.load},
          {"answered", run.num_answered},
          {"failed", run.num_failed},
          {"unfinished", run.num_unfinished},
          {"errors", std::move(errors)},
          {"wall_s", run.wall_s},
          {"requests_per_s", run.requests_per_s},
          {"output_tokens_per_s", run.output_tokens_per_s},
          {"input_tokens_mean", run.input_tokens_mean},
          {"output_tokens_mean", run.output_tokens_mean},
          {"ttft_ms", ToJson(run.ttft_ms)},
          {"tpot_ms", ToJson(run.tpot_ms)},
          {"itl_ms", ToJson(run.itl_ms)},
          {"e2e_ms", ToJson(run.e2e_ms)},
          {"goodput_share", run.goodput_share},
          {"goodput_per_s", run.goodput_per_s},
          {"most_in_flight", run.most_in_flight},
          {"latest_start_ms", run.latest_start_ms},
          {"client_cpu_share", run.client_cpu_share}};
}

json::value OrNull(const std::optional<double>& value) {
  return value.has_value() ? json::value(*value) : json::value(nullptr);
}

std::string LengthText(const LengthRange& range) {
  return range.least == range.most ? Concat(range.least) : Concat(range.least, "-", range.most);
}

}  // namespace

RunReport MakeReport(double load, const LoadResult& result, const Slo& slo) {
  RunReport report;
  report.load = load;
  report.num_answered = static_cast<int>(result.answered.size());
  report.num_unfinished = result.unfinished;
  report.errors = result.errors;
  report.first_error = result.first_error;
  for (const auto& [kind, count] : result.errors) report.num_failed += count;
  report.wall_s = result.wall_s;
  report.most_in_flight = result.most_in_flight;
  report.latest_start_ms = result.latest_start_ms;
  const std::vector<Answered>& all = result.answered;
  report.ttft_ms = PercentilesOf(
      Collect(all, [](const Answered& one, auto* out) { out->push_back(one.ttft_ms); }));
  report.e2e_ms = PercentilesOf(
      Collect(all, [](const Answered& one, auto* out) { out->push_back(one.e2e_ms); }));
  report.tpot_ms = PercentilesOf(Collect(all, [](const Answered& one, auto* out) {
    if (one.output_tokens > 1) out->push_back(one.tpot_ms);
  }));
  const LatencyHistogram& gaps = result.inter_token;
  report.itl_ms = {gaps.MeanMs(), gaps.QuantileMs(0.5), gaps.QuantileMs(0.95),
                   gaps.QuantileMs(0.99), gaps.MaxMs()};
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  int good = 0;
  for (const Answered& one : all) {
    input_tokens += one.prompt_tokens;
    output_tokens += one.output_tokens;
    good += Keeps(one, slo) ? 1 : 0;
  }
  if (!all.empty()) {
    report.input_tokens_mean = static_cast<double>(input_tokens) / report.num_answered;
    report.output_tokens_mean = static_cast<double>(output_tokens) / report.num_answered;
    report.goodput_share = static_cast<double>(good) / (report.num_answered + report.num_failed);
  }
  if (result.wall_s > 0) {
    report.requests_per_s = report.num_answered / result.wall_s;
    report.output_tokens_per_s = static_cast<double>(output_tokens) / result.wall_s;
    report.goodput_per_s = good / result.wall_s;
    report.client_cpu_share = result.client_cpu_s / result.wall_s;
  }
  return report;
}

std::string ReportTable(const BenchReport& report) {
  const bool is_open_loop = !report.options.rates.empty();
  Table table(report.runs);
  table.Row(is_open_loop ? "due requests / s" : "streams",
            [](const RunReport& run) { return Short(run.load); });
  table.Row("answered", [](const RunReport& run) { return Concat(run.num_answered); });
  table.Row("failed", [](const RunReport& run) { return Concat(run.num_failed); });
  if (report.stopped) {
    table.Row("unfinished", [](const RunReport& run) { return Concat(run.num_unfinished); });
  }
  table.Row("requests / s", [](const RunReport& run) { return Short(run.requests_per_s); });
  table.Row("output tokens / s",
            [](const RunReport& run) { return Short(run.output_tokens_per_s); });
  table.Row("input tokens, mean",
            [](const RunReport& run) { return Short(run.input_tokens_mean); });
  table.Row("output tokens, mean",
            [](const RunReport& run) { return Short(run.output_tokens_mean); });
  table.Latency("TTFT", &RunReport::ttft_ms);
  table.Latency("TPOT", &RunReport::tpot_ms);
  table.Latency("ITL", &RunReport::itl_ms);
  table.Latency("E2E", &RunReport::e2e_ms);
  if (report.options.slo.any()) {
    table.Row("goodput, share", [](const RunReport& run) { return Short(run.goodput_share); });
    table.Row("goodput / s", [](const RunReport& run) { return Short(run.goodput_per_s); });
  }
  table.Row("most in flight", [](const RunReport& run) { return Concat(run.most_in_flight); });
  table.Row("latest start / ms", [](const RunReport& run) { return Short(run.latest_start_ms); });
  table.Row("this client, cores", [](const RunReport& run) { return Short(run.client_cpu_share); });
  table.Row("temperature", [&](const RunReport&) {
    return report.options.temperature ? Short(*report.options.temperature) : "not sent";
  });
  for (const RunReport& run : report.runs) {
    for (const auto& [kind, count] : run.errors) {
      table.Line(Concat("errors at ", Short(run.load), ": ", count, " x ", kind));
    }
    if (!run.first_error.empty()) table.Line(Concat("the first: ", run.first_error));
  }
  return table.Take();
}

std::string ReportJson(const BenchReport& report) {
  const BenchOptions& options = report.options;
  const bool is_open_loop = !options.rates.empty();
  json::array runs;
  for (const RunReport& run : report.runs) runs.push_back(ToJson(run, is_open_loop));
  const json::object out{
      {"url", options.url},
      {"model", report.model},
      {"endpoint", options.endpoint == BenchOptions::Endpoint::kChat ? "chat" : "completions"},
      {"arrivals", !is_open_loop                                          ? "closed"
                   : options.arrivals == BenchOptions::Arrivals::kPoisson ? "poisson"
                                                                          : "constant"},
      {"dataset", options.dataset},
      {"input_tokens", LengthText(options.input)},
      {"output_tokens", LengthText(options.output)},
      {"shared_prefix", options.shared_prefix},
      {"seed", options.seed},
      {"temperature", options.temperature ? json::value(*options.temperature) : json::value()},
      {"slo", json::object{{"ttft_ms", OrNull(options.slo.ttft_ms)},
                           {"tpot_ms", OrNull(options.slo.tpot_ms)},
                           {"e2e_ms", OrNull(options.slo.e2e_ms)}}},
      {"stopped", report.stopped},
      {"runs", std::move(runs)}};
  return json::serialize(out) + "\n";
}

}  // namespace pingti::tools
