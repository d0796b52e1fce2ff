// Where a step's time goes: a model's prefill and decode steps on a ProfilingBackend. The tokens
// are arbitrary; only their number matters. Next: profile_command.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/backend/backend.h"

namespace pingti::tools {

struct ProfileOptions {
  std::string model;
  int batch = 1;      // sequences
  int context = 256;  // tokens of each before the decode steps; prefilled in one step
  int decode_steps = 16;
  int prefill_steps = 3;  // timed; one more before them warms up
  // The prompt, cut to `context` tokens; how long its tokens take counts for the prefill. Empty:
  // arbitrary tokens, and no such stage.
  std::string text_file;
  worker::WeightFormat format = worker::WeightFormat::kStored;
  int threads = 0;
};

struct StageTime {
  std::string name;
  double seconds = 0.0;  // per step
  double share = 0.0;    // of the step; those of one phase add up to 1
};

struct PhaseProfile {
  std::string name;      // "prefill", "decode"
  int64_t tokens = 0;    // a step computes
  double seconds = 0.0;  // per step, the mean
  // The last but for "tokenizer" is "host": what no operation accounts for.
  std::vector<StageTime> stages;
};

struct ModelProfile {
  std::string model;
  std::string device;
  std::string format;
  int batch = 0;
  int context = 0;
  std::vector<PhaseProfile> phases;
};

// Errors: those of opening and loading the model and the text; InvalidArgument when batch and
// context do not fit the model.
absl::StatusOr<ModelProfile> ProfileModel(const ProfileOptions& options, const Clock* clock);

// The table that people read, and the same as one JSON object.
std::string ProfileTable(const ModelProfile& profile);
std::string ProfileJson(const ModelProfile& profile);

}  // namespace pingti::tools
