// What a request gets must not depend on what else runs: batch, chunking, preemption, prefix hits,
// forks. The fake model reads the whole context through the block table, so any wrong block,
// position or copy changes tokens.
#include <gtest/gtest.h>

#include <random>

#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/mixed_requests.h"

namespace pingti::worker {
namespace {

CoreSetup MixedSetup() {
  CoreSetup setup;
  setup.model.eos_penalty = 0.5f;  // outputs of some length
  return setup;
}

// Each request in a core of its own with room for everything.
CollectedMap RunAlone(const std::vector<Request>& requests) {
  CollectedMap all;
  for (const Request& request : requests) {
    CoreSetup setup = MixedSetup();
    setup.max_tokens = 512;
    TestCore test(setup);
    test.Submit(request);
    test.RunAll();
    all.insert(test.out.begin(), test.out.end());
  }
  return all;
}

const CollectedMap& Expected() {
  static const CollectedMap* expected = new CollectedMap(RunAlone(MixedRequests()));
  return *expected;
}

void ExpectSame(const CollectedMap& got) { ExpectSameAnswers(Expected(), got, 0.0); }

TEST(BatchedEqualsAlone, TheMixIsWhatItClaims) {
  int stops = 0;
  int lengths = 0;
  for (const auto& [key, collected] : Expected()) {
    ASSERT_TRUE(collected.finish.has_value());
    stops += collected.finish->reason == FinishReason::kStopToken ? 1 : 0;
    lengths += collected.finish->reason == FinishReason::kMaxTokens ? 1 : 0;
  }
  EXPECT_GT(stops, 3);
  EXPECT_GT(lengths, 10);
  int32_t answers = 0;
  int searches = 0;
  for (const Request& request : MixedRequests()) {
    answers += request.sampling.n;
    searches += request.sampling.is_beam_search() ? 1 : 0;
  }
  EXPECT_EQ(Expected().size(), static_cast<size_t>(answers));
  EXPECT_GT(searches, 5);
  EXPECT_GT(answers, kNumMixedRequests + 2);
}

class ChunkSizes : public ::testing::TestWithParam<int> {};

TEST_P(ChunkSizes, AllAtOnceGiveTheSame) {
  CoreSetup setup = MixedSetup();
  setup.max_tokens = GetParam();
  setup.max_sequences = std::min(GetParam(), 8);
  setup.num_blocks = 512;
  // Requests with more beams than places cannot be served: those need 4.
  if (setup.max_sequences < 4) setup.max_sequences = 4;
  if (setup.max_tokens < 4) setup.max_tokens = 4;
  TestCore test(setup);
  for (Request& request : MixedRequests()) test.Submit(std::move(request));
  test.RunAll();
  ExpectSame(test.out);
  EXPECT_LE(test.model.most_tokens_in_a_step(), setup.max_tokens);
  EXPECT_LE(test.model.most_rows_in_a_step(), setup.max_sequences);
}

INSTANTIATE_TEST_SUITE_P(Tokens, ChunkSizes, ::testing::Values(4, 5, 7, 13, 16, 33, 64, 128, 512));

TEST(BatchedEqualsAlone, ChunksOfOneToken) {
  std::vector<Request> singles;
  for (Request& request : MixedRequests()) {
    if (!request.sampling.is_beam_search()) singles.push_back(std::move(request));
  }
  CoreSetup setup = MixedSetup();
  setup.max_tokens = 1;
  setup.max_sequences = 1;
  TestCore test(setup);
  for (Request& request : singles) test.Submit(std::move(request));
  test.RunAll();
  for (const auto& [key, collected] : test.out) {
    EXPECT_EQ(collected.tokens, Expected().at(key).tokens) << key.first;
  }
}

TEST(BatchedEqualsAlone, WhenMemoryRunsOutAllTheTime) {
  CoreSetup setup = MixedSetup();
  setup.max_tokens = 48;
  // The longest request needs 240 tokens; eight of them do not fit by far.
  setup.num_blocks = 60;
  setup.model.max_context_tokens = 240;
  TestCore test(setup);
  for (Request& request : MixedRequests()) test.Submit(std::move(request));
  test.RunAll();
  EXPECT_GT(test.core->load().preemptions_total, 5);
  ExpectSame(test.out);
}

TEST(BatchedEqualsAlone, WithPreemptionsAtRandom) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    CoreSetup setup = MixedSetup();
    setup.max_tokens = 40;
    TestCore test(setup);
    for (Request& request : MixedRequests()) test.Submit(std::move(request));
    while (test.core->has_work()) {
      if (random() % 4 == 0) test.core->PreemptForTest(random() % 8);
      test.Step();
    }
    test.Step();
    ExpectSame(test.out);
  }
}

TEST(BatchedEqualsAlone, WithArrivalsSpreadOverTime) {
  std::mt19937 random(3);
  TestCore test(MixedSetup());
  std::vector<Request> requests = MixedRequests();
  size_t next = 0;
  while (next < requests.size() || test.core->has_work()) {
    if (next < requests.size() && random() % 3 == 0) test.Submit(requests[next++]);
    test.Step();
  }
  test.Step();
  ExpectSame(test.out);
}

TEST(BatchedEqualsAlone, WithEveryPrefixInTheCache) {
  TestCore test(MixedSetup());
  for (Request& request : MixedRequests()) test.Submit(std::move(request));
  test.RunAll();
  const int64_t cold = test.model.num_tokens_computed();
  test.out.clear();
  for (Request& request : MixedRequests()) test.Submit(std::move(request));
  test.RunAll();
  EXPECT_LT(test.model.num_tokens_computed() - cold, cold) << "the cache saved nothing";
  int32_t cached = 0;
  for (const auto& [key, collected] : test.out) cached += collected.cached_prompt_tokens;
  EXPECT_GT(cached, 0);
  ExpectSame(test.out);
}

TEST(BatchedEqualsAlone, ResumedInTheMiddle) {
  for (const Request& request : MixedRequests()) {
    if (request.sampling.is_beam_search()) continue;
    const Collected& want = Expected().at({request.sequence_id, 0});
    if (want.tokens.size() < 3) continue;
    const size_t half = want.tokens.size() / 2;
    TestCore test(MixedSetup());
    Request resumed = request;
    resumed.generated_token_ids.assign(want.tokens.begin(),
                                       want.tokens.begin() + static_cast<ptrdiff_t>(half));
    test.Submit(std::move(resumed));
    test.RunAll();
    const Collected& got = test.Get(request.sequence_id);
    EXPECT_EQ(got.tokens, std::vector<int32_t>(want.tokens.begin() + static_cast<ptrdiff_t>(half),
                                               want.tokens.end()))
        << request.sequence_id;
    EXPECT_EQ(got.finish->usage.output_tokens, want.finish->usage.output_tokens);
    EXPECT_EQ(got.finish->reason, want.finish->reason);
  }
}

}  // namespace
}  // namespace pingti::worker
