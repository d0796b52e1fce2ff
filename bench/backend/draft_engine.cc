#include "bench/backend/draft_engine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "common/base/clock.h"
#include "worker/engine/record_steps.h"
#include "worker/model/open_checkpoint.h"

namespace pingti::worker {
namespace {

constexpr int32_t kUntimedTokens = 64;
constexpr int32_t kPassage = 64;

class NullSink : public SessionSink {
 public:
  void OnStep(uint64_t, std::span<SequenceOutput>) override {}
  void OnAccepted(uint64_t) override {}
};

}  // namespace

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

Script NewText(int32_t vocab_size) {
  return [vocab_size](int32_t position) {
    return static_cast<int32_t>((int64_t{position} * 7919 + 13) % vocab_size);
  };
}

Script RepeatedText(double changed, int32_t vocab_size, int32_t length) {
  const Script passage = NewText(vocab_size);
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  auto text = std::make_shared<std::vector<int32_t>>();
  for (int32_t position = 0; position < length; ++position) {
    const bool is_changed = uniform(random) < changed;
    text->push_back(passage(is_changed ? kPassage + position : position % kPassage));
  }
  return [text](int32_t position) { return text->at(static_cast<size_t>(position)); };
}

absl::Status ScriptedAnswers::Forward(const ForwardBatch& batch,
                                      std::span<const BlockCopy> copies) {
  positions_.clear();
  for (const int32_t token : batch.logit_tokens) {
    positions_.push_back(batch.positions[static_cast<size_t>(token)]);
  }
  return ForwardingModel::Forward(batch, copies);
}

absl::Status ScriptedAnswers::Sample(std::span<const SamplingRow> rows,
                                     std::span<SampledToken> sampled) {
  Require(ForwardingModel::Sample(rows, sampled));
  for (size_t i = 0; i < sampled.size(); ++i) sampled[i].token_id = script_(positions_[i] + 1);
  return absl::OkStatus();
}

void SharedDrafts::Propose(std::span<DraftAsk> asks) {
  for (DraftAsk& ask : asks) {
    for (int32_t i = 0; i < ask.most; ++i) {
      const auto position = static_cast<int32_t>(ask.sequence->tokens.size()) + i;
      const int32_t wrong = uniform_(random_) < share_ ? 0 : 1;
      ask.drafts.push_back((script_(position) + wrong) % vocab_size_);
    }
  }
}

void DecodeMeter::OnStepEnd(const StepStats& stats, const LoadSnapshot& load) {
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
  const double seconds = std::chrono::duration<double>(stats.duration).count();
  seconds_ += seconds;
  if (stats.num_drafts % batch_ != 0) return;
  const auto depth = static_cast<size_t>(stats.num_drafts / batch_);
  proposing_[depth].push_back(std::chrono::duration<double>(stats.draft_time).count());
  whole_[depth].push_back(seconds);
}

double DecodeMeter::MedianAt(const ByDepth& seconds, int32_t depth) {
  const std::vector<double>& values = seconds[static_cast<size_t>(depth)];
  return values.empty() ? -1.0 : Median(values);
}

BenchModel LoadBenchModel(const std::string& path, bool int8, BenchHead head,
                          const std::string& head_path, int32_t context, int32_t max_batch) {
  BenchModel bench;
  auto checkpoint = path.ends_with(".gguf") ? OpenCheckpoint(path) : OpenRandomCheckpoint(path);
  Require(checkpoint.status());
  bench.checkpoint = *std::move(checkpoint);
  auto device = ChooseDevice({});
  Require(device.status());
  bench.device = *std::move(device);
  LoadOptions options;
  options.format = int8 ? WeightFormat::kInt8 : WeightFormat::kBf16;
  if (head != BenchHead::kNone) {
    auto opened = head == BenchHead::kMtp ? OpenMtpModule(*bench.checkpoint)
                                          : OpenDraftHead(head_path, bench.checkpoint->spec(),
                                                          /*random_weights=*/true);
    Require(opened.status());
    bench.head = *std::move(opened);
    options.draft_head = &bench.head;
  }
  auto model = LoadModel(*bench.checkpoint, bench.device.backend.get(), options);
  Require(model.status());
  bench.model = *std::move(model);
  bench.place.block_tokens = bench.device.BestKvBlockTokens();
  bench.place.blocks_per_seq =
      (context + kAnswerTokens + kMaxDrafts) / bench.place.block_tokens + 2;
  Require(bench.model->Allocate(max_batch * bench.place.blocks_per_seq, bench.place.block_tokens,
                                kMaxBatchTokens, max_batch));
  Require(RecordDraftSteps(bench.model.get(), max_batch * (1 + kMaxDrafts), kMaxDrafts,
                           bench.place.block_tokens));
  return bench;
}

DecodeMeter MeasureEngine(Model* model, const Place& place, const EngineRun& run) {
  EngineOptions options;
  options.budget = {kMaxBatchTokens, run.batch};
  options.budget.max_rows = run.max_rows > 0
                                ? run.max_rows
                                : std::max(run.batch, std::min(run.batch * (1 + kMaxDrafts), 64));
  options.num_kv_blocks = run.batch * place.blocks_per_seq;
  options.kv_block_tokens = place.block_tokens;
  options.drafts = run.drafts;
  options.max_drafts = run.max_drafts;
  DecodeMeter meter(run.batch);
  EngineCore core(model, RealClock(), options, &meter);
  core.OpenSession(1, std::make_unique<NullSink>());
  for (int32_t s = 0; s < run.batch; ++s) {
    Request request;
    request.sequence_id = static_cast<uint64_t>(s + 1);
    request.cache_salt = std::to_string(s);
    for (int32_t t = 0; t < run.context; ++t) request.prompt_token_ids.push_back(run.prompt(t));
    request.sampling.temperature = 0.0f;
    request.stop.max_tokens = kAnswerTokens;
    core.Submit(1, std::move(request));
  }
  while (core.has_work()) core.Step();
  return meter;
}

}  // namespace pingti::worker
