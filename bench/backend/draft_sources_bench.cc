// Question: what does it cost to propose k drafts, and what does a source of drafts bring where so
// many of them stand, its own time included? On a model of a published shape with random weights,
// whose answers are scripted: a head computes and draws as it would, and then its drafts are made
// right as often as asked for. Random weights cannot show how many of a real text are right.
// Baseline: the same engine and model without drafts.
//
//   build/release/bin/draft_sources_bench MODEL eagle3|mtp|ngram [bf16|int8] [context] [batch...]
//
// MODEL is a directory with a config.json (bench/backend/shapes), for a GPU. The head of eagle3 is
// MODEL-eagle3's; the model with its module, for mtp, MODEL-mtp's. Prints by batch, for a head: the
// median time of proposing k = 1, 3, 7 drafts for every sequence, what the last step brought being
// read included, beside the step's and that of a step without drafts; then the engine's speed over
// that without, by the share of drafts that are right. For ngram: that speed where the text is a
// passage over and over, by the share of its tokens that are new.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/backend/draft_engine.h"
#include "worker/speculation/head_drafts.h"
#include "worker/speculation/ngram_drafts.h"

namespace pingti::worker {
namespace {

constexpr int32_t kDepths[] = {1, 3, 7};
constexpr double kShares[] = {0.5, 0.7, 0.8, 0.9};
constexpr double kChanged[] = {0.0, 0.05, 0.1, 0.2, 0.5};

// What a head proposes, with tokens of which each is right with probability `share`.
class ScriptedHead : public DraftSource {
 public:
  ScriptedHead(DraftHead* head, SharedDrafts tokens) : head_(head), tokens_(std::move(tokens)) {}

  void AfterStep(std::span<const ComputedTokens> computed) override { head_.AfterStep(computed); }
  void Propose(std::span<DraftAsk> asks) override {
    head_.Propose(asks);
    for (DraftAsk& ask : asks) {
      ask.most = static_cast<int32_t>(ask.drafts.size());
      ask.drafts.clear();
    }
    tokens_.Propose(asks);
  }

 private:
  HeadDrafts head_;
  SharedDrafts tokens_;
};

struct Measured {
  const BenchModel& bench;
  EngineRun run;
  double none_tokens_per_s = 0.0;
};

void PrintHead(const Measured& measured, const Script& text) {
  Model* const model = measured.bench.model.get();
  ScriptedAnswers scripted(model, text);
  EngineRun run = measured.run;
  const auto head = [&](double share) {
    return ScriptedHead(model->draft_head(), SharedDrafts(share, text, model->vocab_size()));
  };
  for (const int32_t depth : kDepths) {
    ScriptedHead drafts = head(1.0);
    run.drafts = &drafts;
    run.max_drafts = depth;
    run.max_rows = run.batch * (1 + depth);
    const DecodeMeter meter = MeasureEngine(&scripted, measured.bench.place, run);
    const double ratio = meter.tokens_per_s() / measured.none_tokens_per_s;
    if (meter.step_s(depth) < 0) {
      std::printf("  k=%d: no step had so many for every sequence; x%.2f\n", depth, ratio);
      continue;
    }
    std::printf("  k=%d: proposing %.3f ms, step with it %.3f ms, all right: x%.2f\n", depth,
                meter.proposing_s(depth) * 1e3, meter.step_s(depth) * 1e3, ratio);
  }
  run.max_drafts = kMaxDrafts;
  run.max_rows = 0;
  for (const double share : kShares) {
    ScriptedHead drafts = head(share);
    run.drafts = &drafts;
    const DecodeMeter meter = MeasureEngine(&scripted, measured.bench.place, run);
    std::printf("  %.0f %% right: x%.2f (%.1f drafts, %.0f %% stood)\n", 100 * share,
                meter.tokens_per_s() / measured.none_tokens_per_s, meter.drafts_per_sequence(),
                100 * meter.stood());
  }
}

void PrintNgram(const Measured& measured) {
  Model* const model = measured.bench.model.get();
  for (const double changed : kChanged) {
    const Script text = RepeatedText(changed, model->vocab_size(),
                                     measured.run.context + kAnswerTokens + kMaxDrafts + 1);
    ScriptedAnswers scripted(model, text);
    NgramDrafts drafts;
    EngineRun run = measured.run;
    run.drafts = &drafts;
    run.prompt = text;
    const DecodeMeter meter = MeasureEngine(&scripted, measured.bench.place, run);
    std::printf("  %.0f %% new: x%.2f (%.1f drafts, %.0f %% stood)\n", 100 * changed,
                meter.tokens_per_s() / measured.none_tokens_per_s, meter.drafts_per_sequence(),
                100 * meter.stood());
  }
}

int Main(int argc, char** argv) {
  const std::string source = argc > 2 ? argv[2] : "";
  if (source != "eagle3" && source != "mtp" && source != "ngram") {
    std::fprintf(stderr,
                 "usage: draft_sources_bench MODEL eagle3|mtp|ngram [bf16|int8] [context] "
                 "[batch...]\n");
    return 2;
  }
  const std::string form = argc > 3 ? argv[3] : "bf16";
  const int32_t context = argc > 4 ? std::atoi(argv[4]) : 512;
  std::vector<int32_t> batches;
  for (int i = 5; i < argc; ++i) batches.push_back(std::atoi(argv[i]));
  if (batches.empty()) batches = {1, 8, 32};
  const BenchHead head = source == "eagle3" ? BenchHead::kEagle3
                         : source == "mtp"  ? BenchHead::kMtp
                                            : BenchHead::kNone;
  const std::string path = source == "mtp" ? std::string(argv[1]) + "-mtp" : argv[1];
  const double begin = Now();
  const BenchModel bench =
      LoadBenchModel(path, form == "int8", head, std::string(argv[1]) + "-eagle3", context,
                     *std::max_element(batches.begin(), batches.end()));
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("%s, %s %s, %s, %d tokens of context; loaded in %.0f s\n", bench.device.name.c_str(),
              path.c_str(), form.c_str(), source.c_str(), context, Now() - begin);
  const Script text = NewText(bench.model->vocab_size());
  ScriptedAnswers scripted(bench.model.get(), text);
  for (const int32_t batch : batches) {
    Measured measured{bench, {.context = context, .batch = batch, .prompt = text}};
    const DecodeMeter none = MeasureEngine(&scripted, bench.place, measured.run);
    measured.none_tokens_per_s = none.tokens_per_s();
    std::printf("%s, batch %3d: without drafts a step of %.3f ms, %.0f tokens/s\n", source.c_str(),
                batch, none.step_s(0) * 1e3, none.tokens_per_s());
    head == BenchHead::kNone ? PrintNgram(measured) : PrintHead(measured, text);
  }
  return 0;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
