// Prints what a model on a GPU thinks of tokens: for tests/gpu/compare_transformers.py, which holds
// it against transformers on the same card. Not a test by itself.
//
//   model_logprobs DIRECTORY stored|bf16|int8[+kv8] OUTPUT TOKEN...
//
// Writes rows of f32 log-probabilities [tokens + 2, vocab] one after the other: after each
// token when the prompt is fed a token at a time (decode steps, recorded ones included), and after
// the last token when it is fed at once and in chunks of 5 (prefill). Then checks that greedy
// answers to a batch of prompts equal those to each alone, and prints how many do. +kv8: with an
// int8 KV cache.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "tests/worker/model/model_runner.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

using testing::ModelRunner;

constexpr int32_t kAnswerTokens = 24;
constexpr int kPrompts = 8;
constexpr char kInt8Kv[] = "+kv8";

template <typename T>
T Require(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

WeightFormat ParseFormat(const std::string& name) {
  for (WeightFormat format : {WeightFormat::kStored, WeightFormat::kInt8, WeightFormat::kBf16}) {
    if (name == WeightFormatName(format)) return format;
  }
  std::fprintf(stderr, "format '%s'; expected stored, int8 or bf16\n", name.c_str());
  std::exit(2);
}

testing::RunnerOptions Options() {
  testing::RunnerOptions options;
  options.block_tokens = 64;
  options.max_batch_tokens = 2048;
  return options;
}

void Append(const std::vector<float>& values, std::ofstream* file) {
  file->write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(float)));
}

void WriteLogprobs(Model* model, const std::vector<int32_t>& tokens, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  ModelRunner one_by_one(model, Options());
  for (const int32_t token : tokens) {
    Require(one_by_one.Step({{token}}));
    Append(Require(one_by_one.AllLogprobs(0)), &file);
  }
  ModelRunner at_once(model, Options());
  Require(at_once.Step({tokens}));
  Append(Require(at_once.AllLogprobs(0)), &file);
  ModelRunner chunked(model, Options());
  for (size_t begin = 0; begin < tokens.size(); begin += 5) {
    const auto end = tokens.begin() + static_cast<int64_t>(std::min(tokens.size(), begin + 5));
    Require(chunked.Step({{tokens.begin() + static_cast<int64_t>(begin), end}}));
  }
  Append(Require(chunked.AllLogprobs(0)), &file);
}

// Rounding differs with the batch's shape, so near ties may fall either way.
void CompareBatched(Model* model, const std::vector<int32_t>& tokens) {
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < kPrompts; ++i) {
    prompts.emplace_back(tokens.begin() + i, tokens.end() - i);
  }
  ModelRunner together(model, Options());
  const auto batched = Require(together.GreedyBatch(prompts, kAnswerTokens));
  int equal = 0;
  int agreeing = 0;
  for (size_t s = 0; s < prompts.size(); ++s) {
    ModelRunner alone(model, Options());
    const auto single = Require(alone.Greedy(0, prompts[s], kAnswerTokens));
    equal += single == batched[s] ? 1 : 0;
    agreeing += static_cast<int>(
        std::mismatch(single.begin(), single.end(), batched[s].begin()).first - single.begin());
  }
  std::printf(
      "batched answers equal to single ones: %d of %d; %.1f of %d tokens before the first "
      "difference\n",
      equal, kPrompts, static_cast<double>(agreeing) / kPrompts, kAnswerTokens);
}

int Main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr,
                 "usage: model_logprobs DIRECTORY stored|bf16|int8[+kv8] OUTPUT TOKEN...\n");
    return 2;
  }
  std::vector<int32_t> tokens;
  for (int i = 4; i < argc; ++i) tokens.push_back(std::atoi(argv[i]));
  const auto checkpoint = Require(OpenCheckpoint(argv[1]));
  const auto backend = Require(MakeCudaBackend({}));
  LoadOptions options;
  std::string format = argv[2];
  if (format.ends_with(kInt8Kv)) {
    options.kv_format = KvFormat::kInt8;
    format.resize(format.size() - std::size(kInt8Kv) + 1);
  }
  options.format = ParseFormat(format);
  const auto model = Require(LoadModel(*checkpoint, backend.get(), options));
  WriteLogprobs(model.get(), tokens, argv[3]);
  CompareBatched(model.get(), tokens);
  return 0;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
