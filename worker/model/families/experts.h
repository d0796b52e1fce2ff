// What the pages of families with a mixture of experts share: Llama's relatives of dense.h, where
// some layers have experts in place of the feed-forward.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "worker/spec/decoder_spec.h"
#include "worker/weights/gguf_file.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

struct ExpertsOptions {
  ExpertRouting routing;
  int64_t inner = 0;         // of each expert
  int64_t shared_inner = 0;  // of the expert that all tokens share; 0: none
  bool shared_gate = false;  // it has a gate
  std::vector<bool> layers;  // which layers have experts; [num_layers]
};

// Modules of a layer, without its prefix.
struct ExpertsNames {
  std::string_view router;
  std::string_view correction_bias;  // the tensor's name; empty: none
  // Not empty: an expert's modules are this, its number, a dot and gate, up or down. Empty: gate,
  // up and down are modules that stack those of all experts.
  std::string_view experts;
  std::string_view gate;
  std::string_view up;
  std::string_view down;
  std::string_view shared_router;  // of the shared expert's gate
  std::string_view shared_gate;
  std::string_view shared_up;
  std::string_view shared_down;
};

// llama.cpp's names.
const ExpertsNames& GgufExpertsNames();

// Gives experts to the layers that have them. `layers`: as in DenseNames.
void AddExperts(const ExpertsOptions& options, const ExpertsNames& names, std::string_view layers,
                DecoderSpec* spec);

// How many experts there are and how many a token takes, and that every layer has them.
// Errors: InvalidArgument naming the field, its value and what was expected.
absl::Status ReadHfExperts(const JsonFields& config, int64_t num_layers, ExpertsOptions* options);
// Which layers have experts where every so many do and some are listed that do not, as Qwen's.
absl::Status ReadHfSparseLayers(const JsonFields& config, ExpertsOptions* options);
// The same of a GGUF file; an expert's width is that of its tensors. `architecture`: what keys
// begin with, without the dot.
absl::Status ReadGgufExperts(const GgufFile& file, std::string_view architecture,
                             int64_t num_layers, ExpertsOptions* options);

}  // namespace pingti::worker
