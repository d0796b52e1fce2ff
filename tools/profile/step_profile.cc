#include "tools/profile/step_profile.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "tools/profile/profiled_model.h"
#include "tools/profile/profiling_backend.h"
#include "tools/profile/step_batch.h"
#include "tools/text_tokens.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {
namespace {

// A number of tokens that comes up for the first time runs as it is, and for the second time is
// recorded.
constexpr int kDecodeWarmup = 3;

// Runs steps and adds up where their time went.
class Profiler {
 public:
  Profiler(worker::Model* model, ProfilingBackend* backend, const Clock* clock,
           const ProfileOptions& options)
      : model_(model),
        backend_(backend),
        clock_(clock),
        has_sums_(options.tensor_parallel > 1),
        rows_(static_cast<size_t>(options.batch)),
        sampled_(static_cast<size_t>(options.batch)) {
    for (worker::SamplingRow& row : rows_) row.temperature = 0.0f;
  }

  absl::Status Step(const worker::ForwardBatch& batch) {
    PINGTI_RETURN_IF_ERROR(model_->Forward(batch, {}));
    const size_t rows = batch.logit_tokens.size();
    return model_->Sample(std::span(rows_).first(rows), std::span(sampled_).first(rows));
  }

  // The phase's i-th run; it ends with tokens on the host.
  using Run = std::function<absl::Status(int i)>;

  // Fills in all times. `extra_seconds`: spent on tokens before each run, or 0.
  absl::Status Measure(int warmup, int runs, double extra_seconds, const Run& run,
                       PhaseProfile* phase) {
    for (int i = 0; i < warmup; ++i) PINGTI_RETURN_IF_ERROR(run(0));
    const auto begin = clock_->Now();
    for (int i = 0; i < runs; ++i) PINGTI_RETURN_IF_ERROR(run(i));
    phase->seconds = SecondsSince(begin) / runs;
    phase->recorded = backend_->last_step_recorded();

    StageSeconds sums{};
    double wall = 0.0;
    for (int i = 0; i < runs; ++i) {
      backend_->StartTiming();
      const auto begin_profiled = clock_->Now();
      PINGTI_RETURN_IF_ERROR(run(i));
      wall += SecondsSince(begin_profiled);
      PINGTI_ASSIGN_OR_RETURN(const StageSeconds seconds, backend_->StopTiming());
      for (size_t s = 0; s < kNumStages; ++s) sums[s] += seconds[s];
    }
    FillStages(sums, wall, runs, extra_seconds, phase);
    return absl::OkStatus();
  }

 private:
  double SecondsSince(std::chrono::steady_clock::time_point begin) const {
    return std::chrono::duration<double>(clock_->Now() - begin).count();
  }

  void FillStages(const StageSeconds& sums, double wall, int runs, double extra_seconds,
                  PhaseProfile* phase) const {
    double operations = 0.0;
    for (size_t s = 0; s < kNumStages; ++s) {
      if (static_cast<Stage>(s) == Stage::kSums && !has_sums_) continue;
      phase->stages.push_back({std::string(StageName(static_cast<Stage>(s))), sums[s] / runs, 0.0});
      operations += sums[s];
    }
    // The device may stamp the last operation's end after the host has read its clock.
    const double host = std::max(wall - operations, 0.0);
    phase->stages.push_back({"host", host / runs, 0.0});
    if (extra_seconds > 0.0) phase->stages.push_back({"tokenizer", extra_seconds, 0.0});
    phase->profiled_seconds = (operations + host) / runs + extra_seconds;
    for (StageTime& stage : phase->stages) stage.share = stage.seconds / phase->profiled_seconds;
  }

  worker::Model* const model_;
  ProfilingBackend* const backend_;
  const Clock* const clock_;
  const bool has_sums_;  // one device has none
  std::vector<worker::SamplingRow> rows_;
  std::vector<worker::SampledToken> sampled_;
};

absl::StatusOr<TextTokens> Prompt(const worker::Checkpoint& checkpoint,
                                  const ProfileOptions& options) {
  if (!options.text_file.empty()) {
    return ReadTokens(checkpoint, options.text_file, options.context);
  }
  TextTokens tokens;
  std::mt19937_64 random(1);
  for (int i = 0; i < options.context; ++i) {
    tokens.ids.push_back(
        static_cast<int32_t>(random() % static_cast<uint64_t>(checkpoint.spec().vocab_size)));
  }
  return tokens;
}

absl::Status CheckOptions(const ProfileOptions& options, const worker::DecoderSpec& spec) {
  if (int64_t{options.context} + options.decode_steps > spec.max_context) {
    return absl::InvalidArgumentError(Concat("context ", options.context, " and ",
                                             options.decode_steps, " decode steps; the model has ",
                                             spec.max_context, " tokens"));
  }
  if (options.expert_parallel && options.tensor_parallel == 1) {
    return absl::InvalidArgumentError(
        "enable-expert-parallel says something only beside tensor-parallel above 1");
  }
  if (options.max_batch_tokens < options.batch) {
    return absl::InvalidArgumentError(Concat("max-batch-tokens ", options.max_batch_tokens,
                                             "; expected at least the batch, ", options.batch));
  }
  return absl::OkStatus();
}

absl::StatusOr<PhaseProfile> MeasurePrefill(const ProfileOptions& options, double encode_seconds,
                                            Profiler* profiler, StepBatch* batch,
                                            int32_t prompt_tokens) {
  PhaseProfile phase;
  phase.name = "prefill";
  phase.tokens = int64_t{prompt_tokens} * options.batch;
  phase.steps = batch->NumPrefillSteps(options.max_batch_tokens);
  const auto run = [&](int) -> absl::Status {
    for (int i = 0; i < phase.steps; ++i) {
      PINGTI_RETURN_IF_ERROR(profiler->Step(batch->PrefillStep(i, options.max_batch_tokens)));
    }
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(profiler->Measure(/*warmup=*/1, options.prefill_steps,
                                           encode_seconds * options.batch, run, &phase));
  return phase;
}

absl::StatusOr<PhaseProfile> MeasureDecode(const ProfileOptions& options, Profiler* profiler,
                                           StepBatch* batch, int32_t prompt_tokens) {
  PhaseProfile phase;
  phase.name = "decode";
  phase.tokens = options.batch;
  const auto run = [&](int i) { return profiler->Step(batch->DecodeStep(prompt_tokens + i)); };
  PINGTI_RETURN_IF_ERROR(
      profiler->Measure(kDecodeWarmup, options.decode_steps, /*extra_seconds=*/0.0, run, &phase));
  return phase;
}

}  // namespace

absl::StatusOr<ModelProfile> ProfileModel(const ProfileOptions& options, const Clock* clock) {
  PINGTI_ASSIGN_OR_RETURN(const auto checkpoint, options.random_weights
                                                     ? worker::OpenRandomCheckpoint(options.model)
                                                     : worker::OpenCheckpoint(options.model));
  PINGTI_RETURN_IF_ERROR(CheckOptions(options, checkpoint->spec()));
  PINGTI_ASSIGN_OR_RETURN(const TextTokens prompt, Prompt(*checkpoint, options));
  PINGTI_ASSIGN_OR_RETURN(const auto loaded, ProfiledModel::Load(options, *checkpoint, clock));
  const auto length = static_cast<int32_t>(prompt.ids.size());
  StepBatch batch(options.batch, prompt.ids, options.decode_steps,
                  loaded->device().BestKvBlockTokens());
  const auto max_tokens = static_cast<int32_t>(
      std::min(int64_t{options.max_batch_tokens}, int64_t{options.batch} * length));
  PINGTI_RETURN_IF_ERROR(loaded->Allocate(options, batch.num_blocks(), max_tokens));

  ModelProfile profile;
  profile.model = checkpoint->display_name();
  profile.device = std::string(loaded->backend()->name());
  profile.device_name = loaded->device().name;
  profile.tensor_parallel = options.tensor_parallel;
  profile.expert_parallel = options.expert_parallel;
  profile.format = std::string(worker::WeightFormatName(options.format));
  profile.kv_format = options.kv_format == worker::KvFormat::kInt8 ? "int8" : "auto";
  profile.batch = options.batch;
  profile.context = length;
  profile.max_batch_tokens = options.max_batch_tokens;
  Profiler profiler(loaded->model(), loaded->backend(), clock, options);
  PINGTI_ASSIGN_OR_RETURN(PhaseProfile prefill, MeasurePrefill(options, prompt.encode_seconds,
                                                               &profiler, &batch, length));
  profile.phases.push_back(std::move(prefill));
  PINGTI_ASSIGN_OR_RETURN(PhaseProfile decode, MeasureDecode(options, &profiler, &batch, length));
  profile.phases.push_back(std::move(decode));
  return profile;
}

}  // namespace pingti::tools
