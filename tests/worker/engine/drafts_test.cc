// Steps with several drawn tokens per sequence: whatever drafts are proposed, right or wrong, every
// answer is the ordinary one, token for token, with its log-probabilities; and right ones save
// steps. The mix has greedy and sampled requests, penalties, biases, stops, samples and beams.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/fake_drafts.h"
#include "tests/worker/engine/mixed_requests.h"

namespace pingti::worker {
namespace {

CoreSetup MixedSetup() {
  CoreSetup setup;
  setup.model.eos_penalty = 0.5f;
  setup.max_rows = 40;
  return setup;
}

// Without drafts.
const CollectedMap& Expected() {
  static const CollectedMap* expected = [] {
    CoreSetup setup = MixedSetup();
    setup.num_blocks = 2048;
    TestCore test(setup);
    for (Request& request : MixedRequests()) test.Submit(std::move(request));
    test.RunAll();
    return new CollectedMap(test.out);
  }();
  return *expected;
}

void RunMixed(const CoreSetup& base, const FakeDrafts::Options& options, int preempt_one_in = 0) {
  SCOPED_TRACE(::testing::Message() << "seed " << options.seed);
  FakeDrafts drafts(&Expected(), options);
  CoreSetup setup = base;
  setup.drafts = &drafts;
  TestCore test(setup);
  for (Request& request : MixedRequests()) test.Submit(std::move(request));
  std::mt19937 random(options.seed);
  while (test.core->has_work()) {
    if (preempt_one_in > 0 && random() % static_cast<uint32_t>(preempt_one_in) == 0) {
      test.core->PreemptForTest(random() % 8);
    }
    test.Step();
  }
  test.RunAll();
  EXPECT_GT(drafts.num_proposed(), 100);
  ExpectSameAnswers(Expected(), test.out, 0.0);
  EXPECT_LE(test.model.most_tokens_in_a_step(), setup.max_tokens);
  EXPECT_LE(test.model.most_rows_in_a_step(), setup.max_rows);
}

TEST(Drafts, NeverChangeAnAnswer) {
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    RunMixed(MixedSetup(), {.wrong_in = 1 + static_cast<int32_t>(seed % 5), .seed = seed});
  }
}

TEST(Drafts, NeverChangeAnAnswerWhenTokensAndRowsAreScarce) {
  for (const int32_t tokens : {8, 9, 12, 17, 33}) {
    for (const int32_t rows : {8, 9, 13}) {
      CoreSetup setup = MixedSetup();
      setup.max_tokens = tokens;
      setup.max_rows = rows;
      RunMixed(setup, {.seed = static_cast<uint32_t>(tokens)});
    }
  }
}

TEST(Drafts, NeverChangeAnAnswerWhenMemoryRunsOutAllTheTime) {
  CoreSetup setup = MixedSetup();
  setup.max_tokens = 48;
  // The longest request needs 240 tokens; eight of them do not fit by far.
  setup.num_blocks = 60;
  setup.model.max_context_tokens = 240;
  for (uint32_t seed = 1; seed <= 5; ++seed) RunMixed(setup, {.seed = seed});
}

TEST(Drafts, NeverChangeAnAnswerUnderPreemptions) {
  for (uint32_t seed = 1; seed <= 5; ++seed) RunMixed(MixedSetup(), {.seed = seed}, 4);
}

TEST(Drafts, RightOnesSaveSteps) {
  const auto steps_with = [](int32_t most) {
    Request request = MakeRequest(1, {5, 6, 7, 8}, 64);
    request.stop.ignore_eos = true;
    TestCore plain(MixedSetup());
    plain.Submit(request);
    plain.RunAll();
    FakeDrafts drafts(&plain.out, {.most = most, .wrong_in = 0});
    CoreSetup setup = MixedSetup();
    setup.drafts = &drafts;
    TestCore test(setup);
    test.Submit(request);
    test.RunAll();
    EXPECT_EQ(test.Get(1).tokens, plain.Get(1).tokens);
    return test.model.num_forwards();
  };
  // The prompt's step draws one token; then each step draws one more than it has drafts, the last
  // one what is left. A new sample may begin with fewer drafts.
  for (int32_t most = 0; most <= 7; ++most) {
    const int64_t fewest = 1 + (63 + most) / (1 + most);
    const int64_t steps = steps_with(most);
    EXPECT_GE(steps, fewest) << most;
    EXPECT_LE(steps, fewest + 1) << most;
  }
}

}  // namespace
}  // namespace pingti::worker
