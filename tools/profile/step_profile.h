// How long a model's prefill and decode steps take, and where: each phase is run twice, as a worker
// would run it, for its time, and on a ProfilingBackend, for its stages. The tokens are arbitrary;
// only their number matters. Next: profile_command.h, step_batch.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/backend/backend.h"
#include "worker/backend/device_choice.h"

namespace pingti::tools {

struct ProfileOptions {
  std::string model;
  bool random_weights = false;  // of the shapes that the directory's config.json gives
  int batch = 1;                // sequences
  int context = 256;            // tokens of each before the decode steps
  int max_batch_tokens = 8192;  // of a step: a longer prefill takes several
  int decode_steps = 16;
  int prefill_steps = 3;  // prefills that are timed; one more before them warms up
  // The prompt, cut to `context` tokens; how long its tokens take counts for the prefill. Empty:
  // arbitrary tokens, and no such stage.
  std::string text_file;
  worker::WeightFormat format = worker::WeightFormat::kStored;
  worker::KvFormat kv_format = worker::KvFormat::kModel;
  worker::DeviceChoice device = worker::DeviceChoice::kAuto;
  int gpu_index = 0;  // where that is a GPU
  int threads = 0;    // of the CPU
  // Ranks that share the model: GPUs, gpu_index and those after it, or groups of threads.
  int tensor_parallel = 1;
  // Ranks hold whole experts rather than some columns of each.
  bool expert_parallel = false;
};

struct StageTime {
  std::string name;
  double seconds = 0.0;  // in a phase's run
  double share = 0.0;    // of profiled_seconds; those of one phase add up to 1
};

// Times are means over the phase's runs. A run of "prefill" computes all sequences' prompts, in as
// many steps as max_batch_tokens asks for; one of "decode" is a step.
struct PhaseProfile {
  std::string name;      // "prefill", "decode"
  int64_t tokens = 0;    // that a run computes
  double seconds = 0.0;  // of a run as a worker makes it: nothing is timed within
  // The last but for "tokenizer" is "host": what no operation accounts for, so that the device
  // had nothing to do.
  std::vector<StageTime> stages;
  double profiled_seconds = 0.0;  // of all stages: slower than `seconds` by what timing costs
  int steps = 1;                  // of a run
  bool recorded = false;          // `seconds` is of steps that the device had recorded
};

struct ModelProfile {
  std::string model;
  std::string device;  // "cpu", "cuda"
  std::string device_name;
  std::string format;
  std::string kv_format;
  int batch = 0;
  int context = 0;
  int max_batch_tokens = 0;
  int tensor_parallel = 1;
  bool expert_parallel = false;
  std::vector<PhaseProfile> phases;
};

// Seconds of all stages but "host" and "tokenizer".
double StageSum(const PhaseProfile& phase);

// Errors: those of the device, and of opening and loading the model and the text; InvalidArgument
// when batch and context do not fit the model or max_batch_tokens; ResourceExhausted with the
// arithmetic when they do not fit a GPU's memory.
absl::StatusOr<ModelProfile> ProfileModel(const ProfileOptions& options, const Clock* clock);

// The table that people read, and the same as one JSON object.
std::string ProfileTable(const ModelProfile& profile);
std::string ProfileJson(const ModelProfile& profile);

}  // namespace pingti::tools
