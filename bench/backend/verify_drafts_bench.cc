// Question: what does a step cost that checks k drafts of every sequence, and what does speculation
// bring where so many drafts in a hundred stand? On a model of a published shape with random
// weights, which cannot show how many drafts of a real text stand.
// Baseline: the same engine and model without drafts.
//
//   build/release/bin/verify_drafts_bench MODEL [bf16|int8] [context] [batch...]
//
// MODEL is a directory with a config.json (bench/backend/shapes), for a GPU, or a GGUF file. Prints
// two tables. By batch and k = 0..7, the median step in ms, the host waiting for its tokens, and
// "uneven", where every other sequence has no draft. By batch and share of drafts that are right,
// the speed of the whole engine, which chooses its depth itself, over that without drafts. Where
// MODEL-eagle3 is a directory with a head's config.json, also of the engine with that head and
// random weights, whose drafts fall: what a head costs where it brings nothing.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "tests/testing/forwarding_model.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/engine/engine_core.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/open_draft_head.h"
#include "worker/speculation/head_drafts.h"

namespace pingti::worker {
namespace {

constexpr int32_t kMaxBatchTokens = 4096;
constexpr int32_t kTimedSteps = 24;
constexpr int32_t kAnswerTokens = 320;  // of which the first are not timed
constexpr int32_t kUntimedTokens = 64;
constexpr double kShares[] = {0.0, 0.5, 0.7, 0.8, 0.9, 0.95};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What the model is made to say at a position of any text.
int32_t TokenAt(int32_t position, int32_t vocab_size) {
  return static_cast<int32_t>((int64_t{position} * 7919 + 13) % vocab_size);
}

// A model that computes and draws as it does, and then says TokenAt, so that drafts can be right as
// often as they are meant to be.
class ScriptedAnswers : public testing::ForwardingModel {
 public:
  using ForwardingModel::ForwardingModel;

  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override {
    positions_.clear();
    for (const int32_t token : batch.logit_tokens) {
      positions_.push_back(batch.positions[static_cast<size_t>(token)]);
    }
    return ForwardingModel::Forward(batch, copies);
  }
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override {
    Require(ForwardingModel::Sample(rows, sampled));
    for (size_t i = 0; i < sampled.size(); ++i) {
      sampled[i].token_id = TokenAt(positions_[i] + 1, vocab_size());
    }
    return absl::OkStatus();
  }

 private:
  std::vector<int32_t> positions_;
};

// Drafts of which each is right with probability `share`.
class SharedDrafts : public DraftSource {
 public:
  SharedDrafts(double share, int32_t vocab_size) : share_(share), vocab_size_(vocab_size) {}
  void Propose(std::span<DraftAsk> asks) override {
    for (DraftAsk& ask : asks) {
      for (int32_t i = 0; i < ask.most; ++i) {
        const auto position = static_cast<int32_t>(ask.sequence->tokens.size()) + i;
        const int32_t wrong = uniform_(random_) < share_ ? 0 : 1;
        ask.drafts.push_back((TokenAt(position, vocab_size_) + wrong) % vocab_size_);
      }
    }
  }

 private:
  const double share_;
  const int32_t vocab_size_;
  std::mt19937 random_{7};
  std::uniform_real_distribution<double> uniform_{0.0, 1.0};
};

class NullSink : public SessionSink {
 public:
  void OnStep(uint64_t, std::span<SequenceOutput>) override {}
  void OnAccepted(uint64_t) override {}
};

struct Place {
  int32_t block_tokens = 0;
  int32_t blocks_per_seq = 0;
};

// One step of `batch` sequences after `context` tokens, the sequence s with counts[s] tokens, all
// of them drawn from. The cache holds whatever it holds, so that the same step can be repeated.
double StepSeconds(Model* model, const Place& place, int32_t context,
                   const std::vector<int32_t>& counts) {
  std::vector<int32_t> ids, positions, start{0}, lengths, table, rows;
  for (size_t s = 0; s < counts.size(); ++s) {
    for (int32_t t = 0; t < counts[s]; ++t) {
      rows.push_back(static_cast<int32_t>(ids.size()));
      ids.push_back(TokenAt(context + t, model->vocab_size()));
      positions.push_back(context + t);
    }
    start.push_back(static_cast<int32_t>(ids.size()));
    lengths.push_back(context + counts[s]);
    for (int32_t b = 0; b < place.blocks_per_seq; ++b) {
      table.push_back(static_cast<int32_t>(s) * place.blocks_per_seq + b);
    }
  }
  std::vector<SamplingRow> sampling(rows.size());
  for (SamplingRow& row : sampling) row.temperature = 0.0f;
  std::vector<SampledToken> sampled(rows.size());
  const double begin = Now();
  Require(model->Forward({ids, positions, start, lengths, table, place.blocks_per_seq, rows, true},
                         {}));
  Require(model->Sample(sampling, sampled));
  return Now() - begin;
}

double MedianStep(Model* model, const Place& place, int32_t context,
                  const std::vector<int32_t>& counts) {
  for (int i = 0; i < 4; ++i) StepSeconds(model, place, context, counts);
  std::vector<double> seconds;
  for (int i = 0; i < kTimedSteps; ++i) {
    seconds.push_back(StepSeconds(model, place, context, counts));
  }
  return Median(std::move(seconds));
}

void PrintSteps(Model* model, const Place& place, int32_t context, int32_t batch) {
  std::printf("step, batch %3d:", batch);
  std::string uneven;
  double none = 0.0;
  for (int32_t k = 0; k <= kMaxDrafts; ++k) {
    std::vector<int32_t> counts(static_cast<size_t>(batch), k + 1);
    const double seconds = MedianStep(model, place, context, counts);
    if (k == 0) none = seconds;
    std::printf("  k=%d %.3f ms (%.2f)", k, seconds * 1e3, seconds / none);
    if (k == 0 || batch == 1) continue;
    for (size_t s = 1; s < counts.size(); s += 2) counts[s] = 1;
    char text[64];
    std::snprintf(text, sizeof(text), "  k=%d %.3f ms", k,
                  MedianStep(model, place, context, counts) * 1e3);
    uneven += text;
  }
  std::printf("\n");
  if (!uneven.empty()) std::printf("uneven, batch %3d:%s\n", batch, uneven.c_str());
}

// Counts the steps that only decode, between the first tokens of the answers and the first end.
class DecodeMeter : public EngineObserver {
 public:
  explicit DecodeMeter(int32_t batch) : batch_(batch) {}

  void OnStepEnd(const StepStats& stats, const LoadSnapshot& load) override {
    if (stats.num_sequences == 0) return;
    output_tokens_ += stats.output_tokens;
    const bool counts = load.running_sequences == batch_ &&
                        stats.num_decode_tokens == stats.num_tokens &&
                        output_tokens_ > kUntimedTokens * batch_;
    if (!counts) return;
    tokens_ += stats.output_tokens;
    drafts_ += stats.num_drafts;
    accepted_ += stats.num_accepted_drafts;
    ++steps_;
    seconds_ += std::chrono::duration<double>(stats.duration).count();
  }
  void OnCacheEvents(std::span<const CacheEvent>) override {}

  double tokens_per_s() const { return static_cast<double>(tokens_) / seconds_; }
  double drafts_per_sequence() const {
    return static_cast<double>(drafts_) / static_cast<double>(steps_ * batch_);
  }
  double stood() const {
    return drafts_ == 0 ? 0.0 : static_cast<double>(accepted_) / static_cast<double>(drafts_);
  }

 private:
  const int64_t batch_;
  int64_t output_tokens_ = 0;
  int64_t tokens_ = 0;
  int64_t drafts_ = 0;
  int64_t accepted_ = 0;
  int64_t steps_ = 0;
  double seconds_ = 0.0;
};

DecodeMeter MeasureEngine(Model* model, const Place& place, int32_t context, int32_t batch,
                          DraftSource* drafts) {
  EngineOptions options;
  options.budget = {kMaxBatchTokens, batch};
  // As pingti-worker has it.
  options.budget.max_rows = std::max(batch, std::min(batch * (1 + kMaxDrafts), 64));
  options.num_kv_blocks = batch * place.blocks_per_seq;
  options.kv_block_tokens = place.block_tokens;
  options.drafts = drafts;
  DecodeMeter meter(batch);
  EngineCore core(model, RealClock(), options, &meter);
  core.OpenSession(1, std::make_unique<NullSink>());
  for (int32_t s = 0; s < batch; ++s) {
    Request request;
    request.sequence_id = static_cast<uint64_t>(s + 1);
    for (int32_t t = 0; t < context; ++t) {
      request.prompt_token_ids.push_back(TokenAt(t + 31 * s, model->vocab_size()));
    }
    request.sampling.temperature = 0.0f;
    request.stop.max_tokens = kAnswerTokens;
    core.Submit(1, std::move(request));
  }
  while (core.has_work()) core.Step();
  return meter;
}

void PrintEngine(Model* model, const Place& place, int32_t context, int32_t batch) {
  ScriptedAnswers scripted(model);
  const double none = MeasureEngine(&scripted, place, context, batch, nullptr).tokens_per_s();
  std::printf("engine, batch %3d: none %.0f tokens/s", batch, none);
  for (const double share : kShares) {
    SharedDrafts drafts(share, model->vocab_size());
    const DecodeMeter meter = MeasureEngine(&scripted, place, context, batch, &drafts);
    std::printf("  %.0f %% right: x%.2f (%.1f drafts, %.0f %% stood)", 100 * share,
                meter.tokens_per_s() / none, meter.drafts_per_sequence(), 100 * meter.stood());
  }
  if (model->draft_head() != nullptr) {
    HeadDrafts drafts(model->draft_head(), batch);
    const DecodeMeter meter = MeasureEngine(&scripted, place, context, batch, &drafts);
    std::printf("  random head: x%.2f (%.1f drafts)", meter.tokens_per_s() / none,
                meter.drafts_per_sequence());
  }
  std::printf("\n");
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: verify_drafts_bench MODEL [bf16|int8] [context] [batch...]\n");
    return 2;
  }
  const std::string form = argc > 2 ? argv[2] : "bf16";
  const int32_t context = argc > 3 ? std::atoi(argv[3]) : 512;
  std::vector<int32_t> batches;
  for (int i = 4; i < argc; ++i) batches.push_back(std::atoi(argv[i]));
  if (batches.empty()) batches = {1, 8, 32, 64};
  const std::string path = argv[1];
  const auto checkpoint =
      path.ends_with(".gguf") ? OpenCheckpoint(path) : OpenRandomCheckpoint(path);
  Require(checkpoint.status());
  const auto device = ChooseDevice({});
  Require(device.status());
  LoadOptions options;
  options.format = form == "int8" ? WeightFormat::kInt8 : WeightFormat::kBf16;
  OpenedDraftHead head;
  const std::string head_path = path + "-eagle3";
  if (std::filesystem::exists(head_path + "/config.json")) {
    auto opened = OpenDraftHead(head_path, (*checkpoint)->spec(), /*random_weights=*/true);
    Require(opened.status());
    head = *std::move(opened);
    options.draft_head = &head;
  }
  auto model = LoadModel(**checkpoint, device->backend.get(), options);
  Require(model.status());
  Place place;
  place.block_tokens = device->BestKvBlockTokens();
  place.blocks_per_seq = (context + kAnswerTokens + kMaxDrafts) / place.block_tokens + 2;
  const int32_t max_batch = *std::max_element(batches.begin(), batches.end());
  Require((*model)->Allocate(max_batch * place.blocks_per_seq, place.block_tokens, kMaxBatchTokens,
                             max_batch));
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("%s, %s %s, %d tokens of context\n", device->name.c_str(), argv[1], form.c_str(),
              context);
  for (const int32_t batch : batches) PrintSteps(model->get(), place, context, batch);
  for (const int32_t batch : batches) PrintEngine(model->get(), place, context, batch);
  return 0;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
