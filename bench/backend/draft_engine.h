// What the benchmarks of speculation share: a model of random weights that is made to say a given
// text, drafts of which a given share is right, and the engine over both, measured where it only
// decodes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/forwarding_model.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/engine/draft_source.h"
#include "worker/engine/engine_core.h"
#include "worker/model/load_model.h"
#include "worker/model/open_draft_head.h"

namespace pingti::worker {

inline constexpr int32_t kMaxBatchTokens = 4096;
inline constexpr int32_t kAnswerTokens = 320;  // of which the first are not timed

// Ends the program with the error.
void Require(const absl::Status& status);
double Now();  // seconds
double Median(std::vector<double> values);

// The token at a position of a text.
using Script = std::function<int32_t(int32_t position)>;
// No three tokens of it are the same twice.
Script NewText(int32_t vocab_size);
// `length` tokens: a passage of 64 over and over, in which each is another one with probability
// `changed`. Made at once: what a step takes is measured.
Script RepeatedText(double changed, int32_t vocab_size, int32_t length);

// A model that computes and draws as it does, and then says the script's tokens, so that drafts can
// be right as often as they are meant to be.
class ScriptedAnswers : public testing::ForwardingModel {
 public:
  ScriptedAnswers(Model* model, Script script)
      : ForwardingModel(model), script_(std::move(script)) {}

  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override;
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override;

 private:
  const Script script_;
  std::vector<int32_t> positions_;
};

// Drafts of which each is right with probability `share`.
class SharedDrafts : public DraftSource {
 public:
  SharedDrafts(double share, Script script, int32_t vocab_size)
      : share_(share), script_(std::move(script)), vocab_size_(vocab_size) {}
  void Propose(std::span<DraftAsk> asks) override;

 private:
  const double share_;
  const Script script_;
  const int32_t vocab_size_;
  std::mt19937 random_{7};
  std::uniform_real_distribution<double> uniform_{0.0, 1.0};
};

// Counts the steps that only decode, between the first tokens of the answers and the first end.
class DecodeMeter : public EngineObserver {
 public:
  explicit DecodeMeter(int32_t batch) : batch_(batch) {}

  void OnStepEnd(const StepStats& stats, const LoadSnapshot& load) override;
  void OnCacheEvents(std::span<const CacheEvent>) override {}

  double tokens_per_s() const { return static_cast<double>(tokens_) / seconds_; }
  double drafts_per_sequence() const {
    return static_cast<double>(drafts_) / static_cast<double>(steps_ * batch_);
  }
  double stood() const {
    return drafts_ == 0 ? 0.0 : static_cast<double>(accepted_) / static_cast<double>(drafts_);
  }
  // Medians over the steps in which every sequence had `depth` drafts, in seconds: what proposing
  // them took, and all of the step. Negative: there were none.
  double proposing_s(int32_t depth) const { return MedianAt(proposing_, depth); }
  double step_s(int32_t depth) const { return MedianAt(whole_, depth); }

 private:
  using ByDepth = std::vector<double>[kMaxDrafts + 1];
  static double MedianAt(const ByDepth& seconds, int32_t depth);

  const int64_t batch_;
  int64_t output_tokens_ = 0;
  int64_t tokens_ = 0;
  int64_t drafts_ = 0;
  int64_t accepted_ = 0;
  int64_t steps_ = 0;
  double seconds_ = 0.0;
  ByDepth proposing_;
  ByDepth whole_;
};

struct Place {
  int32_t block_tokens = 0;
  int32_t blocks_per_seq = 0;
};

// A model of a published shape with random weights, or of a GGUF file, with the head that drafts
// for it.
struct BenchModel {
  Device device;
  std::unique_ptr<Checkpoint> checkpoint;
  OpenedDraftHead head;
  std::unique_ptr<Model> model;
  Place place;
};
enum class BenchHead { kNone, kEagle3, kMtp };
// `head_path` is the directory of an EAGLE-3 head. Ends the program with an error.
BenchModel LoadBenchModel(const std::string& path, bool int8, BenchHead head,
                          const std::string& head_path, int32_t context, int32_t max_batch);

struct EngineRun {
  int32_t context = 0;
  int32_t batch = 0;
  DraftSource* drafts = nullptr;  // null: none
  int32_t max_drafts = kMaxDrafts;
  int32_t max_rows = 0;  // 0: as pingti-worker has it
  Script prompt;
};
DecodeMeter MeasureEngine(Model* model, const Place& place, const EngineRun& run);

}  // namespace pingti::worker
