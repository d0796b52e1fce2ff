// best_of > n: which samples are sent, and in which order.
#include "worker/engine/groups/ranked_answers.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/engine/group_testing.h"

namespace pingti::worker {
namespace {

// Four samples that have ended, by their mean log-probability; a failed one is far the likeliest.
RequestGroup* Ended(PartsHarness* h, const std::vector<float>& means) {
  Request request = MakeRequest(1, {5, 6, 7}, 20);
  request.sampling.n = 2;
  request.sampling.best_of = static_cast<int32_t>(means.size());
  request.logprobs.enabled = true;
  RequestGroup* group = h->Add(request);
  for (size_t i = 1; i < means.size(); ++i) group->AddSample();
  for (size_t i = 0; i < means.size(); ++i) {
    Sample& sample = *group->samples[i];
    sample.sequence.tokens = {5, 6, 7};
    sample.num_output = static_cast<int32_t>(i) + 1;
    for (size_t t = 0; t <= i; ++t) {
      sample.sequence.tokens.push_back(static_cast<int32_t>(10 + i));
      sample.held_logprobs.push_back({means[i], {}});
    }
    sample.cumulative_logprob = means[i] * static_cast<float>(i + 1);
    sample.finish = Finish();
    sample.finish->reason = means[i] > 0 ? FinishReason::kError : FinishReason::kStopToken;
  }
  return group;
}

TEST(RankedAnswers, EveryOrderOfMeansIsRankedHighestFirstAndFailuresLast) {
  std::vector<float> means = {-4.0f, -3.0f, -2.0f, 1.0f};
  do {
    PartsHarness h;
    RequestGroup* group = Ended(&h, means);
    std::vector<float> got;
    for (const Sample* sample : RankSamples(*group))
      got.push_back(sample->held_logprobs[0].logprob);
    EXPECT_EQ(got, (std::vector<float>{-2.0f, -3.0f, -4.0f, 1.0f}));
  } while (std::next_permutation(means.begin(), means.end()));
}

TEST(RankedAnswers, OnlyTheBestAreSentWholeWithTheirLogprobs) {
  PartsHarness h;
  RequestGroup* group = Ended(&h, {-4.0f, -3.0f, -2.0f, -5.0f});
  SendRankedAnswers(group, &h.outputs, &h.stats);
  h.Publish(1);
  ASSERT_EQ(h.out.size(), 2u);
  EXPECT_EQ((h.out[{1, 0}].tokens), (std::vector<int32_t>{12, 12, 12}));
  EXPECT_EQ((h.out[{1, 1}].tokens), (std::vector<int32_t>{11, 11}));
  EXPECT_EQ((h.out[{1, 0}].logprobs.size()), 3u);
  EXPECT_EQ(h.stats.finished[static_cast<int>(FinishReason::kStopToken)], 2);
}

}  // namespace
}  // namespace pingti::worker
