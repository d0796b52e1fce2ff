// Batched equals alone on real models: the tiny checkpoints of tests/golden/model, on the device
// that the program is linked for. Where the fake model of batched_equals_alone_test.cc proves the
// engine's bookkeeping, this proves that kernels, cache and engine agree about it: positions, block
// tables, windows, forks. A device that computes in bf16 takes the tokens of the first run again
// (scripted_model.h), so that every sequence is compared to its end.
#include <gtest/gtest.h>

#include <iostream>
#include <memory>
#include <random>
#include <string>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/fake_drafts.h"
#include "tests/worker/engine/mixed_requests.h"
#include "tests/worker/engine/scripted_model.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

// Of log-probabilities: other chunks and batches add the same numbers in another order.
constexpr double kToleranceF32 = 1e-4;
constexpr double kToleranceBf16 = 0.4;
// Of drawn tokens, in bf16: near ties, and draws that fall beside another token.
constexpr double kDifferingShareBf16 = 0.1;

class RealModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto checkpoint =
        OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + std::string(GetParam()));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    device_ = testing::MakeDeviceUnderTest();
    LoadOptions options;
    options.format = device_->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16;
    auto model = LoadModel(*checkpoint_, device_->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    loaded_ = *std::move(model);
    const absl::Status allocated = loaded_->Allocate(16, BlockTokens(), 16, 1);
    if (absl::IsUnimplemented(allocated)) GTEST_SKIP() << allocated.message();
    ASSERT_TRUE(allocated.ok()) << allocated;
    scripted_ = std::make_unique<testing::ScriptedModel>(loaded_.get());
    tolerance_ = device_->is_exact() ? kToleranceF32 : kToleranceBf16;
  }

  Model* model() { return device_->is_exact() ? loaded_.get() : scripted_.get(); }
  int32_t BlockTokens() { return device_->is_exact() ? 4 : 16; }

  CoreSetup RoomForAll() {
    CoreSetup setup;
    setup.block_tokens = BlockTokens();
    setup.num_blocks = 4096 / setup.block_tokens;
    setup.max_tokens = 512;
    return setup;
  }

  // In bf16 without what ranks answers, since a near tie ranks them otherwise.
  std::vector<Request> Requests() {
    std::vector<Request> requests = MixedRequests();
    if (device_->is_exact()) return requests;
    for (Request& request : requests) {
      request.sampling.seed = request.sequence_id;
      request.sampling.n = 1;
      request.sampling.beam = {};
    }
    return requests;
  }

  // Each request with the model to itself and nothing cached.
  CollectedMap RunAlone() {
    CollectedMap all;
    for (const Request& request : Requests()) {
      CoreDriver alone(model(), RoomForAll());
      alone.Submit(request);
      alone.RunAll();
      all.insert(alone.out.begin(), alone.out.end());
    }
    return all;
  }

  void SubmitAll(CoreDriver* driver) {
    for (Request& request : Requests()) driver->Submit(std::move(request));
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<Model> loaded_;
  std::unique_ptr<testing::ScriptedModel> scripted_;
  double tolerance_ = 0.0;
};

TEST_P(RealModelTest, BatchedEqualsAlone) {
  const CollectedMap alone = RunAlone();
  for (const int chunk : {4, 7, 64, 512}) {
    SCOPED_TRACE(::testing::Message() << "at most " << chunk << " tokens a step");
    CoreSetup setup = RoomForAll();
    setup.max_tokens = chunk;
    setup.max_sequences = std::min(chunk, 8);
    CoreDriver driver(model(), setup);
    SubmitAll(&driver);
    driver.RunAll();
    ExpectSameAnswers(alone, driver.out, tolerance_);
  }
  {
    SCOPED_TRACE("too little memory");
    CoreSetup setup = RoomForAll();
    setup.max_tokens = 48;
    setup.num_blocks = 240 / setup.block_tokens;
    CoreDriver driver(model(), setup);
    SubmitAll(&driver);
    driver.RunAll();
    EXPECT_GE(driver.core->load().preemptions_total, device_->is_exact() ? 6 : 1);
    ExpectSameAnswers(alone, driver.out, tolerance_);
  }
  {
    SCOPED_TRACE("preempted at random, then again with every prefix in the cache");
    std::mt19937 random(1);
    CoreDriver driver(model(), RoomForAll());
    SubmitAll(&driver);
    while (driver.core->has_work()) {
      if (random() % 4 == 0) driver.core->PreemptForTest(random() % 8);
      driver.Step();
    }
    driver.Step();
    ExpectSameAnswers(alone, driver.out, tolerance_);
    driver.out.clear();
    SubmitAll(&driver);
    driver.RunAll();
    int32_t cached = 0;
    for (const auto& [key, collected] : driver.out) cached += collected.cached_prompt_tokens;
    EXPECT_GT(cached, 100);
    ExpectSameAnswers(alone, driver.out, tolerance_);
  }
  if (device_->is_exact()) return;
  std::cout << scripted_->differing() << " of " << scripted_->replayed()
            << " tokens would have been others\n";
  EXPECT_LT(static_cast<double>(scripted_->differing()),
            kDifferingShareBf16 * static_cast<double>(scripted_->replayed()));
}

// In bf16 the tokens are the first run's by construction, and their log-probabilities are compared.
TEST_P(RealModelTest, DraftsNeverChangeAnAnswer) {
  const CollectedMap alone = RunAlone();
  FakeDrafts drafts(&alone, {});
  CoreSetup setup = RoomForAll();
  setup.max_rows = 40;
  setup.drafts = &drafts;
  CoreDriver driver(model(), setup);
  SubmitAll(&driver);
  driver.RunAll();
  EXPECT_GT(drafts.num_proposed(), 100);
  ExpectSameAnswers(alone, driver.out, tolerance_);
}

INSTANTIATE_TEST_SUITE_P(Families, RealModelTest,
                         ::testing::Values("llama3", "llama_mqa_bias_tied", "qwen2_yarn", "qwen3",
                                           "mistral_window", "gguf_llama_k", "llama3_d64",
                                           "llama_mqa_bias_tied_d64", "qwen2_yarn_d64",
                                           "qwen3_d128", "mistral_window_d64",
                                           "gguf_qwen2_4bit_d64"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace pingti::worker
