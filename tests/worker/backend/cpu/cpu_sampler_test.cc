// The CPU sampler against a naive sampler written from sampling_params.h: sort everything, cut,
// draw.
#include "worker/backend/cpu/cpu_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "worker/backend/sampling_rng.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kVocab = 1000;
constexpr int kSeed = 5;

std::vector<float> RandomLogits(std::mt19937* rng) {
  std::normal_distribution<float> normal(0.0f, 4.0f);
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(*rng);
  logits[10] = logits[20];  // a tie
  return logits;
}

int32_t NaiveSample(std::vector<float> logits, const SamplingRow& row) {
  for (const TokenBias& bias : row.logit_bias)
    logits[static_cast<size_t>(bias.token_id)] += bias.bias;
  for (const TokenCount& count : row.token_counts) {
    float& logit = logits[static_cast<size_t>(count.token_id)];
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    if (count.output_count > 0) logit -= row.presence_penalty;
    logit -= row.frequency_penalty * static_cast<float>(count.output_count);
  }
  struct Entry {
    double weight;
    float logit;
    int32_t id;
  };
  std::vector<Entry> order;
  const float max = *std::max_element(logits.begin(), logits.end());
  for (int32_t t = 0; t < kVocab; ++t) {
    const float logit = logits[static_cast<size_t>(t)];
    if (!row.allowed_mask.empty() &&
        ((row.allowed_mask[static_cast<size_t>(t / 32)] >> (t % 32)) & 1u) == 0) {
      continue;
    }
    order.push_back(
        {std::exp(static_cast<double>((logit - max) * (1.0f / row.temperature))), logit, t});
  }
  std::sort(order.begin(), order.end(), [](const Entry& a, const Entry& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  if (row.top_k > 0) order.resize(std::min<size_t>(order.size(), static_cast<size_t>(row.top_k)));
  const auto mass = [&] {
    double sum = 0;
    for (const Entry& entry : order) sum += entry.weight;
    return sum;
  };
  const double target = static_cast<double>(row.top_p) * mass();
  if (row.top_p < 1.0f) {
    size_t keep = 0;
    for (double sum = 0; keep < order.size() && sum < target; ++keep) sum += order[keep].weight;
    order.resize(keep);
  }
  const double least = static_cast<double>(row.min_p) * order.front().weight;
  while (order.back().weight < least) order.pop_back();
  int32_t drawn = -1;
  double highest = -std::numeric_limits<double>::infinity();
  for (const Entry& entry : order) {
    const double score = static_cast<double>(entry.logit) / row.temperature +
                         TokenNoise(row.seed, row.position, entry.id);
    if (score > highest) {
      highest = score;
      drawn = entry.id;
    }
  }
  return drawn;
}

TEST(CpuSamplerTest, DrawsWhatSortingEverythingDraws) {
  std::mt19937 rng(kSeed);
  CpuSampler sampler(BestKernels(), kVocab);
  const std::vector<TokenCount> counts{{3, 1, 2}, {500, 0, 7}, {999, 4, 0}};
  const std::vector<TokenBias> biases{{7, 5.0f}, {8, -100.0f}};
  std::vector<uint32_t> mask(32, 0x0f0f0f0fu);
  for (int i = 0; i < 3000; ++i) {
    const std::vector<float> logits = RandomLogits(&rng);
    SamplingRow row;
    row.temperature = 0.3f + static_cast<float>(rng() % 20) * 0.1f;
    row.seed = rng();
    row.position = rng() % 100;
    if (i % 2 == 0) row.top_k = static_cast<int32_t>(rng() % 60);
    if (i % 3 == 0) row.top_p = 0.05f + static_cast<float>(rng() % 90) * 0.01f;
    if (i % 5 == 0) row.min_p = static_cast<float>(rng() % 50) * 0.01f;
    if (i % 7 == 0) {
      row.token_counts = counts;
      row.repetition_penalty = 1.3f;
      row.presence_penalty = 0.5f;
      row.frequency_penalty = 0.25f;
    }
    if (i % 4 == 0) row.logit_bias = biases;
    if (i % 6 == 0) {
      row.allowed_mask = mask;
    }
    SampledToken token;
    sampler.Sample(logits.data(), row, &token);
    EXPECT_EQ(token.token_id, NaiveSample(logits, row)) << "case " << i << " seed " << kSeed;
  }
}

// Pearson's statistic of draws against the softmax; with 9 degrees of freedom it is above 35 once
// in 17,000 tries, and the seed is fixed.
TEST(CpuSamplerTest, DrawsFollowTheSoftmaxOfWhatIsKept) {
  constexpr int64_t kTokens = 11;  // the last group of noise is not whole
  constexpr int kDraws = 20000;
  CpuSampler sampler(BestKernels(), kTokens);
  std::vector<float> logits(kTokens);
  for (size_t t = 0; t < logits.size(); ++t) logits[t] = 0.2f * static_cast<float>(t);
  SamplingRow all;
  all.temperature = 0.8f;
  SamplingRow some = all;
  some.top_k = 10;
  SamplingRow most = all;
  most.top_p = 0.98f;  // without the last, whose weight is 1.9 %
  for (SamplingRow row : {all, some, most}) {
    const bool has_first = row.top_k == 0 && row.top_p >= 1.0f;
    double total = 0;
    for (size_t t = has_first ? 0 : 1; t < logits.size(); ++t) total += std::exp(logits[t] / 0.8);
    std::vector<int> counts(kTokens);
    row.seed = kSeed;
    for (row.position = 0; row.position < kDraws; ++row.position) {
      SampledToken token;
      sampler.Sample(logits.data(), row, &token);
      ++counts[static_cast<size_t>(token.token_id)];
    }
    double statistic = 0;
    for (size_t t = 0; t < logits.size(); ++t) {
      if (t == 0 && !has_first) {
        EXPECT_EQ(counts[0], 0);
        continue;
      }
      const double expected = kDraws * std::exp(logits[t] / 0.8) / total;
      statistic += (counts[t] - expected) * (counts[t] - expected) / expected;
    }
    EXPECT_LT(statistic, 35.0) << "top_k " << row.top_k << " top_p " << row.top_p;
  }
}

TEST(CpuSamplerTest, TemperatureZeroTakesTheLowestIdOfTheLargest) {
  CpuSampler sampler(BestKernels(), kVocab);
  std::vector<float> logits(kVocab, -1.0f);
  logits[700] = logits[30] = 2.5f;
  SamplingRow row;
  row.temperature = 0.0f;
  SampledToken token;
  sampler.Sample(logits.data(), row, &token);
  EXPECT_EQ(token.token_id, 30);
}

TEST(CpuSamplerTest, OfEqualAlternativesTheLowestIdsAreTold) {
  CpuSampler sampler(BestKernels(), kVocab);
  std::vector<float> logits(kVocab, -1.0f);
  logits[700] = 2.5f;
  for (const size_t tie : {30, 40, 50, 60}) logits[tie] = 1.5f;
  SamplingRow row;
  row.temperature = 0.0f;
  SampledToken token;
  for (const int32_t count : {1, 2, 3, 5, 7}) {
    row.num_top_logprobs = count;
    sampler.Sample(logits.data(), row, &token);
    const std::vector<int32_t> expected = {700, 30, 40, 50, 60, 0, 1};
    ASSERT_EQ(token.top.size(), static_cast<size_t>(count));
    for (size_t i = 0; i < token.top.size(); ++i) {
      EXPECT_EQ(token.top[i].token_id, expected[i]) << i << " of " << count;
    }
  }
}

TEST(CpuSamplerTest, LogprobsAreOfTheRawLogits) {
  std::mt19937 rng(kSeed);
  const std::vector<float> logits = RandomLogits(&rng);
  CpuSampler sampler(BestKernels(), kVocab);
  SamplingRow row;
  row.temperature = 0.0f;
  row.num_top_logprobs = 5;
  const std::vector<TokenBias> bias{{42, 1000.0f}};
  row.logit_bias = bias;
  SampledToken token;
  sampler.Sample(logits.data(), row, &token);
  EXPECT_EQ(token.token_id, 42);
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit));
  EXPECT_NEAR(token.logprob, static_cast<double>(logits[42]) - std::log(sum), 1e-4);
  ASSERT_EQ(token.top.size(), 5u);
  EXPECT_NEAR(token.top[0].logprob,
              static_cast<double>(*std::max_element(logits.begin(), logits.end())) - std::log(sum),
              1e-4);
  EXPECT_TRUE(std::is_sorted(token.top.begin(), token.top.end(),
                             [](const auto& a, const auto& b) { return a.logprob > b.logprob; }));
}

TEST(CpuSamplerTest, ARowThatIsNotFiniteIsReported) {
  CpuSampler sampler(BestKernels(), kVocab);
  SamplingRow row;
  SampledToken token;
  std::vector<float> logits(kVocab, -std::numeric_limits<float>::infinity());
  sampler.Sample(logits.data(), row, &token);
  EXPECT_TRUE(token.logits_not_finite);
  logits.assign(kVocab, 0.0f);
  sampler.Sample(logits.data(), row, &token);
  EXPECT_FALSE(token.logits_not_finite);
  logits[999] = std::nanf("");
  sampler.Sample(logits.data(), row, &token);
  EXPECT_TRUE(token.logits_not_finite);
}

}  // namespace
}  // namespace pingti::worker::cpu
