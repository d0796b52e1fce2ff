// In steady state a decode step allocates nothing: this program counts every operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/testing/fake_clock.h"
#include "tests/testing/fake_model.h"
#include "worker/engine/engine_core.h"

namespace {

std::atomic<int64_t> num_allocations{0};

}  // namespace

void* operator new(size_t bytes) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace pingti::worker {
namespace {

class NullSink : public SessionSink {
 public:
  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    for (const SequenceOutput& output : outputs) {
      num_tokens += static_cast<int64_t>(output.token_ids.size());
    }
  }
  void OnAccepted(uint64_t) override {}
  int64_t num_tokens = 0;
};

TEST(Allocation, DecodeStepsAllocateNothing) {
  testing::FakeModelOptions model_options;
  model_options.constant_token = 5;
  model_options.max_context_tokens = 4096;
  testing::FakeModel model(model_options);
  ASSERT_TRUE(model.Allocate(8192, 16, 512, 32).ok());
  testing::FakeClock clock;
  EngineOptions options;
  options.budget = {512, 32};
  options.num_kv_blocks = 8192;
  options.kv_block_tokens = 16;
  EngineCore core(&model, &clock, options, nullptr);
  auto owned = std::make_unique<NullSink>();
  NullSink* sink = owned.get();
  core.OpenSession(1, std::move(owned));
  for (int i = 0; i < 32; ++i) {
    Request request;
    request.sequence_id = static_cast<uint64_t>(i);
    request.prompt_token_ids = {3, 4, 36, i};
    request.sampling.temperature = 0.7f;
    request.sampling.frequency_penalty = i % 2 == 0 ? 0.5f : 0.0f;
    request.logprobs.enabled = i % 3 == 0;
    core.Submit(1, std::move(request));
  }
  for (int i = 0; i < 50; ++i) core.Step();
  const int64_t tokens_before = sink->num_tokens;
  const int64_t before = num_allocations.load();
  // Long enough for every sequence to fill blocks, store them and lease new ones.
  for (int i = 0; i < 1000; ++i) core.Step();
  EXPECT_EQ(num_allocations.load() - before, 0);
  EXPECT_EQ(sink->num_tokens - tokens_before, 32 * 1000);
}

}  // namespace
}  // namespace pingti::worker
