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
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bench/backend/draft_engine.h"
#include "worker/speculation/head_drafts.h"

namespace pingti::worker {
namespace {

constexpr int32_t kTimedSteps = 24;
constexpr double kShares[] = {0.0, 0.5, 0.7, 0.8, 0.9, 0.95};

// One step of `batch` sequences after `context` tokens, the sequence s with counts[s] tokens, all
// of them drawn from. The cache holds whatever it holds, so that the same step can be repeated.
double StepSeconds(Model* model, const Place& place, int32_t context,
                   const std::vector<int32_t>& counts) {
  std::vector<int32_t> ids, positions, start{0}, lengths, table, rows;
  for (size_t s = 0; s < counts.size(); ++s) {
    for (int32_t t = 0; t < counts[s]; ++t) {
      rows.push_back(static_cast<int32_t>(ids.size()));
      ids.push_back(NewText(model->vocab_size())(context + t));
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

void PrintEngine(Model* model, const Place& place, int32_t context, int32_t batch) {
  const Script text = NewText(model->vocab_size());
  ScriptedAnswers scripted(model, text);
  EngineRun run{.context = context, .batch = batch, .prompt = text};
  const double none = MeasureEngine(&scripted, place, run).tokens_per_s();
  std::printf("engine, batch %3d: none %.0f tokens/s", batch, none);
  for (const double share : kShares) {
    SharedDrafts drafts(share, text, model->vocab_size());
    run.drafts = &drafts;
    const DecodeMeter meter = MeasureEngine(&scripted, place, run);
    std::printf("  %.0f %% right: x%.2f (%.1f drafts, %.0f %% stood)", 100 * share,
                meter.tokens_per_s() / none, meter.drafts_per_sequence(), 100 * meter.stood());
  }
  if (model->draft_head() != nullptr) {
    HeadDrafts drafts(model->draft_head());
    run.drafts = &drafts;
    const DecodeMeter meter = MeasureEngine(&scripted, place, run);
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
  const std::string head_path = path + "-eagle3";
  const bool has_head = std::filesystem::exists(head_path + "/config.json");
  const BenchModel bench =
      LoadBenchModel(path, form == "int8", has_head ? BenchHead::kEagle3 : BenchHead::kNone,
                     head_path, context, *std::max_element(batches.begin(), batches.end()));
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("%s, %s %s, %d tokens of context\n", bench.device.name.c_str(), argv[1], form.c_str(),
              context);
  for (const int32_t batch : batches) PrintSteps(bench.model.get(), bench.place, context, batch);
  for (const int32_t batch : batches) PrintEngine(bench.model.get(), bench.place, context, batch);
  return 0;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
