// How many prompt tokens a step may take, by the steps before it; and that running answers of an
// engine pause no longer.
#include "worker/engine/prefill_pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/testing/forwarding_model.h"
#include "tests/worker/engine/engine_testing.h"

namespace pingti::worker {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();

// A device that takes 10 ms for a step and so much more for each prompt token.
StepStats StepOf(int32_t prefill, int32_t decode, microseconds per_token) {
  StepStats stats;
  stats.duration = milliseconds(10) + prefill * per_token;
  stats.num_tokens = prefill + decode;
  stats.num_decode_tokens = decode;
  return stats;
}

TEST(PrefillPacer, GivesNoLimitBeforeAPrefillOrWithoutATime) {
  PrefillPacer paced(milliseconds(100));
  paced.Add(StepOf(0, 8, microseconds(100)));
  EXPECT_EQ(paced.max_prefill_tokens(), kNoLimit);
  PrefillPacer free(milliseconds(0));
  free.Add(StepOf(4096, 8, microseconds(100)));
  EXPECT_EQ(free.max_prefill_tokens(), kNoLimit);
}

TEST(PrefillPacer, LeavesToPrefillsWhatDecodesDoNotTake) {
  PrefillPacer pacer(milliseconds(100));
  pacer.Add(StepOf(0, 8, microseconds(100)));
  for (const int32_t chunk : {4096, 900, 900, 70, 900}) {
    pacer.Add(StepOf(chunk, 8, microseconds(100)));
    EXPECT_NEAR(pacer.max_prefill_tokens(), 900, 1) << "after a chunk of " << chunk;
  }
}

TEST(PrefillPacer, FollowsADeviceThatGetsSlowerWithinAFewSteps) {
  PrefillPacer pacer(milliseconds(100));
  pacer.Add(StepOf(0, 8, microseconds(100)));
  for (int i = 0; i < 20; ++i) {
    pacer.Add(StepOf(std::min(900, pacer.max_prefill_tokens()), 8, microseconds(100)));
  }
  for (int i = 0; i < 8; ++i) pacer.Add(StepOf(pacer.max_prefill_tokens(), 8, microseconds(200)));
  EXPECT_NEAR(pacer.max_prefill_tokens(), 450, 45);
}

TEST(PrefillPacer, LetsPromptsMoveHoweverSlowTheDeviceIs) {
  PrefillPacer pacer(milliseconds(5));
  pacer.Add(StepOf(0, 8, microseconds(100)));
  pacer.Add(StepOf(4096, 8, microseconds(1'000)));
  EXPECT_EQ(pacer.max_prefill_tokens(), PrefillPacer::kFewestTokens);
}

// Takes 1 ms for a step and 100 us for each token of it, by the clock of the test.
class SlowModel : public testing::ForwardingModel {
 public:
  SlowModel(Model* model, pingti::testing::FakeClock* clock)
      : ForwardingModel(model), clock_(clock) {}

  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override {
    const auto took = milliseconds(1) + batch.num_tokens() * microseconds(100);
    clock_->Advance(took);
    if (batch.num_seqs() > 1) longest_shared = std::max(longest_shared, took);
    return ForwardingModel::Forward(batch, copies);
  }

  microseconds longest_shared{0};  // step of several sequences

 private:
  pingti::testing::FakeClock* const clock_;
};

microseconds LongestPause(milliseconds max_step_time) {
  pingti::testing::FakeModelOptions model_options;
  model_options.max_context_tokens = 4096;
  pingti::testing::FakeModel fake(model_options);
  pingti::testing::FakeClock clock;
  SlowModel model(&fake, &clock);
  EngineOptions options;
  options.budget = {2048, 4};
  options.num_kv_blocks = 1024;
  options.kv_block_tokens = 16;
  options.max_step_time = max_step_time;
  options.eos_token_ids = {kEos};
  EXPECT_TRUE(model.Allocate(1024, 16, 2048, 4).ok());
  EngineCore core(&model, &clock, options, nullptr);
  CollectedMap collected;
  core.OpenSession(1, std::make_unique<CollectingSink>(&collected));
  const auto submit = [&](uint64_t id, int32_t prompt, int32_t output) {
    const auto token = static_cast<int32_t>(5 + id);
    Request request =
        MakeRequest(id, std::vector<int32_t>(static_cast<size_t>(prompt), token), output);
    request.stop.ignore_eos = true;
    core.Submit(1, std::move(request));
  };
  submit(1, 300, 100);
  for (int i = 0; i < 5; ++i) core.Step();
  submit(2, 1500, 4);
  while (core.has_work()) core.Step();
  EXPECT_EQ((collected[{1, 0}].tokens.size()), 100u);
  EXPECT_EQ((collected[{2, 0}].tokens.size()), 4u);
  return model.longest_shared;
}

TEST(PrefillPacer, ARunningAnswerPausesForTheStepTimeAndNotForAWholePrompt) {
  EXPECT_GT(LongestPause(milliseconds(0)), milliseconds(150));
  EXPECT_LT(LongestPause(milliseconds(20)), milliseconds(22));
}

}  // namespace
}  // namespace pingti::worker
