// Sampling and log-probabilities against a sampler written from sampling_params.h in float64, on
// the backend that this program is linked with.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/backend/sampling_rng.h"

namespace pingti::worker {
namespace {

using testing::TestMatrix;

constexpr int kSeed = 44;
constexpr int64_t kVocab = 5003;

struct Entry {
  double weight;
  float logit;
  int32_t id;
};

// The kept tokens, most likely first, with weights that are not normalised.
std::vector<Entry> Kept(std::vector<float> logits, const SamplingRow& row) {
  for (const TokenBias& bias : row.logit_bias) {
    logits[static_cast<size_t>(bias.token_id)] += bias.bias;
  }
  for (const TokenCount& count : row.token_counts) {
    float& logit = logits[static_cast<size_t>(count.token_id)];
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    if (count.output_count > 0) logit -= row.presence_penalty;
    logit -= row.frequency_penalty * static_cast<float>(count.output_count);
  }
  std::vector<Entry> order;
  for (int32_t t = 0; t < kVocab; ++t) {
    const uint32_t word = row.allowed_mask.empty() ? ~0u : row.allowed_mask[t / 32];
    if (((word >> (t % 32)) & 1u) != 0) order.push_back({0, logits[static_cast<size_t>(t)], t});
  }
  std::sort(order.begin(), order.end(), [](const Entry& a, const Entry& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  if (row.temperature == 0.0f) return {order[0]};
  double total = 0;
  for (Entry& entry : order) {
    entry.weight = std::exp((double{entry.logit} - order[0].logit) / row.temperature);
  }
  if (row.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(row.top_k)));
  for (const Entry& entry : order) total += entry.weight;
  double mass = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    mass += order[i].weight;
    if (mass >= double{row.top_p} * total) order.resize(i + 1);
  }
  const double least = double{row.min_p} * order[0].weight;
  std::erase_if(order, [&](const Entry& entry) { return entry.weight < least; });
  return order;
}

// By how much `got`, one of the kept tokens, misses the highest score; 0 when it is what the
// formula draws, infinity when it is not kept.
double MissOfDraw(const std::vector<Entry>& kept, const SamplingRow& row, int32_t got) {
  if (row.temperature == 0.0f) {
    return kept[0].id == got ? 0.0 : std::numeric_limits<double>::infinity();
  }
  double highest = -std::numeric_limits<double>::infinity();
  double reached = highest;
  for (const Entry& entry : kept) {
    const double score =
        double{entry.logit} / row.temperature + TokenNoise(row.seed, row.position, entry.id);
    highest = std::max(highest, score);
    if (entry.id == got) reached = score;
  }
  return highest - reached;
}

class OpsSamplingTest : public ::testing::Test {
 protected:
  OpsSamplingTest() : device_(testing::MakeDeviceUnderTest()), rng_(kSeed) {}

  // f32 logits of `rows` rows; the values stay in `values_`.
  TestMatrix MakeLogits(int64_t rows) {
    std::normal_distribution<float> normal(0.0f, 3.0f);
    values_.assign(static_cast<size_t>(rows), std::vector<float>(kVocab));
    std::vector<float> flat;
    for (std::vector<float>& row : values_) {
      for (float& logit : row) logit = normal(rng_);
      row[10] = row[20] = 12.5f;  // a tie at the top
      flat.insert(flat.end(), row.begin(), row.end());
    }
    TestMatrix logits(device_.get(), rows, kVocab, DType::kF32);
    device_->CopyIn(flat.data(), logits.view().data, static_cast<int64_t>(flat.size() * 4));
    return logits;
  }

  double Logprob(size_t row, int32_t token) const {
    double sum = 0;
    for (const float logit : values_[row]) sum += std::exp(double{logit});
    return double{values_[row][static_cast<size_t>(token)]} - std::log(sum);
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::mt19937 rng_;
  std::vector<std::vector<float>> values_;
};

TEST_F(OpsSamplingTest, TheHighestOfARowIsTheFirstOfItsHighest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  TestMatrix logits = MakeLogits(6);
  values_[1][4999] = 40.0f;
  values_[2][0] = nan;
  values_[3].assign(kVocab, -infinity);
  values_[4].assign(kVocab, -2.5f);
  values_[5][3001] = infinity;
  std::vector<float> flat;
  for (const std::vector<float>& row : values_) flat.insert(flat.end(), row.begin(), row.end());
  device_->CopyIn(flat.data(), logits.view().data, static_cast<int64_t>(flat.size() * 4));
  // Every alignment, and sizes around those of vectors, warps and blocks.
  for (const int64_t first : {0, 1, 2, 3, 11, 2500}) {
    for (const int64_t cols : {0, 1, 3, 4, 31, 32, 33, 129, 2048, 2049, 2500}) {
      const TestMatrix best(device_.get(), 6, 2, DType::kF32);
      ASSERT_TRUE(
          device_->backend()->HighestOfRows(logits.view().Columns(first, cols), best.view()).ok());
      const std::vector<float> got = best.Read();
      for (size_t row = 0; row < 6; ++row) {
        const auto begin = values_[row].begin() + first;
        const bool has_nan = std::any_of(begin, begin + cols, [](float x) { return x != x; });
        const auto at = std::max_element(begin, begin + cols);
        const float value = has_nan ? infinity : cols == 0 ? -infinity : *at;
        EXPECT_EQ(got[2 * row], value) << row << " of " << cols << " from " << first;
        if (has_nan || value == -infinity) continue;
        EXPECT_EQ(got[2 * row + 1], static_cast<float>(at - begin)) << row << " of " << cols;
      }
    }
  }
}

TEST_F(OpsSamplingTest, DrawsWhatTheFormulaDraws) {
  constexpr double kTie = 5e-5;  // of noise, whose logarithms devices round in their own ways
  const std::vector<TokenCount> counts{{10, 1, 2}, {500, 0, 3}, {20, 1, 0}};
  const std::vector<TokenBias> biases{{7, 4.0f}, {10, -3.0f}};
  std::vector<uint32_t> mask((kVocab + 31) / 32, 0x5555aaaau);
  std::vector<SamplingRow> kinds(9);
  kinds[0].temperature = 0.0f;
  kinds[1].temperature = 0.7f;
  kinds[2].top_k = 5;
  kinds[3].top_p = 0.9f;
  kinds[4].min_p = 0.05f;
  kinds[5].temperature = 1.3f;
  kinds[5].top_p = 0.95f;
  kinds[5].top_k = 50;
  kinds[6].presence_penalty = 0.5f;
  kinds[6].frequency_penalty = 0.3f;
  kinds[6].repetition_penalty = 1.2f;
  kinds[6].token_counts = counts;
  kinds[7].logit_bias = biases;
  kinds[8].allowed_mask = mask;
  std::vector<SamplingRow> rows;
  for (int i = 0; i < 30; ++i) {
    for (SamplingRow row : kinds) {
      row.seed = rng_();
      row.position = static_cast<uint64_t>(i);
      rows.push_back(row);
    }
  }
  const TestMatrix logits = MakeLogits(static_cast<int64_t>(rows.size()));
  std::vector<SampledToken> sampled(rows.size());
  const absl::Status status = device_->backend()->Sample(logits.view(), rows, sampled);
  ASSERT_TRUE(status.ok()) << status;
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_FALSE(sampled[i].logits_not_finite);
    EXPECT_LT(MissOfDraw(Kept(values_[i], rows[i]), rows[i], sampled[i].token_id), kTie)
        << "row kind " << i % kinds.size() << " drew " << sampled[i].token_id;
  }
}

TEST_F(OpsSamplingTest, LogprobsAreThoseOfTheRawLogits) {
  std::vector<SamplingRow> rows(6);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].temperature = 0.5f;
    rows[i].seed = i;
    rows[i].num_top_logprobs = static_cast<int32_t>(i) - 1;
  }
  const TestMatrix logits = MakeLogits(6);
  std::vector<SampledToken> sampled(rows.size());
  ASSERT_TRUE(device_->backend()->Sample(logits.view(), rows, sampled).ok());
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(sampled[i].top.size(), i == 0 ? 0 : i - 1);
    if (i == 0) continue;
    EXPECT_NEAR(sampled[i].logprob, Logprob(i, sampled[i].token_id), 1e-4);
    if (i > 2) {
      EXPECT_EQ(sampled[i].top[0].token_id, 10);
      EXPECT_EQ(sampled[i].top[1].token_id, 20);
      EXPECT_NEAR(sampled[i].top[1].logprob, Logprob(i, 20), 1e-4);
    }
  }
  const std::vector<LogprobRequest> requests{{1, 77, 2}, {2, 10, 0}, {5, 4000, 3}};
  std::vector<SampledToken> results(requests.size());
  ASSERT_TRUE(device_->backend()->Logprobs(logits.view(), requests, results).ok());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_NEAR(results[i].logprob,
                Logprob(static_cast<size_t>(requests[i].row), requests[i].token_id), 1e-4);
    ASSERT_EQ(static_cast<int32_t>(results[i].top.size()), requests[i].num_top);
  }
  const std::vector<LogprobRequest> bad{{6, 0, 0}};
  std::vector<SampledToken> one(1);
  EXPECT_EQ(device_->backend()->Logprobs(logits.view(), bad, one).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(OpsSamplingTest, RankedTokensAreTheBestOfAdjustedLogprobs) {
  const std::vector<TokenCount> counts{{10, 1, 2}, {500, 0, 3}, {20, 1, 0}};
  const std::vector<TokenBias> biases{{7, 24.0f}, {10, -3.0f}};
  std::vector<uint32_t> mask((kVocab + 31) / 32, 0x5555aaaau);
  std::vector<uint32_t> three((kVocab + 31) / 32, 0);
  three[4] = 0b1011u << 5;
  std::vector<SamplingRow> rows(8);
  for (SamplingRow& row : rows) {
    row.temperature = 0.0f;
    row.num_ranked = kMaxRankedTokens;
  }
  rows[1].logit_bias = biases;
  rows[2].repetition_penalty = 1.5f;
  rows[2].presence_penalty = 0.5f;
  rows[2].frequency_penalty = -4.0f;
  rows[2].token_counts = counts;
  rows[3].allowed_mask = mask;
  rows[4] = rows[2];
  rows[4].logit_bias = biases;
  rows[4].allowed_mask = mask;
  rows[4].num_top_logprobs = 3;
  rows[5].allowed_mask = three;
  rows[6].num_ranked = 4;
  rows[7].num_ranked = 0;  // an ordinary one among them
  const TestMatrix logits = MakeLogits(static_cast<int64_t>(rows.size()));
  std::vector<SampledToken> sampled(rows.size());
  const absl::Status status = device_->backend()->Sample(logits.view(), rows, sampled);
  ASSERT_TRUE(status.ok()) << status;
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(i);
    // Kept() of temperature 1 is the whole order of what has been adjusted.
    std::vector<float> logprobs;
    for (int32_t t = 0; t < kVocab; ++t) logprobs.push_back(static_cast<float>(Logprob(i, t)));
    SamplingRow whole = rows[i];
    whole.temperature = 1.0f;
    const std::vector<Entry> order = Kept(logprobs, whole);
    const size_t count = std::min(static_cast<size_t>(rows[i].num_ranked), order.size());
    ASSERT_EQ(sampled[i].ranked.size(), i == 5 ? 3 : count);
    for (size_t k = 0; k < count && count > 0; ++k) {
      const RankedToken& got = sampled[i].ranked[k];
      EXPECT_NEAR(got.adjusted_logprob, order[k].logit, 1e-4);
      EXPECT_NEAR(got.logprob, Logprob(i, got.token_id), 1e-4);
      const bool tied = (k > 0 && order[k - 1].logit - order[k].logit < 2e-4f) ||
                        (k + 1 < order.size() && order[k].logit - order[k + 1].logit < 2e-4f);
      if (!tied) {
        EXPECT_EQ(got.token_id, order[k].id);
      }
    }
    if (count > 0) {
      EXPECT_EQ(sampled[i].token_id, sampled[i].ranked[0].token_id);
    }
    ASSERT_EQ(sampled[i].top.size(), i == 4 ? 3u : 0u);
    if (i == 4) {
      EXPECT_EQ(sampled[i].top[0].token_id, 10) << "of the raw logits";
    }
  }
  // Of equal ones the lower id comes first.
  EXPECT_EQ(sampled[0].ranked[0].token_id, 10);
  EXPECT_EQ(sampled[0].ranked[1].token_id, 20);
}

TEST_F(OpsSamplingTest, ARowThatIsNotFiniteIsReportedAlone) {
  TestMatrix logits = MakeLogits(3);
  std::vector<float> row(kVocab, 1.0f);
  row[77] = std::nanf("");
  device_->CopyIn(row.data(), static_cast<float*>(logits.view().data) + kVocab, kVocab * 4);
  std::vector<SamplingRow> rows(3);
  std::vector<SampledToken> sampled(3);
  ASSERT_TRUE(device_->backend()->Sample(logits.view(), rows, sampled).ok());
  EXPECT_FALSE(sampled[0].logits_not_finite);
  EXPECT_TRUE(sampled[1].logits_not_finite);
  EXPECT_FALSE(sampled[2].logits_not_finite);
}

}  // namespace
}  // namespace pingti::worker
