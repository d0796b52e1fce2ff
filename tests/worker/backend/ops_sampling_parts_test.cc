// Tokens drawn from the records of a row's parts are those drawn from the whole row, on the backend
// that this program is linked with. One device makes the records of all parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/backend/sampling_parts.h"
#include "worker/backend/sampling_rng.h"

namespace pingti::worker {
namespace {

using testing::TestMatrix;

constexpr int kPartsSeed = 45;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What the rows of a test refer to.
struct RowParameters {
  std::vector<TokenCount> counts;
  std::vector<TokenBias> biases;
  std::vector<uint32_t> mask;

  RowParameters(int32_t vocab, std::mt19937* rng) {
    for (int32_t t = static_cast<int32_t>((*rng)() % 3); t < vocab; t += 1 + vocab / 40) {
      counts.push_back({t, t % 3, t % 4});
      biases.push_back({t, static_cast<float>((*rng)() % 80) * 0.1f - 4.0f});
    }
    for (int32_t w = 0; w < (vocab + 31) / 32; ++w) mask.push_back((*rng)() & (*rng)());
    mask[0] |= 1u;
  }
};

// Every parameter alone and with others, in proportions that make all of them meet.
SamplingRow RandomRow(const RowParameters& parameters, std::mt19937* rng) {
  const auto one_in = [&](uint32_t n) { return (*rng)() % n == 0; };
  SamplingRow row;
  row.temperature = one_in(6) ? 0.0f : 0.4f + static_cast<float>((*rng)() % 14) * 0.1f;
  if (one_in(3)) row.top_k = 1 + static_cast<int32_t>((*rng)() % kMaxPartCandidates);
  if (one_in(3)) row.top_p = 0.05f + static_cast<float>((*rng)() % 95) * 0.01f;
  if (one_in(4)) row.min_p = static_cast<float>((*rng)() % 60) * 0.01f;
  if (one_in(4)) {
    row.token_counts = parameters.counts;
    row.repetition_penalty = 1.3f;
    row.presence_penalty = 0.5f;
    row.frequency_penalty = 0.25f;
  }
  if (one_in(4)) row.logit_bias = parameters.biases;
  if (one_in(5)) row.allowed_mask = parameters.mask;
  if (one_in(2)) row.num_top_logprobs = static_cast<int32_t>((*rng)() % 8);
  row.seed = (*rng)();
  row.position = (*rng)() % 5000;
  return row;
}

class OpsSamplingPartsTest : public ::testing::Test {
 protected:
  OpsSamplingPartsTest() : device_(testing::MakeDeviceUnderTest()), rng_(kPartsSeed) {}

  // For SampleParts of up to `rows` rows.
  void Prepare(int64_t vocab, int64_t rows) {
    StepLimits limits;
    limits.max_tokens = rows;
    limits.max_seqs = rows;
    limits.max_in_features = 64;
    limits.max_blocks_per_seq = 4;
    limits.num_heads = 4;
    limits.num_kv_heads = 2;
    limits.head_dim = 64;
    limits.vocab_size = vocab;
    limits.part_rows = rows;
    ASSERT_TRUE(device_->backend()->AllocateWorkspace(limits).ok());
  }

  // Rows of standard deviation `spread`, in steps of `step` if that is not 0.
  std::vector<float> Logits(int64_t rows, int64_t vocab, float spread, float step = 0.0f) {
    std::normal_distribution<float> normal(0.0f, spread);
    std::vector<float> logits(static_cast<size_t>(rows * vocab));
    for (float& logit : logits) {
      logit = normal(rng_);
      if (step > 0.0f) logit = step * std::round(logit / step);
    }
    return logits;
  }

  struct Outcome {
    std::vector<SampledToken> whole;
    std::vector<SampledToken> parts;
    std::vector<bool> is_decided;
  };

  // Parts are as equal as whole groups of noise let them be.
  Outcome Sample(const std::vector<float>& values, int64_t vocab,
                 const std::vector<SamplingRow>& rows, int num_parts) {
    const auto num_rows = static_cast<int64_t>(rows.size());
    TestMatrix logits(device_.get(), num_rows, vocab, DType::kF32);
    logits.Write(values);
    Outcome outcome;
    outcome.whole.resize(rows.size());
    outcome.parts.resize(rows.size());
    const absl::Status status = device_->backend()->Sample(logits.view(), rows, outcome.whole);
    EXPECT_TRUE(status.ok()) << status;
    const PartsLayout layout = LayoutOfParts(rows);
    const TestMatrix records(device_.get(), num_rows, int64_t{layout.cols()} * num_parts,
                             DType::kF32);
    const int64_t stride = ((vocab + num_parts - 1) / num_parts + kTokensPerDraw - 1) /
                           kTokensPerDraw * kTokensPerDraw;
    for (int part = 0; part < num_parts; ++part) {
      const int64_t first = stride * part;
      const absl::Status made = device_->backend()->SampleParts(
          logits.view().Columns(first, std::min(stride, vocab - first)), first, rows, layout,
          records.view().Columns(int64_t{layout.cols()} * part, layout.cols()));
      EXPECT_TRUE(made.ok()) << made;
    }
    const std::vector<float> host = records.Read();
    PartsMerger merger;
    const auto row_values = static_cast<size_t>(layout.cols() * num_parts);
    for (size_t i = 0; i < rows.size(); ++i) {
      outcome.is_decided.push_back(merger.Merge(host.data() + i * row_values, layout, num_parts,
                                                rows[i], &outcome.parts[i]));
    }
    return outcome;
  }

  // Returns how many rows were decided.
  int CheckSame(const Outcome& outcome, const std::vector<SamplingRow>& rows) {
    int num_decided = 0;
    int num_at_edge = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      SCOPED_TRACE("row " + std::to_string(i) + ", seed " + std::to_string(kPartsSeed));
      if (!outcome.is_decided[i]) {
        EXPECT_TRUE(MayStayUndecided(rows[i]));
        continue;
      }
      ++num_decided;
      const SampledToken& want = outcome.whole[i];
      const SampledToken& got = outcome.parts[i];
      EXPECT_EQ(got.logits_not_finite, want.logits_not_finite);
      if (want.logits_not_finite) continue;
      const bool has_edge = Draws(rows[i]) && (rows[i].top_p < 1.0f || rows[i].min_p > 0.0f);
      if (!device_->is_exact() && has_edge && got.token_id != want.token_id) {
        ++num_at_edge;
        continue;
      }
      EXPECT_EQ(got.token_id, want.token_id);
      if (rows[i].num_top_logprobs < 0) continue;
      EXPECT_NEAR(got.logprob, want.logprob, 1e-5 * (1 + std::fabs(want.logprob)));
      EXPECT_EQ(got.top.size(), want.top.size());
      for (size_t k = 0; k < std::min(got.top.size(), want.top.size()); ++k) {
        EXPECT_EQ(got.top[k].token_id, want.top[k].token_id) << "top " << k;
        EXPECT_NEAR(got.top[k].logprob, want.top[k].logprob,
                    1e-5 * (1 + std::fabs(want.top[k].logprob)));
      }
    }
    // A device that weighs in float may come to another last token that is kept.
    EXPECT_LE(num_at_edge, static_cast<int>(rows.size()) / 200);
    return num_decided;
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::mt19937 rng_;
};

TEST_F(OpsSamplingPartsTest, PartsDrawWhatTheWholeRowDraws) {
  constexpr int kRows = 400;
  constexpr int64_t kVocab = 3001;
  Prepare(kVocab, kRows);
  struct Kind {
    const char* name;
    float spread;
    float step;
    double least_decided;
  };
  for (const Kind& kind : {Kind{"ordinary", 2.5f, 0.0f, 0.97}, Kind{"peaked", 8.0f, 0.0f, 1.0},
                           Kind{"ties", 3.0f, 1.0f, 0.9}, Kind{"flat", 0.05f, 0.0f, 0.6},
                           Kind{"constant", 0.0f, 0.0f, 0.6}}) {
    for (const int num_parts : {1, 2, 3, 4, 8}) {
      SCOPED_TRACE(std::string(kind.name) + " in " + std::to_string(num_parts));
      const RowParameters parameters(kVocab, &rng_);
      std::vector<SamplingRow> rows;
      for (int i = 0; i < kRows; ++i) rows.push_back(RandomRow(parameters, &rng_));
      const std::vector<float> logits = Logits(kRows, kVocab, kind.spread, kind.step);
      const int decided = CheckSame(Sample(logits, kVocab, rows, num_parts), rows);
      EXPECT_GE(decided, kind.least_decided * kRows);
    }
  }
}

TEST_F(OpsSamplingPartsTest, PartsOfALargeVocabularyDrawWhatTheWholeRowDraws) {
  constexpr int kRows = 40;
  constexpr int64_t kVocab = 151936;
  Prepare(kVocab, kRows);
  const RowParameters parameters(kVocab, &rng_);
  std::vector<SamplingRow> rows;
  for (int i = 0; i < kRows; ++i) rows.push_back(RandomRow(parameters, &rng_));
  const std::vector<float> logits = Logits(kRows, kVocab, 2.5f);
  for (const int num_parts : {2, 8}) {
    CheckSame(Sample(logits, kVocab, rows, num_parts), rows);
  }
}

TEST_F(OpsSamplingPartsTest, SmallPartsDrawWhatTheWholeRowDraws) {
  constexpr int kRows = 60;
  for (int32_t vocab = 1; vocab <= 40; ++vocab) {
    Prepare(vocab, kRows);
    const RowParameters parameters(vocab, &rng_);
    std::vector<SamplingRow> rows;
    for (int i = 0; i < kRows; ++i) rows.push_back(RandomRow(parameters, &rng_));
    const std::vector<float> logits = Logits(kRows, vocab, 2.0f, 0.5f);
    for (const int num_parts : {1, 2, 3}) {
      // The last part has tokens.
      if ((vocab + 4 * num_parts - 1) / (4 * num_parts) * 4 * (num_parts - 1) >= vocab) continue;
      SCOPED_TRACE(std::to_string(vocab) + " tokens in " + std::to_string(num_parts));
      EXPECT_EQ(CheckSame(Sample(logits, vocab, rows, num_parts), rows), kRows);
    }
  }
}

TEST_F(OpsSamplingPartsTest, TheMostThatRecordsHoldIsTheWholeRows) {
  constexpr int64_t kVocab = 1001;
  constexpr int kRows = 24;
  Prepare(kVocab, kRows);
  std::vector<SamplingRow> rows(kRows);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].top_k = kMaxPartCandidates;
    rows[i].num_top_logprobs = kMaxTopLogprobs;
    rows[i].temperature = 3.0f;
    rows[i].seed = i;
  }
  const std::vector<float> logits = Logits(kRows, kVocab, 1.0f);
  for (const int num_parts : {2, 8}) {
    EXPECT_EQ(CheckSame(Sample(logits, kVocab, rows, num_parts), rows), kRows);
  }
  rows[0].top_k = kMaxPartCandidates + 1;
  EXPECT_FALSE(DrawsFromParts(rows[0]));
  rows[0].temperature = 0.0f;  // where top_k says nothing
  EXPECT_TRUE(DrawsFromParts(rows[0]));
  rows[0].num_ranked = 1;
  EXPECT_FALSE(DrawsFromParts(rows[0]));
}

TEST_F(OpsSamplingPartsTest, RowsThatAreNotFiniteAndPartsWithoutTokensAreToldApart) {
  constexpr int64_t kVocab = 64;
  constexpr int kRows = 6;
  Prepare(kVocab, kRows);
  std::vector<float> logits = Logits(kRows, kVocab, 2.0f);
  const std::vector<uint32_t> none(2, 0);
  const std::vector<uint32_t> second{0, 0x00f0u};  // tokens of the last of four parts' range
  const auto at = [&](size_t row, size_t token) -> float& { return logits[row * kVocab + token]; };
  at(1, 60) = std::numeric_limits<float>::quiet_NaN();
  at(2, 3) = kInfinity;
  for (size_t t = 0; t < kVocab; ++t) at(3, t) = -kInfinity;
  for (const float temperature : {0.0f, 0.8f}) {
    for (const float top_p : {1.0f, 0.9f}) {
      std::vector<SamplingRow> rows(kRows);
      for (size_t i = 0; i < rows.size(); ++i) {
        rows[i].temperature = temperature;
        rows[i].top_p = top_p;
        rows[i].seed = 7 + i;
      }
      rows[4].allowed_mask = none;
      rows[5].allowed_mask = second;
      rows[5].num_top_logprobs = 3;
      for (const int num_parts : {1, 2, 4}) {
        const Outcome outcome = Sample(logits, kVocab, rows, num_parts);
        EXPECT_EQ(CheckSame(outcome, rows), kRows);
        for (const size_t bad : {1, 2, 3, 4}) EXPECT_TRUE(outcome.parts[bad].logits_not_finite);
        EXPECT_FALSE(outcome.parts[0].logits_not_finite);
        EXPECT_GE(outcome.parts[5].token_id, 36);
      }
    }
  }
}

TEST_F(OpsSamplingPartsTest, AFlatRowStaysUndecidedOnlyWhereTheDrawIsBeyondWhatPartsTell) {
  constexpr int64_t kVocab = 2048;
  constexpr int kRows = 300;
  Prepare(kVocab, kRows);
  std::vector<SamplingRow> rows(kRows);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].seed = i;
    rows[i].top_p = 0.5f;
  }
  const Outcome outcome = Sample(Logits(kRows, kVocab, 0.1f), kVocab, rows, 2);
  const int decided = CheckSame(outcome, rows);
  // About 256 of 2048 tokens are told, which a draw from the best 1024 hits a quarter of the times.
  EXPECT_GT(decided, 15);
  EXPECT_LT(decided, 120);
}

TEST(SamplingPartsTest, RowsAreTakenTogetherWhileTheirParametersFit) {
  const std::vector<uint32_t> mask(kMaxPartParameterWords / 4 + 1);
  std::vector<SamplingRow> rows(8);
  EXPECT_EQ(NumRowsAtOnce(rows, 100), 8u);
  EXPECT_EQ(NumRowsAtOnce(rows, 3), 3u);
  for (SamplingRow& row : rows) row.allowed_mask = mask;
  EXPECT_EQ(NumRowsAtOnce(rows, 100), 3u);
  const std::vector<TokenCount> many(static_cast<size_t>(kMaxPartParameterWords));
  rows[0].token_counts = many;
  EXPECT_EQ(NumRowsAtOnce(rows, 100), 1u);
}

}  // namespace
}  // namespace pingti::worker
