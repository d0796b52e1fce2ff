// Question: how long is a decode step on a GPU, and a prompt, for models of a published shape with
// random weights; how close is a step to reading its weights and keys and values once?
// Baseline: transformers with a static cache under torch.compile (transformers_decode.py here).
//
//   build/release/bin/worker_step_bench DIRECTORY [bf16|int8|int8+kv8] [context] [batch...]
//
// DIRECTORY holds a config.json (bench/backend/shapes). Prints, for a prompt of 2,048 tokens and
// for each batch: the median step with the host waiting for its tokens, the step when nothing waits
// (what the device needs), and the share of the roofline: bytes of weights and cached keys and
// values over the read rate that the card shows at the start of the run. Of experts, those count
// that a batch hits on average when each token takes its own at random, as with random weights.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/kernels/harness/read_ceiling.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

constexpr int32_t kBlockTokens = 64;
constexpr int32_t kMaxBatchTokens = 4096;
constexpr int32_t kPromptTokens = 2048;
constexpr int kTimedSteps = 64;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// Equally long sequences, each with its own row of consecutive blocks.
class Streams {
 public:
  Streams(Model* model, int32_t count, int32_t blocks_per_seq)
      : model_(model), count_(count), blocks_per_seq_(blocks_per_seq) {
    for (int32_t i = 0; i < count * blocks_per_seq; ++i) table_.push_back(i);
  }

  // Appends `tokens` tokens to sequences [first, first + count) and, if `wait`, samples.
  void Advance(int32_t first, int32_t count, int32_t begin, int32_t tokens, bool wait) {
    ids_.clear();
    positions_.clear();
    start_.assign(1, 0);
    context_.clear();
    logits_.clear();
    for (int32_t s = first; s < first + count; ++s) {
      for (int32_t t = 0; t < tokens; ++t) {
        ids_.push_back((s * 131 + (begin + t) * 17) % 40000 + 100);
        positions_.push_back(begin + t);
      }
      start_.push_back(static_cast<int32_t>(ids_.size()));
      context_.push_back(begin + tokens);
      logits_.push_back(static_cast<int32_t>(ids_.size()) - 1);
    }
    const std::span<const int32_t> table = std::span(table_).subspan(
        static_cast<size_t>(first * blocks_per_seq_), static_cast<size_t>(count * blocks_per_seq_));
    Require(
        model_->Forward({ids_, positions_, start_, context_, table, blocks_per_seq_, logits_}, {}));
    if (wait) Sample(count);
  }

  // Fills all sequences to `context` tokens.
  void Fill(int32_t context) {
    const int32_t per_step = std::max(1, kMaxBatchTokens / context);
    for (int32_t first = 0; first < count_; first += per_step) {
      Advance(first, std::min(per_step, count_ - first), 0, context, true);
    }
    length_ = context;
  }

  void Decode(bool wait) { Advance(0, count_, length_++, 1, wait); }
  void Wait() { Sample(count_); }

 private:
  void Sample(int32_t count) {
    std::vector<SamplingRow> rows(static_cast<size_t>(count));
    for (SamplingRow& row : rows) row.temperature = 0.0f;
    std::vector<SampledToken> sampled(rows.size());
    Require(model_->Sample(rows, sampled));
    for (const SampledToken& token : sampled) {
      if (token.logits_not_finite) Require(absl::InternalError("logits are not finite"));
    }
  }

  Model* const model_;
  const int32_t count_;
  const int32_t blocks_per_seq_;
  int32_t length_ = 0;
  std::vector<int32_t> table_, ids_, positions_, start_, context_, logits_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <typename Body>
double Seconds(const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The expected share of a layer's experts that some token of the batch takes.
double ShareOfExperts(const DecoderSpec& spec, int32_t batch) {
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.experts.has_value()) continue;
    const ExpertRouting& routing = layer.experts->routing;
    const double taken =
        static_cast<double>(routing.experts_per_token) / static_cast<double>(routing.num_experts);
    return 1.0 - std::pow(1.0 - taken, batch);
  }
  return 1.0;
}

// Bytes of weights that a decode step reads: all matrices but the embedding.
double WeightBytes(const DecoderSpec& spec, bool int8, int32_t batch) {
  double bytes = 0.0;
  for (const WeightSpec& weight : DeclaredWeights(spec)) {
    if (weight.is_vector() || weight.role == WeightRole::kEmbedding) continue;
    const auto values = static_cast<double>(weight.rows() * weight.cols);
    // int8: the output projection has a 16-bit scale per 128 weights.
    const double int8_bytes = weight.role == WeightRole::kLogits ? 1 + 2.0 / 128 : 1;
    const double share = weight.experts > 0 ? ShareOfExperts(spec, batch) : 1.0;
    bytes += share * values * (int8 && weight.role != WeightRole::kRouter ? int8_bytes : 2);
  }
  return bytes;
}

void BenchDecode(Model* model, const DecoderSpec& spec, bool int8, int32_t batch, int32_t context,
                 double read_bytes_per_s) {
  Streams streams(model, batch, (context + 4 * kTimedSteps) / kBlockTokens + 1);
  streams.Fill(context);
  for (int i = 0; i < 8; ++i) streams.Decode(true);
  std::vector<double> waited;
  for (int i = 0; i < kTimedSteps; ++i) {
    waited.push_back(Seconds([&] { streams.Decode(true); }));
  }
  const double device = Seconds([&] {
                          for (int i = 0; i < kTimedSteps; ++i) streams.Decode(false);
                          streams.Wait();
                        }) /
                        kTimedSteps;
  const double kv_bytes = static_cast<double>(model->KvBytesPerBlock(kBlockTokens)) / kBlockTokens *
                          batch * (context + 2 * kTimedSteps);
  const double floor = (WeightBytes(spec, int8, batch) + kv_bytes) / read_bytes_per_s;
  const double step = Median(waited);
  std::printf(
      "decode %3d x %d: step %7.3f ms, device %7.3f ms, %8.1f tokens/s, roofline %6.3f ms "
      "= %.1f %% of the step, %.1f %% of the device\n",
      batch, context, step * 1e3, device * 1e3, batch / step, floor * 1e3, 100 * floor / step,
      100 * floor / device);
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: worker_step_bench DIRECTORY [bf16|int8|int8+kv8] [context] [batch...]\n");
    return 2;
  }
  const std::string form = argc > 2 ? argv[2] : "bf16";
  const bool int8 = form.starts_with("int8");
  const int32_t context = argc > 3 ? std::atoi(argv[3]) : 512;
  std::vector<int32_t> batches;
  for (int i = 4; i < argc; ++i) batches.push_back(std::atoi(argv[i]));
  if (batches.empty()) batches = {1, 8, 32, 64};
  const double read_bytes_per_s = kernels::bench::MeasureReadBytesPerSecond();
  const auto checkpoint = OpenRandomCheckpoint(argv[1]);
  Require(checkpoint.status());
  const auto backend = MakeCudaBackend({});
  Require(backend.status());
  const DecoderSpec& spec = (*checkpoint)->spec();
  LoadOptions options;
  options.format = int8 ? WeightFormat::kInt8 : WeightFormat::kBf16;
  if (form.ends_with("+kv8")) options.kv_format = KvFormat::kInt8;
  absl::StatusOr<std::unique_ptr<Model>> model;
  const double load = Seconds([&] { model = LoadModel(**checkpoint, backend->get(), options); });
  Require(model.status());
  const int32_t max_batch = *std::max_element(batches.begin(), batches.end());
  const int32_t blocks = std::max(max_batch * ((context + 4 * kTimedSteps) / kBlockTokens + 1),
                                  kPromptTokens / kBlockTokens + 1);
  Require((*model)->Allocate(blocks, kBlockTokens, kMaxBatchTokens, std::max(max_batch, 8)));
  const auto facts = ReadCudaDevice(0);
  Require(facts.status());
  std::printf("%s reads %.2f TB/s, %s %s: loaded in %.2f s, %.1f GiB in use\n", facts->name.c_str(),
              read_bytes_per_s * 1e-12, argv[1], form.c_str(), load,
              static_cast<double>(facts->total_bytes - facts->free_bytes) / (1 << 30));
  std::vector<double> prompts;
  for (int i = 0; i < 5; ++i) {
    Streams prompt(model->get(), 1, kPromptTokens / kBlockTokens + 1);
    prompts.push_back(Seconds([&] { prompt.Fill(kPromptTokens); }));
  }
  std::printf("prompt of %d: %.2f ms, %.0f tokens/s\n", kPromptTokens, Median(prompts) * 1e3,
              kPromptTokens / Median(prompts));
  for (const int32_t batch : batches) {
    BenchDecode(model->get(), spec, int8, batch, context, read_bytes_per_s);
  }
  return 0;
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) { return pingti::worker::Main(argc, argv); }
