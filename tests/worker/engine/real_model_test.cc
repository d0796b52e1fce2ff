// Batched equals alone on real models: the tiny checkpoints of tests/golden/model, in float32 on
// the CPU. Where the fake model of batched_equals_alone_test.cc proves the engine's bookkeeping,
// this proves that kernels, cache and engine agree about it: positions, block tables, windows,
// forks.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/mixed_requests.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

// Other chunks and batches add the same numbers in another order.
constexpr double kTolerance = 1e-4;

CoreSetup RoomForAll() {
  CoreSetup setup;
  setup.num_blocks = 1024;
  setup.max_tokens = 512;
  return setup;
}

class RealModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto checkpoint =
        OpenCheckpoint(std::string(PINGTI_SOURCE_DIR "/tests/golden/model/tiny/") + GetParam());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    auto backend = MakeCpuBackend({.num_threads = 2, .kernels = ""});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
    LoadOptions options;
    options.format = WeightFormat::kF32;
    auto model = LoadModel(*checkpoint_, backend_.get(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  // Each request with the model to itself and nothing cached.
  CollectedMap RunAlone() {
    CollectedMap all;
    for (const Request& request : MixedRequests()) {
      CoreDriver alone(model_.get(), RoomForAll());
      alone.Submit(request);
      alone.RunAll();
      all.insert(alone.out.begin(), alone.out.end());
    }
    return all;
  }

  void SubmitAll(CoreDriver* driver) {
    for (Request& request : MixedRequests()) driver->Submit(std::move(request));
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

TEST_P(RealModelTest, BatchedEqualsAlone) {
  const CollectedMap alone = RunAlone();
  for (const int chunk : {4, 7, 64, 512}) {
    SCOPED_TRACE(::testing::Message() << "at most " << chunk << " tokens a step");
    CoreSetup setup = RoomForAll();
    setup.max_tokens = chunk;
    setup.max_sequences = std::min(chunk, 8);
    CoreDriver driver(model_.get(), setup);
    SubmitAll(&driver);
    driver.RunAll();
    ExpectSameAnswers(alone, driver.out, kTolerance);
  }
  {
    SCOPED_TRACE("too little memory");
    CoreSetup setup = RoomForAll();
    setup.max_tokens = 48;
    setup.num_blocks = 60;
    CoreDriver driver(model_.get(), setup);
    SubmitAll(&driver);
    driver.RunAll();
    EXPECT_GT(driver.core->load().preemptions_total, 5);
    ExpectSameAnswers(alone, driver.out, kTolerance);
  }
  {
    SCOPED_TRACE("preempted at random, then again with every prefix in the cache");
    std::mt19937 random(1);
    CoreDriver driver(model_.get(), RoomForAll());
    SubmitAll(&driver);
    while (driver.core->has_work()) {
      if (random() % 4 == 0) driver.core->PreemptForTest(random() % 8);
      driver.Step();
    }
    driver.Step();
    ExpectSameAnswers(alone, driver.out, kTolerance);
    driver.out.clear();
    SubmitAll(&driver);
    driver.RunAll();
    int32_t cached = 0;
    for (const auto& [key, collected] : driver.out) cached += collected.cached_prompt_tokens;
    EXPECT_GT(cached, 100);
    ExpectSameAnswers(alone, driver.out, kTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RealModelTest,
                         ::testing::Values("llama3", "llama_mqa_bias_tied", "qwen2_yarn", "qwen3",
                                           "mistral_window", "gguf_llama_k"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace pingti::worker
