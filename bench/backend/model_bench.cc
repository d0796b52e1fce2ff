// Question: how long do a prompt and a decode step take on the CPU backend, apart from engine,
// server and router? Baseline: llama.cpp's llama-bench with the same file and threads (see
// README.md here).
//
//   build/release/bin/model_bench MODEL.gguf [stored|int8|bf16|f32] [threads]
//
// Prints the prompt's tokens/s for 128 and 1,024 tokens, then for 1, 8 and 32 streams the median
// step over 64 steps that start from a context of 128 tokens.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

constexpr int32_t kBlockTokens = 16;
constexpr int32_t kMaxStreams = 32;
constexpr int32_t kMaxContext = 1024 + 64;
constexpr int32_t kBlocksPerSeq = (kMaxContext + kBlockTokens - 1) / kBlockTokens;

// Streams of equal length, each with its own row of consecutive blocks.
class Streams {
 public:
  Streams(Model* model, int32_t count) : model_(model), count_(count) {
    for (int32_t i = 0; i < count * kBlocksPerSeq; ++i) table_.push_back(i);
  }

  // Appends `tokens` tokens to every stream and samples greedily; returns seconds.
  double Advance(int32_t tokens) {
    std::vector<int32_t> ids, positions, start{0}, context, logits;
    for (int32_t s = 0; s < count_; ++s) {
      for (int32_t t = 0; t < tokens; ++t) {
        ids.push_back((s * 131 + (length_ + t) * 17) % 40000 + 100);
        positions.push_back(length_ + t);
      }
      start.push_back(static_cast<int32_t>(ids.size()));
      context.push_back(length_ + tokens);
      logits.push_back(static_cast<int32_t>(ids.size()) - 1);
    }
    length_ += tokens;
    std::vector<SamplingRow> rows(static_cast<size_t>(count_));
    for (SamplingRow& row : rows) row.temperature = 0.0f;
    std::vector<SampledToken> sampled(rows.size());
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status forward =
        model_->Forward({ids, positions, start, context, table_, kBlocksPerSeq, logits}, {});
    const absl::Status sample = model_->Sample(rows, sampled);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    if (!forward.ok() || !sample.ok()) {
      std::fprintf(stderr, "step failed: %s %s\n", forward.ToString().c_str(),
                   sample.ToString().c_str());
      std::exit(1);
    }
    return elapsed.count();
  }

 private:
  Model* const model_;
  const int32_t count_;
  int32_t length_ = 0;
  std::vector<int32_t> table_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void BenchPrompt(Model* model, int32_t tokens) {
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) seconds.push_back(Streams(model, 1).Advance(tokens));
  const double median = Median(seconds);
  std::printf("prompt %5d tokens: %8.1f ms  %8.0f tokens/s\n", tokens, median * 1e3,
              tokens / median);
}

void BenchDecode(Model* model, int32_t streams) {
  Streams batch(model, streams);
  for (int i = 0; i < 8; ++i) batch.Advance(16);
  std::vector<double> seconds;
  for (int i = 0; i < 64; ++i) seconds.push_back(batch.Advance(1));
  const double median = Median(seconds);
  std::printf("decode %2d streams:    %8.2f ms  %8.1f tokens/s\n", streams, median * 1e3,
              streams / median);
}

WeightFormat ParseFormat(const std::string& name) {
  for (WeightFormat format :
       {WeightFormat::kStored, WeightFormat::kInt8, WeightFormat::kBf16, WeightFormat::kF32}) {
    if (name == WeightFormatName(format)) return format;
  }
  std::fprintf(stderr, "format '%s'; expected stored, int8, bf16 or f32\n", name.c_str());
  std::exit(2);
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: model_bench MODEL [stored|int8|bf16|f32] [threads]\n");
    return 2;
  }
  const auto checkpoint = OpenCheckpoint(argv[1]);
  CpuBackendOptions backend_options;
  backend_options.num_threads = argc > 3 ? std::atoi(argv[3]) : 0;
  const auto backend = MakeCpuBackend(backend_options);
  if (!checkpoint.ok() || !backend.ok()) {
    std::fprintf(stderr, "%s %s\n", checkpoint.status().ToString().c_str(),
                 backend.status().ToString().c_str());
    return 1;
  }
  LoadOptions options;
  options.format = ParseFormat(argc > 2 ? argv[2] : "stored");
  const auto begin = std::chrono::steady_clock::now();
  const auto model = LoadModel(**checkpoint, backend->get(), options);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  const std::chrono::duration<double> load = std::chrono::steady_clock::now() - begin;
  std::printf("load: %.2f s\n", load.count());
  const absl::Status allocated =
      (*model)->Allocate(kMaxStreams * kBlocksPerSeq, kBlockTokens, 1024, kMaxStreams);
  if (!allocated.ok()) {
    std::fprintf(stderr, "%s\n", allocated.ToString().c_str());
    return 1;
  }
  for (int32_t tokens : {128, 1024}) BenchPrompt(model->get(), tokens);
  for (int32_t streams : {1, 8, 32}) BenchDecode(model->get(), streams);
  return 0;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
