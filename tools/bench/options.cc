// See options.h.
#include "tools/bench/options.h"

#include <charconv>
#include <string_view>

#include "common/base/strings.h"

namespace pingti::tools {
namespace {

constexpr int kMostTokens = 10'000'000;

bool ReadCount(std::string_view text, int* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 1 &&
         *out <= kMostTokens;
}

}  // namespace

absl::StatusOr<LengthRange> ParseLengthRange(const std::string& text) {
  const size_t dash = text.find('-');
  const std::string_view view = text;
  LengthRange range;
  bool good = ReadCount(view.substr(0, dash), &range.least);
  range.most = range.least;
  if (dash != std::string::npos) good = good && ReadCount(view.substr(dash + 1), &range.most);
  if (good && range.least <= range.most) return range;
  return absl::InvalidArgumentError(
      Concat("'", text, "' is no length: expected tokens such as 128, or a range such as 64-256"));
}

absl::Status CheckBenchOptions(const BenchOptions& options) {
  if (options.rates.empty() == options.concurrencies.empty()) {
    return absl::InvalidArgumentError("expected exactly one of --rate and --concurrency");
  }
  for (const double rate : options.rates) {
    if (!(rate > 0 && rate <= 1e6)) {
      return absl::InvalidArgumentError(
          Concat("--rate ", rate, ": expected requests per second, above 0 and at most 1000000"));
    }
  }
  for (const int concurrency : options.concurrencies) {
    if (concurrency < 1 || concurrency > options.max_in_flight) {
      return absl::InvalidArgumentError(Concat("--concurrency ", concurrency,
                                               ": expected 1 to --max-in-flight (",
                                               options.max_in_flight, ")"));
    }
  }
  if (options.require_goodput.has_value() && !options.slo.any()) {
    return absl::InvalidArgumentError(
        "--require-goodput needs a limit: --slo-ttft-ms, --slo-tpot-ms or --slo-e2e-ms");
  }
  if (options.shared_prefix > 0 && !options.dataset.empty()) {
    return absl::InvalidArgumentError("--shared-prefix needs made-up prompts, not --dataset");
  }
  if (options.shared_prefix > 0 && options.shared_prefix >= options.input.least) {
    return absl::InvalidArgumentError(Concat("--shared-prefix ", options.shared_prefix,
                                             ": expected fewer tokens than --input-tokens, whose "
                                             "least is ",
                                             options.input.least));
  }
  return absl::OkStatus();
}

}  // namespace pingti::tools
