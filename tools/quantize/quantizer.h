// A bf16, f16 or f32 checkpoint to int8 (W8A8: one scale per output channel and, while running, per
// token) or int4 (W4A16: one scale per group of a row's values) in compressed-tensors' safetensors,
// measured against the original on the way.
//
// Works a layer at a time: beside the embedding, the output projection and the text's activations,
// less than two layers of weights are in memory (it sets malloc to map large blocks one by one).
// Next: layer_quantizer.h, layer_runner.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/quantize/layer_quantizer.h"
#include "tools/quantize/text_quality.h"
#include "tools/quantize/weight_scheme.h"
#include "worker/backend/device_choice.h"

namespace pingti::tools {

struct QuantizeOptions {
  std::string input;   // directory of a Hugging Face checkpoint
  std::string output;  // directory that does not exist
  WeightScheme scheme = WeightScheme::kInt8;
  // Of int4: 32, 64 or a multiple of 128. Products whose columns are no whole groups stay as they
  // are.
  int64_t group_size = kDefaultGroupSize;
  // Patterns (fnmatch) of modules that stay as they are, with all that share their input.
  std::vector<std::string> keep;
  // Groups whose output is off by more than this share stay as they are; unset: none.
  std::optional<double> max_error;
  std::optional<double> smoothquant_alpha;  // in [0, 1], int8; unset: nothing is smoothed
  std::string calibration_file;             // empty: the sample text
  std::string text_file;                    // empty: the sample text
  int max_tokens = 2048;                    // of each text
  worker::DeviceChoice device = worker::DeviceChoice::kAuto;  // that both models run on
  int gpu_index = 0;                                          // where that is a GPU
  int threads = 0;                                            // 0: one per processor
};

struct QuantizeReport {
  struct Layer {
    PerGroup<std::optional<double>> error;  // relative, of the group's output; unset: it has none
    PerGroup<bool> kept{};
  };
  std::vector<Layer> layers;
  TextQuality quality;
  bool has_tokenizer = true;  // without one, arbitrary tokens stand for the text
  int64_t input_bytes = 0;
  int64_t output_bytes = 0;
  std::vector<std::string> left_out;  // files of the input that were not copied
};

// `on_layer` hears of each layer once it is written. A true `cancelled` ends it between layers.
// Errors: what OpenCheckpoint says; FailedPrecondition (already quantized); InvalidArgument
// (format, a missing or unexpected tensor, a pattern that matches nothing, a text without tokens);
// AlreadyExists, ResourceExhausted and others of the disk; Cancelled. Nothing is left at
// `output` unless it is whole.
absl::StatusOr<QuantizeReport> Quantize(const QuantizeOptions& options,
                                        const std::atomic<bool>& cancelled,
                                        const std::function<void(const QuantizeReport&)>& on_layer);

}  // namespace pingti::tools
