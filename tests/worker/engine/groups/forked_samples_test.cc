// A prompt that is computed once for several samples.
#include "worker/engine/groups/forked_samples.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/worker/engine/group_testing.h"

namespace pingti::worker {
namespace {

TEST(ForkedSamples, ShareThePromptsBlocksAndDrawWithSeedsOfTheirOwn) {
  PartsHarness h;
  Request request = MakeRequest(1, {5, 6, 7, 8, 9, 10}, 20);
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 3;
  request.sampling.n = request.sampling.best_of = 4;
  RequestGroup* group = h.Add(request);
  h.Plan();
  ASSERT_EQ(h.plan.chunks[0].num_tokens, 5) << "the last token is computed by each sample";
  h.scheduler.Commit(h.plan.chunks[0].sequence, 5);
  ForkSamples(group, &h.scheduler);
  ASSERT_EQ(group->samples.size(), 4u);
  EXPECT_TRUE(group->forked);
  EXPECT_EQ(h.cache.pool().leased(), 2);
  std::set<uint64_t> seeds;
  for (const auto& sample : group->samples) {
    EXPECT_EQ(sample->sequence.state, Sequence::State::kRunning);
    EXPECT_EQ(sample->sequence.pending(), 1);
    EXPECT_EQ(sample->sequence.tokens, request.prompt_token_ids);
    seeds.insert(sample->sampling.Row(6, false, -1).seed);
  }
  EXPECT_EQ(seeds.size(), 4u);
  EXPECT_EQ(seeds.count(3), 1u) << "sample 0 has the request's own";
  h.Plan();
  EXPECT_EQ(h.plan.chunks.size(), 4u);
  EXPECT_EQ(h.copies.size(), 3u) << "three copy the shared last block, one keeps it";
}

TEST(ForkedSamples, OfAPromptThatIsNotQueuedAreQueued) {
  PartsHarness h;
  Request request = MakeRequest(1, {5}, 20);
  request.sampling.n = request.sampling.best_of = 2;
  RequestGroup* group = h.Add(request);
  h.scheduler.Remove(&group->samples[0]->sequence);
  ForkSamples(group, &h.scheduler);
  EXPECT_EQ(h.scheduler.state().waiting.size(), 2u);
}

}  // namespace
}  // namespace pingti::worker
