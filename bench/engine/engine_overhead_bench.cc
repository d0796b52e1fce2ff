// Question: what does the engine itself cost per step, besides the model?
// A step's whole path (plan, lease, batch, results, publication) with a model that does nothing.
// Baseline: the goal of 200 us a step at batch 32. Run: bin/engine_overhead_bench
//   --benchmark_repetitions=20 --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>

#include "common/base/clock.h"
#include "tests/testing/fake_model.h"
#include "worker/engine/engine_core.h"

namespace pingti::worker {
namespace {

class NullSink : public SessionSink {
 public:
  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    benchmark::DoNotOptimize(outputs.size());
  }
  void OnAccepted(uint64_t) override {}
};

Request MakeRequest(uint64_t id, int32_t prompt_tokens, bool penalties) {
  Request request;
  request.sequence_id = id;
  for (int32_t i = 0; i < prompt_tokens; ++i) {
    request.prompt_token_ids.push_back(static_cast<int32_t>((id * 7919 + i) % 1000));
  }
  request.sampling.temperature = 0.8f;
  if (penalties) request.sampling.frequency_penalty = 0.5f;
  return request;
}

// Decode steps of range(0) sequences with range(1) tokens of context each.
void DecodeStep(benchmark::State& state) {
  const int32_t batch = static_cast<int32_t>(state.range(0));
  const int32_t context = static_cast<int32_t>(state.range(1));
  testing::FakeModelOptions model_options;
  model_options.vocab_size = 1000;
  model_options.constant_token = 5;
  model_options.max_context_tokens = 1 << 20;
  testing::FakeModel model(model_options);
  EngineOptions options;
  options.budget = {8192, batch};
  options.kv_block_tokens = 16;
  options.num_kv_blocks = batch * ((1 << 20) / 16 / 64);
  options.max_context_tokens = 16384;
  if (!model.Allocate(options.num_kv_blocks, 16, 8192, batch).ok()) return;
  auto core = std::make_unique<EngineCore>(&model, RealClock(), options, nullptr);
  core->OpenSession(1, std::make_unique<NullSink>());
  uint64_t next_id = 1;
  for (int32_t i = 0; i < batch; ++i) {
    core->Submit(1, MakeRequest(next_id++, context, i % 4 == 0));
  }
  while (core->load().waiting_sequences > 0) core->Step();
  for (int i = 0; i < 16; ++i) core->Step();
  for (auto _ : state) {
    core->Step();
    if (core->load().running_sequences < batch) {
      state.SkipWithError("a sequence ended during the measurement");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(DecodeStep)
    ->ArgNames({"batch", "context"})
    ->Args({1, 128})
    ->Args({8, 128})
    ->Args({32, 128})
    ->Args({32, 4096})
    ->Args({256, 512})
    ->Iterations(4000)
    ->Unit(benchmark::kMicrosecond);

// A request's whole life with a prompt of range(0) tokens, of which all but the last block is
// cached.
void ShortRequest(benchmark::State& state) {
  testing::FakeModelOptions model_options;
  model_options.vocab_size = 1000;
  model_options.constant_token = 5;
  model_options.max_context_tokens = 1 << 15;
  testing::FakeModel model(model_options);
  EngineOptions options;
  options.budget = {8192, 32};
  options.num_kv_blocks = 4096;
  if (!model.Allocate(options.num_kv_blocks, 16, 8192, 32).ok()) return;
  EngineCore core(&model, RealClock(), options, nullptr);
  core.OpenSession(1, std::make_unique<NullSink>());
  for (auto _ : state) {
    Request request = MakeRequest(1, static_cast<int32_t>(state.range(0)), false);
    request.stop.max_tokens = 1;
    core.Submit(1, std::move(request));
    while (core.has_work()) core.Step();
  }
}
BENCHMARK(ShortRequest)->ArgName("prompt")->Arg(128)->Arg(4096)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace pingti::worker

BENCHMARK_MAIN();
