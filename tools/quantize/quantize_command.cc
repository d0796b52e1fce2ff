#include "tools/quantize/quantize_command.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "tools/device_flag.h"
#include "tools/flag_checks.h"
#include "tools/interrupt.h"

namespace pingti::tools {
namespace {

constexpr int kInterrupted = 130;

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

// "0.0123", with a star when the group stayed in 16 bit; a dash where the layer has no such
// product.
std::string Cell(const std::optional<double>& error, bool kept) {
  if (!error.has_value()) return Format("  %11s ", "-");
  return Format("  %11.4f%s", *error, kept ? "*" : " ");
}

// Groups that some layer has.
std::vector<size_t> GroupsOf(const QuantizeReport& report) {
  std::vector<size_t> groups;
  for (size_t g = 0; g < kNumGroups; ++g) {
    const auto has = [g](const QuantizeReport::Layer& layer) { return layer.error[g].has_value(); };
    if (std::any_of(report.layers.begin(), report.layers.end(), has)) groups.push_back(g);
  }
  return groups;
}

// A line per layer; counts products, and those that were kept.
std::string FormatErrors(const QuantizeReport& report, size_t* products, size_t* kept) {
  const std::vector<size_t> groups = GroupsOf(report);
  std::string out = Format("%5s", "layer");
  for (const size_t g : groups) {
    out += Format("  %12s", std::string(GroupName(static_cast<LinearGroup>(g))).c_str());
  }
  out += "\n";
  for (size_t i = 0; i < report.layers.size(); ++i) {
    const QuantizeReport::Layer& layer = report.layers[i];
    out += Format("%5zu", i);
    for (const size_t g : groups) {
      out += Cell(layer.error[g], layer.kept[g]);
      *products += layer.error[g].has_value() ? 1 : 0;
      *kept += layer.error[g].has_value() && layer.kept[g] ? 1 : 0;
    }
    out += "\n";
  }
  return out;
}

}  // namespace

CLI::App* AddQuantize(CLI::App* app, QuantizeOptions* options) {
  CLI::App* quantize = app->add_subcommand(
      "quantize",
      "Make an int8 (W8A8) or int4 (W4A16) checkpoint in compressed-tensors of one in floats of 8 "
      "to 32 bits");
  quantize->add_option("IN", options->input, "A Hugging Face directory with safetensors")
      ->required();
  quantize->add_option("OUT", options->output, "A directory that does not exist yet")->required();
  TakesOneOf<WeightScheme>(
      quantize->add_option("--format", options->scheme, "Of the matrices that are rounded")
          ->default_str("int8"),
      {{"int8", WeightScheme::kInt8}, {"int4", WeightScheme::kInt4}});
  const CLI::Option* group_size =
      quantize->add_option("--group-size", options->group_size, "Values that share a scale in int4")
          ->capture_default_str();
  quantize->parse_complete_callback([group_size, options] {
    if (group_size->count() == 0 || options->scheme == WeightScheme::kInt4) return;
    throw CLI::ValidationError("--group-size", "expected with --format int4 only");
  });
  quantize->add_option("--keep", options->keep,
                       "Leave modules of this pattern as they are, as 'model.layers.0.*'; "
                       "may be repeated");
  quantize
      ->add_option("--max-error", options->max_error,
                   "Leave products as they are whose output is off by more than this share")
      ->check(NonNegative());
  quantize
      ->add_option("--smoothquant-alpha", options->smoothquant_alpha,
                   "Move this share of the activations' range into the weights (SmoothQuant)")
      ->check(CLI::Range(0.0, 1.0));
  quantize->add_option("--calibration", options->calibration_file,
                       "Text from which SmoothQuant learns ranges; default: a short sample");
  quantize->add_option("--text", options->text_file,
                       "Text on which the result is measured; default: a short sample");
  quantize->add_option("--max-tokens", options->max_tokens, "Tokens used of each text")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  AddDeviceFlags(quantize, &options->device, &options->gpu_index);
  quantize->add_option("--threads", options->threads, "Of the host; default: one per processor")
      ->check(NonNegative());
  return quantize;
}

std::string FormatReport(const QuantizeReport& report) {
  std::string out = "relative error of each product's output (* kept as it was)\n";
  size_t products = 0;
  size_t kept = 0;
  out += FormatErrors(report, &products, &kept);
  const TextQuality& quality = report.quality;
  out += Format("kept        %zu of %zu products, and the output projection\n", kept, products);
  out += Format("measured    %lld tokens%s\n", static_cast<long long>(quality.num_tokens),
                report.has_tokenizer ? "" : ", arbitrary: the checkpoint has no tokenizer");
  out += Format("perplexity  %.4f, was %.4f (%+.2f %%)\n", quality.perplexity_quantized,
                quality.perplexity_original,
                100.0 * (quality.perplexity_quantized / quality.perplexity_original - 1.0));
  out += Format("KL          %.3g nats a token, at most %.3g; same likeliest token %.1f %%\n",
                quality.kl_mean, quality.kl_max, 100.0 * quality.same_top);
  out +=
      Format("weights     %.1f MB, was %.1f MB\n", static_cast<double>(report.output_bytes) * 1e-6,
             static_cast<double>(report.input_bytes) * 1e-6);
  for (const std::string& name : report.left_out) out += Concat("not copied  ", name, "\n");
  return out;
}

int RunQuantize(const QuantizeOptions& options) {
  if (!options.calibration_file.empty() && !options.smoothquant_alpha.has_value()) {
    std::cerr << "error: --calibration is for --smoothquant-alpha, which is not given\n";
    return 2;
  }
  InterruptHandler interrupt;
  std::atomic<bool> cancelled = false;
  interrupt.Set([&cancelled] { cancelled = true; });
  const auto report = Quantize(options, cancelled, [](const QuantizeReport& so_far) {
    std::cerr << "layer " << so_far.layers.size() - 1 << " done\n";
  });
  interrupt.Set(nullptr);
  if (!report.ok()) {
    const auto message = report.status().message();
    std::cerr << "error: " << std::string(message.data(), message.size()) << "\n";
    return absl::IsCancelled(report.status()) ? kInterrupted : EXIT_FAILURE;
  }
  std::cout << FormatReport(*report) << "written     " << options.output << "\n";
  return EXIT_SUCCESS;
}

}  // namespace pingti::tools
