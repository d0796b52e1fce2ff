// See bench_command.h.
#include "tools/bench/bench_command.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/net/http_client.h"
#include "tools/bench/load_run.h"
#include "tools/bench/prompts.h"
#include "tools/bench/report.h"
#include "tools/bench/report_svg.h"
#include "tools/chat_client.h"
#include "tools/interrupt.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

constexpr int kWarmupStreams = 16;

// Asks the server how many tokens some words are. 1 when it has no /tokenize, as other servers.
double MeasureWordsPerToken(const BenchOptions& options, const std::string& model) {
  constexpr int kWords = 1000;
  std::mt19937_64 random(options.seed);
  net::HttpHeaders headers{{"Content-Type", "application/json"}};
  if (!options.api_key.empty()) {
    headers.emplace_back("Authorization", "Bearer " + options.api_key);
  }
  net::HttpClient client;
  const json::object body{{"model", model}, {"prompt", PromptSource::MakeWords(kWords, &random)}};
  const auto response = client.Send({.method = "POST",
                                     .url = options.url + "/tokenize",
                                     .headers = headers,
                                     .body = json::serialize(body)});
  if (!response.ok() || response->status != 200) return 1;
  boost::system::error_code error;
  const json::value parsed = json::parse(response->body, error);
  if (error || !parsed.is_object()) return 1;
  const json::value* count = parsed.get_object().if_contains("count");
  if (count == nullptr || !count->is_int64() || count->get_int64() <= 0) return 1;
  return static_cast<double>(kWords) / static_cast<double>(count->get_int64());
}

// One line on a terminal that is written over; nothing elsewhere.
class ProgressLine {
 public:
  ProgressLine(const BenchOptions& options, std::string label, int total)
      : shown_(options.progress && isatty(STDERR_FILENO) != 0),
        label_(std::move(label)),
        total_(total) {}
  ~ProgressLine() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const LoadProgress& progress) {
    if (!shown_) return;
    constexpr int kBar = 24;
    const int filled = total_ > 0 ? kBar * progress.ended / total_ : 0;
    std::string bar(static_cast<size_t>(filled), '#');
    bar.resize(kBar, '.');
    const double rate =
        progress.elapsed_s > 0 ? static_cast<double>(progress.text_events) / progress.elapsed_s : 0;
    std::fprintf(stderr, "\r\033[K%s [%s] %d/%d, %d running, %d failed, %.0f tokens/s",
                 label_.c_str(), bar.c_str(), progress.ended, total_, progress.in_flight,
                 progress.failed, rate);
  }

 private:
  const bool shown_;
  const std::string label_;
  const int total_;
};

absl::Status WriteFile(const std::string& path, const std::string& text) {
  if (path.empty()) return absl::OkStatus();
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(Concat("'", path, "' cannot be written"));
}

// Whether results will have a place, before they are measured. What a file holds is left as it is.
absl::Status CheckWritable(const std::string& path) {
  if (path.empty() || std::ofstream(path, std::ios::app)) return absl::OkStatus();
  return absl::UnavailableError(Concat("'", path, "' cannot be written"));
}

// All loads one after the other, until one is stopped.
class Sweep {
 public:
  explicit Sweep(const BenchOptions& options) : options_(options) { report_.options = options; }

  absl::Status Prepare() {
    PINGTI_RETURN_IF_ERROR(CheckWritable(options_.json_file));
    PINGTI_RETURN_IF_ERROR(CheckWritable(options_.svg_file));
    ChatSettings settings;
    settings.url = options_.url;
    settings.model = options_.model;
    settings.api_key = options_.api_key;
    ChatClient client(settings);
    PINGTI_RETURN_IF_ERROR(client.ResolveModel());
    report_.model = client.model();
    std::vector<DatasetEntry> dataset;
    double words_per_token = 1;
    if (options_.dataset.empty()) {
      words_per_token = MeasureWordsPerToken(options_, report_.model);
    } else {
      PINGTI_ASSIGN_OR_RETURN(dataset, ReadDataset(options_.dataset));
    }
    const bool is_chat = options_.endpoint == BenchOptions::Endpoint::kChat;
    for (const DatasetEntry& entry : dataset) {
      if (is_chat || entry.messages_json.empty()) continue;
      return absl::InvalidArgumentError(
          "the dataset has \"messages\": --endpoint completions takes only \"prompt\"");
    }
    prompts_.emplace(options_, report_.model, words_per_token, std::move(dataset));
    PINGTI_ASSIGN_OR_RETURN(runner_, LoadRun::Create(options_));
    return absl::OkStatus();
  }

  void RunAll() {
    for (const double rate : options_.rates) {
      RunOne({.rate = rate, .num_requests = options_.num_requests}, rate, Concat(rate, " req/s"));
    }
    for (const int streams : options_.concurrencies) {
      RunOne({.rate = std::nullopt, .concurrency = streams, .num_requests = options_.num_requests},
             streams, Concat(streams, " streams"));
    }
    report_.stopped = stopping_.load();
  }

  // From any thread.
  void Stop() {
    stopping_.store(true);
    runner_->Stop();
  }

  const BenchReport& report() const { return report_; }

 private:
  std::vector<BenchRequest> MakeRequests(int count) {
    std::vector<BenchRequest> requests;
    requests.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) requests.push_back(prompts_->Next());
    return requests;
  }

  void RunOne(const LoadRun::Plan& plan, double load, const std::string& label) {
    if (options_.warmup > 0 && !stopping_.load()) {
      ProgressLine line(options_, "warming up", options_.warmup);
      runner_->Run({.rate = std::nullopt,
                    .concurrency = std::min(kWarmupStreams, options_.warmup),
                    .num_requests = options_.warmup},
                   MakeRequests(options_.warmup),
                   [&](const LoadProgress& progress) { line.Show(progress); });
    }
    if (stopping_.load()) return;
    ProgressLine line(options_, label, plan.num_requests);
    const LoadResult result =
        runner_->Run(plan, MakeRequests(plan.num_requests),
                     [&](const LoadProgress& progress) { line.Show(progress); });
    report_.runs.push_back(MakeReport(load, result, options_.slo));
  }

  const BenchOptions options_;
  std::optional<PromptSource> prompts_;
  std::unique_ptr<LoadRun> runner_;
  std::atomic<bool> stopping_{false};
  BenchReport report_;
};

int ExitOf(const BenchReport& report, bool stopped) {
  if (stopped) return 130;
  for (const RunReport& run : report.runs) {
    if (run.num_failed > 0 || run.num_answered == 0) return kBenchFailures;
  }
  for (const RunReport& run : report.runs) {
    const auto& least = report.options.require_goodput;
    if (least.has_value() && run.goodput_share < *least) return kBenchMissedGoodput;
  }
  return kBenchGood;
}

int PrintError(const absl::Status& status, int exit_status) {
  std::cerr << "error: " << std::string(status.message()) << "\n";
  return exit_status;
}

}  // namespace

int RunBench(const BenchOptions& options) {
  if (const absl::Status status = CheckBenchOptions(options); !status.ok()) {
    return PrintError(status, kBenchBadArguments);
  }
  InterruptHandler interrupt;
  Sweep sweep(options);
  if (const absl::Status status = sweep.Prepare(); !status.ok()) {
    const bool is_argument = absl::IsInvalidArgument(status) && !options.dataset.empty();
    return PrintError(status, is_argument ? kBenchBadArguments : kBenchFailures);
  }
  std::atomic<bool> stopped{false};
  interrupt.Set([&] {
    stopped.store(true);
    sweep.Stop();
  });
  sweep.RunAll();
  interrupt.Set(nullptr);
  if (!sweep.report().runs.empty()) std::cout << ReportTable(sweep.report()) << std::flush;
  absl::Status written = WriteFile(options.json_file, ReportJson(sweep.report()));
  if (written.ok() && !options.svg_file.empty()) {
    written = WriteFile(options.svg_file, ReportSvg(sweep.report()));
  }
  if (!written.ok()) return PrintError(written, kBenchFailures);
  return ExitOf(sweep.report(), stopped.load());
}

}  // namespace pingti::tools
