// The flags of `pingti bench`; see bench_command.h.
#include <string>

#include "tools/bench/bench_command.h"
#include "tools/flag_checks.h"

namespace pingti::tools {
namespace {

// CLI11 shows the text when a value does not fit.
CLI::Validator LengthCheck(LengthRange* range) {
  return CLI::Validator(
      [range](const std::string& text) {
        const absl::StatusOr<LengthRange> parsed = ParseLengthRange(text);
        if (!parsed.ok()) return std::string(parsed.status().message());
        *range = *parsed;
        return std::string();
      },
      "N or N-M");
}

void AddLoad(CLI::App* bench, BenchOptions* options) {
  CLI::Option* rate =
      bench
          ->add_option("--rate", options->rates, "Requests per second, started whatever is running")
          ->delimiter(',');
  bench->add_option("--concurrency", options->concurrencies, "Streams that are kept running")
      ->delimiter(',');
  CLI::Option* arrivals =
      bench->add_option("--arrivals", options->arrivals, "With --rate: what gaps there are");
  TakesOneOf<BenchOptions::Arrivals>(arrivals->needs(rate),
                                     {{"poisson", BenchOptions::Arrivals::kPoisson},
                                      {"constant", BenchOptions::Arrivals::kConstant}});
  bench->add_option("--requests", options->num_requests, "Requests in each run")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  bench
      ->add_option_function<int>(
          "--duration",
          [options](const int& seconds) { options->duration = std::chrono::seconds(seconds); },
          "Starts no more requests after so many seconds")
      ->check(Positive());
  bench->add_option("--warmup", options->warmup, "Requests before each run that do not count")
      ->check(NonNegative());
  bench->add_option("--max-in-flight", options->max_in_flight, "Beyond it a due request fails")
      ->check(Positive())
      ->capture_default_str();
}

void AddPrompts(CLI::App* bench, BenchOptions* options) {
  CLI::Option* input = bench->add_option("--input-tokens", "Prompt length, as 128 or 64-256")
                           ->check(LengthCheck(&options->input));
  bench->add_option("--output-tokens", "Answer length, as 128 or 64-256")
      ->check(LengthCheck(&options->output));
  bench->add_option("--shared-prefix", options->shared_prefix, "Tokens all prompts begin with")
      ->check(NonNegative());
  bench
      ->add_option("--dataset", options->dataset,
                   "JSON lines with \"prompt\" or \"messages\", and perhaps \"max_tokens\"")
      ->excludes(input);
  bench->add_flag("--ignore-eos,!--stop-at-eos", options->ignore_eos,
                  "Let answers go on to their length (the default), or end where the model ends");
  bench->add_option("--temperature", options->temperature, "0 takes the likeliest token")
      ->check(NonNegative());
  bench->add_option("--seed", options->seed, "Of lengths, words and arrivals")
      ->check(Integer<uint64_t>())
      ->capture_default_str();
}

void AddGoals(CLI::App* bench, BenchOptions* options) {
  bench->add_option("--slo-ttft-ms", options->slo.ttft_ms, "Limit for goodput")->check(Positive());
  bench->add_option("--slo-tpot-ms", options->slo.tpot_ms, "Limit for goodput")->check(Positive());
  bench->add_option("--slo-e2e-ms", options->slo.e2e_ms, "Limit for goodput")->check(Positive());
  bench
      ->add_option("--require-goodput", options->require_goodput,
                   "Exit with 3 when less than this share keeps the limits")
      ->check(CLI::Range(0.0, 1.0));
}

}  // namespace

CLI::App* AddBench(CLI::App* app, BenchOptions* options) {
  CLI::App* bench = app->add_subcommand("bench", "Measure a server under load");
  bench->add_option("--url", options->url, "Base address of the server")
      ->transform(BaseUrl())
      ->capture_default_str();
  bench->add_option("--model", options->model, "Model id; default: the server's first");
  bench->add_option("--api-key", options->api_key, "Sent as a bearer token")
      ->check(ApiKey())
      ->envname("OPENAI_API_KEY");
  TakesOneOf<BenchOptions::Endpoint>(
      bench->add_option("--endpoint", options->endpoint, "Which of the server's"),
      {{"chat", BenchOptions::Endpoint::kChat},
       {"completions", BenchOptions::Endpoint::kCompletions}});
  AddLoad(bench, options);
  AddPrompts(bench, options);
  AddGoals(bench, options);
  bench
      ->add_option_function<int>(
          "--timeout",
          [options](const int& seconds) { options->timeout = std::chrono::seconds(seconds); },
          "Seconds for one request; default: 300")
      ->check(Positive());
  bench->add_option("--json", options->json_file, "Write the results to this file");
  bench->add_option("--svg", options->svg_file, "Draw the curves into this file");
  bench->add_flag("!--no-progress", options->progress, "No progress line");
  return bench;
}

}  // namespace pingti::tools
