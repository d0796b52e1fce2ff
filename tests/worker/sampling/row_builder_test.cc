// Rows carry the request's parameters, masks, counts, and one seed per sample.
#include "worker/sampling/row_builder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace pingti::worker {
namespace {

bool Allowed(std::span<const uint32_t> mask, int32_t token) {
  return mask.empty() || ((mask[token / 32] >> (token % 32)) & 1u) != 0;
}

TEST(TokenCounts, CountsPromptAndOutputLikeAMap) {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    std::vector<int32_t> prompt(random() % 50);
    for (int32_t& t : prompt) t = static_cast<int32_t>(random() % 40) * 1000;
    TokenCounts counts;
    counts.Reset(prompt, static_cast<int32_t>(prompt.size()) + 100);
    std::map<int32_t, std::pair<int, int>> want;
    for (const int32_t t : prompt) ++want[t].first;
    for (int i = 0; i < 100; ++i) {
      const int32_t t = static_cast<int32_t>(random() % 60) * 1000;
      counts.AddOutput(t);
      ++want[t].second;
    }
    ASSERT_EQ(counts.counts().size(), want.size());
    for (const TokenCount& count : counts.counts()) {
      EXPECT_EQ(count.prompt_count, want[count.token_id].first);
      EXPECT_EQ(count.output_count, want[count.token_id].second);
    }
  }
}

TEST(TokenCounts, OneMoreOutputTokenIsCountedBesideTheOthers) {
  TokenCounts counts;
  counts.Reset(std::vector<int32_t>{7, 8, 7}, 20);
  std::vector<TokenCount> after;
  std::vector<TokenCount> later;
  CountsAfter(counts.counts(), 8, &after);
  CountsAfter(after, 9, &later);
  for (const int32_t token : {8, 9}) counts.AddOutput(token);
  ASSERT_EQ(later.size(), counts.counts().size());
  for (size_t i = 0; i < later.size(); ++i) {
    EXPECT_EQ(later[i].token_id, counts.counts()[i].token_id);
    EXPECT_EQ(later[i].prompt_count, counts.counts()[i].prompt_count);
    EXPECT_EQ(later[i].output_count, counts.counts()[i].output_count);
  }
  EXPECT_EQ(after.size(), 2u);
}

TEST(RowBuilder, AllowedTokensAndSuppressedStopsBecomeMasks) {
  SamplingParameters p;
  p.allowed_token_ids = {3, 40, 69};
  const std::vector<int32_t> stops = {40};
  const RequestSampling request(p, 70, stops, true);
  for (int32_t t = 0; t < 70; ++t) {
    const bool listed = t == 3 || t == 40 || t == 69;
    EXPECT_EQ(Allowed(request.Mask(false), t), listed) << t;
    EXPECT_EQ(Allowed(request.Mask(true), t), listed && t != 40) << t;
  }
  const RequestSampling open(SamplingParameters(), 70, stops, true);
  EXPECT_TRUE(open.Mask(false).empty());
  EXPECT_FALSE(Allowed(open.Mask(true), 40));
  EXPECT_TRUE(Allowed(open.Mask(true), 69));
}

// A sampler draws by the row alone: what is dropped here is dropped for good.
TEST(RowBuilder, EveryParameterOfTheRequestIsInTheRow) {
  SamplingParameters p;
  p.temperature = 0.5f;
  p.top_p = 0.75f;
  p.top_k = 7;
  p.min_p = 0.125f;
  p.seed = 99;
  p.presence_penalty = 0.25f;
  p.frequency_penalty = -0.5f;
  p.repetition_penalty = 1.5f;
  p.logit_bias = {{3, 1.5f}, {8, -2.0f}};
  p.allowed_token_ids = {3, 8};
  const RequestSampling request(p, 10, std::vector<int32_t>{8}, true);
  SequenceSampling sampling;
  sampling.Reset(&request, std::vector<int32_t>{1}, {}, 10);
  const SamplingRow row = sampling.Row(1, /*suppress_stops=*/true, -1);
  EXPECT_EQ(row.temperature, 0.5f);
  EXPECT_EQ(row.top_p, 0.75f);
  EXPECT_EQ(row.top_k, 7);
  EXPECT_EQ(row.min_p, 0.125f);
  EXPECT_EQ(row.seed, 99u);
  EXPECT_EQ(row.presence_penalty, 0.25f);
  EXPECT_EQ(row.frequency_penalty, -0.5f);
  EXPECT_EQ(row.repetition_penalty, 1.5f);
  ASSERT_EQ(row.logit_bias.size(), 2u);
  EXPECT_EQ(row.logit_bias[1].token_id, 8);
  EXPECT_EQ(row.logit_bias[1].bias, -2.0f);
  for (int32_t token = 0; token < 10; ++token)
    EXPECT_EQ(Allowed(row.allowed_mask, token), token == 3);
  EXPECT_EQ(row.token_counts.size(), 1u);
}

TEST(RowBuilder, CountsAreKeptOnlyForPenalties) {
  SamplingParameters p;
  const RequestSampling plain(p, 10, {}, false);
  p.presence_penalty = 1.0f;
  const RequestSampling penalized(p, 10, {}, false);
  const std::vector<int32_t> prompt = {1, 2, 2};
  SequenceSampling a;
  a.Reset(&plain, prompt, {}, 10);
  a.AddOutput(3);
  EXPECT_TRUE(a.Row(4, false, -1).token_counts.empty());
  SequenceSampling b;
  b.Reset(&penalized, prompt, std::vector<int32_t>{5}, 10);
  b.AddOutput(3);
  const SamplingRow row = b.Row(5, false, 2);
  EXPECT_EQ(row.token_counts.size(), 4u);
  EXPECT_EQ(row.position, 5u);
  EXPECT_EQ(row.num_top_logprobs, 2);
}

}  // namespace
}  // namespace pingti::worker
