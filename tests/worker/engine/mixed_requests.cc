#include "tests/worker/engine/mixed_requests.h"

#include <gtest/gtest.h>

#include <random>

namespace pingti::worker {
namespace {

void ExpectSameLogprobs(const std::vector<TokenLogprobs>& want,
                        const std::vector<TokenLogprobs>& got, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i].logprob, want[i].logprob, tolerance);
    const std::vector<TopLogprob>& top = want[i].top;
    ASSERT_EQ(got[i].top.size(), top.size());
    for (size_t k = 0; k < top.size(); ++k) {
      EXPECT_NEAR(got[i].top[k].logprob, top[k].logprob, tolerance);
      // Two that lie closer than twice the tolerance may change places; what lies behind the last
      // one is not known.
      const auto is_near = [&](size_t a, size_t b) {
        return tolerance > 0 && top[a].logprob - top[b].logprob <= 2 * tolerance;
      };
      const bool tied =
          (k > 0 && is_near(k - 1, k)) || (k + 1 < top.size() ? is_near(k, k + 1) : tolerance > 0);
      if (!tied) {
        EXPECT_EQ(got[i].top[k].token_id, top[k].token_id);
      }
    }
  }
}

}  // namespace

std::vector<Request> MixedRequests() {
  std::mt19937 random(7);
  std::vector<int32_t> shared;
  for (int i = 0; i < 40; ++i) shared.push_back(3 + static_cast<int32_t>(random() % 60));
  std::vector<Request> requests;
  for (int i = 0; i < kNumMixedRequests; ++i) {
    std::vector<int32_t> prompt;
    if (i % 3 == 0) prompt.assign(shared.begin(), shared.begin() + 9 + random() % 30);
    const size_t own = 1 + random() % (i % 5 == 0 ? 120 : 20);
    for (size_t t = 0; t < own; ++t) prompt.push_back(3 + static_cast<int32_t>(random() % 60));
    Request r =
        MakeRequest(static_cast<uint64_t>(i + 1), prompt, 1 + static_cast<int32_t>(random() % 80));
    if (i % 2 == 1) {
      r.sampling.temperature = 0.9f;
      r.sampling.top_p = 0.95f;
      r.sampling.top_k = i % 4 == 1 ? 20 : 0;
      r.sampling.seed = random();
    }
    if (i % 4 == 3) {
      r.sampling.frequency_penalty = 0.5f;
      r.sampling.presence_penalty = 0.3f;
      r.sampling.repetition_penalty = 1.2f;
    }
    if (i % 6 == 2) r.sampling.logit_bias = {{5, 3.0f}, {6, -5.0f}};
    if (i % 7 == 5) r.stop.ignore_eos = true;
    if (i % 8 == 4) r.stop.min_tokens = r.stop.max_tokens;
    if (i % 5 == 3) r.logprobs = {true, 3, i % 10 == 3};
    if (i % 9 == 7 || i % 11 == 9 || i % 13 == 8) {
      r.sampling = SamplingParameters();
      r.sampling.beam.num_beams = 2 + i % 3;
      r.sampling.n = 1 + i % 2;
      if (i % 4 > 1) r.sampling.repetition_penalty = 1.5f;
      if (i % 4 == 1) r.sampling.presence_penalty = 0.5f;
    }
    if (i % 10 == 6) r.cache_salt = "tenant";
    if (i % 16 == 10) r.priority = 1;
    requests.push_back(std::move(r));
  }
  return requests;
}

void ExpectSameAnswers(const CollectedMap& want, const CollectedMap& got, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [key, wanted] : want) {
    SCOPED_TRACE(::testing::Message() << "sequence " << key.first << " sample " << key.second);
    const auto it = got.find(key);
    ASSERT_NE(it, got.end());
    const Collected& answer = it->second;
    EXPECT_EQ(answer.tokens, wanted.tokens);
    ASSERT_TRUE(answer.finish && wanted.finish);
    EXPECT_EQ(answer.finish->reason, wanted.finish->reason);
    EXPECT_EQ(answer.finish->stop_token_id, wanted.finish->stop_token_id);
    EXPECT_EQ(answer.finish->usage.output_tokens, wanted.finish->usage.output_tokens);
    EXPECT_NEAR(answer.finish->cumulative_logprob, wanted.finish->cumulative_logprob,
                1e-5 + tolerance * static_cast<double>(wanted.tokens.size()));
    ExpectSameLogprobs(wanted.logprobs, answer.logprobs, tolerance);
    ExpectSameLogprobs(wanted.prompt_logprobs, answer.prompt_logprobs, tolerance);
  }
}

}  // namespace pingti::worker
