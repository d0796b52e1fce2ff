// In steady state a step allocates nothing: this program counts every operator new, over a fake
// model and over a real one on the CPU backend.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "tests/testing/fake_clock.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/source_dir.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/engine/engine_core.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace {

std::atomic<int64_t> num_allocations{0};

}  // namespace

void* operator new(size_t bytes) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = nullptr;
  if (posix_memalign(&memory, static_cast<size_t>(alignment), bytes) == 0) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

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

// A core over a model, with a counter of what its steps allocate.
class Counted {
 public:
  Counted(Model* model, int32_t num_blocks, int32_t max_tokens = 512) {
    EXPECT_TRUE(model->Allocate(num_blocks, kBlockTokens, max_tokens, kMaxSequences).ok());
    EngineOptions options;
    options.budget = {max_tokens, kMaxSequences};
    options.num_kv_blocks = num_blocks;
    options.kv_block_tokens = kBlockTokens;
    core = std::make_unique<EngineCore>(model, &clock, options, nullptr);
    auto owned = std::make_unique<NullSink>();
    sink = owned.get();
    core->OpenSession(1, std::move(owned));
  }

  int64_t AllocationsIn(int steps) {
    const int64_t before = num_allocations.load();
    for (int i = 0; i < steps; ++i) core->Step();
    return num_allocations.load() - before;
  }

  static constexpr int32_t kBlockTokens = 16;
  static constexpr int32_t kMaxSequences = 32;

  testing::FakeClock clock;
  std::unique_ptr<EngineCore> core;
  NullSink* sink = nullptr;
};

// A request that runs until the context is full.
Request LongRequest(uint64_t id) {
  Request request;
  request.sequence_id = id;
  request.prompt_token_ids = {3, 4, 36, static_cast<int32_t>(id)};
  request.stop.ignore_eos = true;
  return request;
}

Request SampledRequest(uint64_t id) {
  Request request = LongRequest(id);
  request.sampling.temperature = 0.7f;
  request.sampling.top_p = id % 4 == 1 ? 0.9f : 1.0f;
  request.sampling.top_k = id % 4 == 2 ? 10 : 0;
  request.sampling.frequency_penalty = id % 2 == 0 ? 0.5f : 0.0f;
  request.logprobs.enabled = id % 3 == 0;
  return request;
}

testing::FakeModelOptions FakeOptions() {
  testing::FakeModelOptions options;
  options.constant_token = 5;
  options.max_context_tokens = 4096;
  return options;
}

TEST(Allocation, DecodeStepsAllocateNothing) {
  testing::FakeModel model(FakeOptions());
  Counted counted(&model, 8192);
  for (uint64_t i = 0; i < 32; ++i) counted.core->Submit(1, SampledRequest(i));
  counted.AllocationsIn(50);
  const int64_t tokens_before = counted.sink->num_tokens;
  // Long enough for every sequence to fill blocks, store them and lease new ones.
  EXPECT_EQ(counted.AllocationsIn(1000), 0);
  EXPECT_EQ(counted.sink->num_tokens - tokens_before, 32 * 1000);
}

// The engine over a model that computes.
class RealModelAllocation : public ::testing::Test {
 protected:
  void SetUp() override {
    auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/model/tiny/qwen2"));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    auto backend = MakeCpuBackend({.num_threads = 2, .kernels = ""});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
  }

  void Load(WeightFormat format) {
    LoadOptions options;
    options.format = format;
    auto model = LoadModel(*checkpoint_, backend_.get(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

TEST_F(RealModelAllocation, DecodeStepsAllocateNothing) {
  for (WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8}) {
    SCOPED_TRACE(std::string(WeightFormatName(format)));
    ASSERT_NO_FATAL_FAILURE(Load(format));
    Counted counted(model_.get(), 1024);
    for (uint64_t i = 0; i < 32; ++i) counted.core->Submit(1, SampledRequest(i));
    counted.AllocationsIn(50);
    const int64_t tokens_before = counted.sink->num_tokens;
    EXPECT_EQ(counted.AllocationsIn(150), 0);
    EXPECT_EQ(counted.sink->num_tokens - tokens_before, 32 * 150);
  }
}

TEST_F(RealModelAllocation, APromptsChunksAllocateNothingAlsoWithItsLogprobs) {
  ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kF32));
  Counted counted(model_.get(), 256, /*max_tokens=*/32);
  const auto submit = [&](uint64_t id, bool logprobs) {
    Request request = LongRequest(id);
    for (uint64_t i = 0; i < 200; ++i) {
      request.prompt_token_ids.push_back(static_cast<int32_t>((id * 31 + i * 7) % 90));
    }
    request.logprobs.enabled = logprobs;
    request.logprobs.prompt = logprobs;
    counted.core->Submit(1, std::move(request));
  };
  const auto cancel = [&](uint64_t id) {
    counted.core->Cancel(1, std::vector<uint64_t>{id});
    counted.core->Step();
  };
  // The first of its kind sizes the arrays that only such requests need.
  submit(1, true);
  for (int i = 0; i < 8; ++i) counted.core->Step();
  cancel(1);
  for (uint64_t id : {2, 3}) {
    submit(id, id == 3);
    counted.core->Step();  // admitted
    EXPECT_EQ(counted.AllocationsIn(5), 0) << "request " << id;
    EXPECT_EQ(counted.core->load().running_sequences, 1);
    cancel(id);
  }
}

TEST_F(RealModelAllocation, OnlyListsOfAlternativesThatClientsAskedForAreAllocated) {
  ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kF32));
  Counted counted(model_.get(), 1024);
  constexpr int kWithLists = 8;
  for (uint64_t i = 0; i < 32; ++i) {
    Request request = SampledRequest(i);
    request.logprobs.enabled = i < kWithLists;
    request.logprobs.top_logprobs = i < kWithLists ? 5 : 0;
    counted.core->Submit(1, std::move(request));
  }
  counted.AllocationsIn(50);
  // One list a token, which leaves with the output.
  EXPECT_EQ(counted.AllocationsIn(100), kWithLists * 100);
}

}  // namespace
}  // namespace pingti::worker
