#include "tools/profile/step_profile.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "tools/profile/profiling_backend.h"
#include "tools/text_tokens.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {
namespace {

constexpr int32_t kBlockTokens = 16;

// The arrays of one step in which every sequence of the batch has `query` new tokens.
class Batch {
 public:
  Batch(const ProfileOptions& options, std::vector<int32_t> prompt)
      : batch_(options.batch), prompt_(std::move(prompt)) {
    blocks_per_seq_ =
        (static_cast<int32_t>(prompt_.size()) + options.decode_steps + kBlockTokens) / kBlockTokens;
    for (int32_t b = 0; b < num_blocks(); ++b) block_table_.push_back(b);
  }

  int32_t num_blocks() const { return batch_ * blocks_per_seq_; }

  // Tokens [begin, begin + query) of every sequence.
  worker::ForwardBatch Step(int32_t begin, int32_t query) {
    for (std::vector<int32_t>* array :
         {&ids_, &positions_, &query_start_, &context_len_, &logit_tokens_}) {
      array->clear();
    }
    query_start_.push_back(0);
    for (int32_t s = 0; s < batch_; ++s) {
      for (int32_t i = begin; i < begin + query; ++i) {
        ids_.push_back(prompt_[static_cast<size_t>(i) % prompt_.size()]);
        positions_.push_back(i);
      }
      query_start_.push_back(static_cast<int32_t>(ids_.size()));
      context_len_.push_back(begin + query);
      logit_tokens_.push_back(static_cast<int32_t>(ids_.size()) - 1);
    }
    return {ids_,         positions_,      query_start_, context_len_,
            block_table_, blocks_per_seq_, logit_tokens_};
  }

 private:
  const int32_t batch_;
  const std::vector<int32_t> prompt_;
  int32_t blocks_per_seq_ = 0;
  std::vector<int32_t> ids_, positions_, query_start_, context_len_, block_table_, logit_tokens_;
};

// Runs steps and adds up where their time went.
class Profiler {
 public:
  Profiler(worker::Model* model, ProfilingBackend* backend, const Clock* clock, int batch)
      : model_(model),
        backend_(backend),
        clock_(clock),
        rows_(static_cast<size_t>(batch)),
        sampled_(static_cast<size_t>(batch)) {
    for (worker::SamplingRow& row : rows_) row.temperature = 0.0f;
  }

  absl::Status Run(const worker::ForwardBatch& batch) {
    PINGTI_RETURN_IF_ERROR(model_->Forward(batch, {}));
    return model_->Sample(rows_, sampled_);
  }

  // `step(i)` gives the i-th batch; its making counts as the host's work. `extra_seconds`: spent
  // on tokens before each step, or 0.
  absl::StatusOr<PhaseProfile> Measure(std::string name, int steps, int64_t tokens,
                                       double extra_seconds,
                                       const std::function<worker::ForwardBatch(int)>& step) {
    backend_->Reset();
    const auto begin = clock_->Now();
    for (int i = 0; i < steps; ++i) PINGTI_RETURN_IF_ERROR(Run(step(i)));
    const double total = std::chrono::duration<double>(clock_->Now() - begin).count() / steps;
    PhaseProfile phase;
    phase.name = std::move(name);
    phase.tokens = tokens;
    phase.seconds = total + extra_seconds;
    double host = total;
    for (size_t s = 0; s < kNumStages; ++s) {
      const double seconds = backend_->seconds()[s] / steps;
      host -= seconds;
      phase.stages.push_back({std::string(StageName(static_cast<Stage>(s))), seconds, 0.0});
    }
    phase.stages.push_back({"host", host, 0.0});
    if (extra_seconds > 0.0) phase.stages.push_back({"tokenizer", extra_seconds, 0.0});
    for (StageTime& stage : phase.stages) stage.share = stage.seconds / phase.seconds;
    return phase;
  }

 private:
  worker::Model* const model_;
  ProfilingBackend* const backend_;
  const Clock* const clock_;
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
        static_cast<int32_t>(random() % static_cast<uint64_t>(checkpoint.config().vocab_size)));
  }
  return tokens;
}

}  // namespace

absl::StatusOr<ModelProfile> ProfileModel(const ProfileOptions& options, const Clock* clock) {
  PINGTI_ASSIGN_OR_RETURN(const auto checkpoint, worker::OpenCheckpoint(options.model));
  const int64_t longest = int64_t{options.context} + options.decode_steps;
  if (longest > checkpoint->config().max_context) {
    return absl::InvalidArgumentError(Concat("context ", options.context, " and ",
                                             options.decode_steps, " decode steps; the model has ",
                                             checkpoint->config().max_context, " tokens"));
  }
  PINGTI_ASSIGN_OR_RETURN(const TextTokens prompt, Prompt(*checkpoint, options));
  PINGTI_ASSIGN_OR_RETURN(const auto device,
                          worker::MakeCpuBackend({.num_threads = options.threads, .kernels = ""}));
  ProfilingBackend backend(device.get(), {clock, nullptr});
  worker::LoadOptions load;
  load.format = options.format;
  PINGTI_ASSIGN_OR_RETURN(const auto model, worker::LoadModel(*checkpoint, &backend, load));
  Batch batch(options, prompt.ids);
  const auto length = static_cast<int32_t>(prompt.ids.size());
  PINGTI_RETURN_IF_ERROR(
      model->Allocate(batch.num_blocks(), kBlockTokens, options.batch * length, options.batch));

  ModelProfile profile;
  profile.model = checkpoint->display_name();
  profile.device = std::string(backend.name());
  profile.format = std::string(worker::WeightFormatName(options.format));
  profile.batch = options.batch;
  profile.context = length;
  Profiler profiler(model.get(), &backend, clock, options.batch);
  PINGTI_RETURN_IF_ERROR(profiler.Run(batch.Step(0, length)));
  PINGTI_ASSIGN_OR_RETURN(
      PhaseProfile prefill,
      profiler.Measure("prefill", options.prefill_steps, int64_t{length} * options.batch,
                       prompt.encode_seconds * options.batch,
                       [&](int) { return batch.Step(0, length); }));
  profile.phases.push_back(std::move(prefill));
  PINGTI_ASSIGN_OR_RETURN(PhaseProfile decode,
                          profiler.Measure("decode", options.decode_steps, options.batch, 0.0,
                                           [&](int i) { return batch.Step(length + i, 1); }));
  profile.phases.push_back(std::move(decode));
  return profile;
}

}  // namespace pingti::tools
