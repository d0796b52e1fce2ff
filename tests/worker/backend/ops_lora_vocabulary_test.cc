// What adapters add to a vocabulary's two ends, embedding and logits, against float64, on the
// backend that this program is linked with: whole tables and a rank's share, all of a step's rows
// and some of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/backend/lora.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;

constexpr int32_t kSlots = 2;
constexpr int64_t kHidden = 64;
constexpr int64_t kTokens = 104;  // of the table, or of the share
constexpr int32_t kFirstToken = 24;
constexpr int64_t kRank = 20;
constexpr int64_t kHeadDim = 64;

LoraShape ShapeOf(LoraUse use) {
  LoraShape shape;
  shape.use = use;
  shape.in_features = use == LoraUse::kEmbedding ? kTokens : kHidden;
  shape.num_modules = 1;
  shape.parts = {{0, use == LoraUse::kEmbedding ? kHidden : kTokens}};
  shape.max_rank = kRank;
  shape.num_slots = kSlots;
  return shape;
}

class OpsLoraVocabularyTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = testing::MakeDeviceUnderTest(GetParam());
    const std::vector<LoraShape> shapes = {ShapeOf(LoraUse::kEmbedding), ShapeOf(LoraUse::kLogits)};
    for (const LoraShape& shape : shapes) ASSERT_TRUE(backend()->CheckLora(shape).ok());
    auto slots = backend()->AllocateLora(shapes);
    ASSERT_TRUE(slots.ok()) << slots.status();
    slots_ = *std::move(slots);
    StepLimits limits;
    limits.max_tokens = 64;
    limits.max_seqs = 8;
    limits.max_in_features = kHidden;
    limits.max_blocks_per_seq = 4;
    limits.num_heads = limits.num_kv_heads = 1;
    limits.head_dim = kHeadDim;
    limits.vocab_size = kFirstToken + kTokens;
    limits.max_adapters = kSlots;
    limits.plain_operands = true;
    ASSERT_TRUE(backend()->AllocateWorkspace(limits).ok());
    matrices_.resize(kSlots);
    Fill(0, kRank, 0);  // of the embedding alone
    Fill(1, 3, kRank - 1);
  }
  Backend* backend() { return device_->backend(); }

  // An adapter with these ranks; 0: it leaves that end as it is.
  void Fill(int32_t slot, int64_t embedding_rank, int64_t logits_rank) {
    auto image = slots_->NewImage();
    ASSERT_TRUE(image.ok()) << image.status();
    const int64_t ranks[] = {embedding_rank, logits_rank};
    for (size_t end = 0; end < 2; ++end) {
      const LoraShape& shape = slots_->product(end).shape();
      LoraMatrices matrices;
      matrices.ranks = {ranks[end]};
      matrices.a = {RandomValues(ranks[end] * shape.in_features, &rng_)};
      matrices.b = {RandomValues(ranks[end] * shape.out_features(), &rng_)};
      ASSERT_TRUE(slots_->Fill(end, matrices, image->get()).ok());
      matrices_[static_cast<size_t>(slot)].push_back(std::move(matrices));
    }
    ASSERT_TRUE(backend()->SetLora(*slots_, slot, *std::move(image)).ok());
  }

  // Sequences of these lengths and slots, with random tokens of the whole vocabulary.
  void Begin(const std::vector<int32_t>& lengths, const std::vector<int32_t>& slots) {
    ids_.clear();
    positions_.clear();
    slot_of_row_.clear();
    start_ = {0};
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int32_t i = 0; i < lengths[s]; ++i) {
        ids_.push_back(static_cast<int32_t>(rng_() % (kFirstToken + kTokens)));
        positions_.push_back(i);
        slot_of_row_.push_back(slots[s]);
      }
      start_.push_back(static_cast<int32_t>(ids_.size()));
    }
    context_ = lengths;
    slots_of_step_ = slots;
    table_.assign(lengths.size() * 4, 0);
    rope_.assign(ids_.size() * (kHeadDim / 2), 0.0f);
    ASSERT_TRUE(backend()
                    ->BeginStep({ids_, positions_, start_, context_, table_, 4, rope_, rope_, 16,
                                 std::nullopt, slots_of_step_})
                    .ok());
  }

  // values[n] += sum over r of shrunk[r] B[n, r]
  static void Expand(const std::vector<double>& shrunk, const LoraMatrices& matrices,
                     std::vector<double>* values) {
    for (size_t n = 0; n < values->size(); ++n) {
      for (size_t r = 0; r < shrunk.size(); ++r) {
        (*values)[n] += shrunk[r] * matrices.b[0][n * shrunk.size() + r];
      }
    }
  }

  void ExpectRow(const float* got, const std::vector<double>& expected, double largest) {
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], 4 * device_->tolerance() * largest) << "column " << i;
    }
  }

  // Largest absolute value of a row: what rounding is relative to.
  static double Largest(const std::vector<double>& row) {
    double largest = 1.0;
    for (const double value : row) largest = std::max(largest, std::abs(value));
    return largest;
  }

  void CheckEmbedding() {
    const std::vector<float> values = RandomValues(kTokens * kHidden, &rng_);
    std::vector<uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(), FloatToBf16);
    MatrixSource source;
    source.tensor = {
        "embedding", DType::kBf16, {kTokens, kHidden}, halves.data(), kTokens * kHidden * 2};
    const auto table = backend()->PrepareEmbedding(
        {source, WeightFormat::kBf16, kFirstToken, kFirstToken + kTokens});
    ASSERT_TRUE(table.ok()) << table.status();
    const auto rows = static_cast<int64_t>(ids_.size());
    const TestMatrix out(device_.get(), rows, kHidden, backend()->activation_dtype());
    const absl::Status done = backend()->AdaptedEmbed(**table, slots_->product(0), out.view());
    ASSERT_TRUE(done.ok()) << done;
    const std::vector<float> got = out.Read();
    for (size_t row = 0; row < ids_.size(); ++row) {
      SCOPED_TRACE(::testing::Message() << "row " << row << ", slot " << slot_of_row_[row]);
      const int64_t token = ids_[row] - kFirstToken;
      std::vector<double> expected(kHidden, 0.0);
      if (token >= 0) {
        const float* embedded = values.data() + token * kHidden;
        expected.assign(embedded, embedded + kHidden);
        if (slot_of_row_[row] >= 0) {
          const LoraMatrices& matrices = matrices_[static_cast<size_t>(slot_of_row_[row])][0];
          std::vector<double> shrunk;
          for (int64_t r = 0; r < matrices.ranks[0]; ++r) {
            shrunk.push_back(matrices.a[0][static_cast<size_t>(r * kTokens + token)]);
          }
          Expand(shrunk, matrices, &expected);
        }
      }
      ASSERT_NO_FATAL_FAILURE(ExpectRow(got.data() + row * kHidden, expected, Largest(expected)));
    }
  }

  // `tokens` empty: all rows.
  void CheckLogits(const std::vector<int32_t>& tokens) {
    const std::vector<float> weights = RandomValues(kTokens * kHidden, &rng_);
    LinearSource source;
    source.format = WeightFormat::kBf16;
    source.parts.emplace_back().tensor = {"head",
                                          DType::kF32,
                                          {kTokens, kHidden},
                                          weights.data(),
                                          static_cast<int64_t>(weights.size() * sizeof(float))};
    const auto weight = backend()->PrepareLinear(source);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const auto rows = static_cast<int64_t>(tokens.empty() ? ids_.size() : tokens.size());
    const std::vector<float> x = RandomValues(rows * kHidden, &rng_);
    const TestMatrix input(device_.get(), rows, kHidden, x);
    const TestMatrix plain(device_.get(), rows, kTokens, DType::kF32);
    const TestMatrix out(device_.get(), rows, kTokens, DType::kF32);
    ASSERT_TRUE(backend()->Linear(**weight, {input.view()}, plain.view()).ok());
    const absl::Status done =
        backend()->AdaptedLogits(**weight, slots_->product(1), {input.view()}, tokens, out.view());
    ASSERT_TRUE(done.ok()) << done;
    const std::vector<float> before = plain.Read();
    const std::vector<float> got = out.Read();
    for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
      const int32_t slot = slot_of_row_[tokens.empty() ? row : static_cast<size_t>(tokens[row])];
      SCOPED_TRACE(::testing::Message() << "row " << row << ", slot " << slot);
      const float* of_row = before.data() + row * kTokens;
      std::vector<double> expected(of_row, of_row + kTokens);
      double largest = 0.0;  // 0: nothing was added, and nothing may differ
      if (slot >= 0 && matrices_[static_cast<size_t>(slot)][1].ranks[0] > 0) {
        const LoraMatrices& matrices = matrices_[static_cast<size_t>(slot)][1];
        std::vector<double> shrunk(static_cast<size_t>(matrices.ranks[0]), 0.0);
        for (size_t r = 0; r < shrunk.size(); ++r) {
          for (size_t i = 0; i < kHidden; ++i) {
            shrunk[r] += double{x[row * kHidden + i]} * matrices.a[0][r * kHidden + i];
          }
        }
        Expand(shrunk, matrices, &expected);
        largest = Largest(expected);
      }
      ASSERT_NO_FATAL_FAILURE(ExpectRow(got.data() + row * kTokens, expected, largest));
    }
  }

  std::mt19937 rng_{11};
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<LoraSlots> slots_;
  std::vector<std::vector<LoraMatrices>> matrices_;  // by slot: of the embedding, of the logits
  std::vector<int32_t> ids_, positions_, start_, context_, table_, slots_of_step_, slot_of_row_;
  std::vector<float> rope_;
};

TEST_P(OpsLoraVocabularyTest, TokensGetWhatTheirSequencesAdaptersAdd) {
  for (const auto& slots : std::vector<std::vector<int32_t>>{{1, 0, -1, 1}, {-1, -1, 0, 0}}) {
    Begin({1, 20, 5, 30}, slots);
    if (HasFatalFailure()) return;
    ASSERT_NO_FATAL_FAILURE(CheckEmbedding());
  }
}

TEST_P(OpsLoraVocabularyTest, LogitsOfAllOrSomeRowsGetWhatTheirAdaptersAdd) {
  Begin({1, 20, 5, 1, 30}, {1, 0, -1, 1, 1});
  if (HasFatalFailure()) return;
  ASSERT_NO_FATAL_FAILURE(CheckLogits({}));
  ASSERT_NO_FATAL_FAILURE(CheckLogits({0, 20, 25, 26, 56}));  // of each sequence the last
  ASSERT_NO_FATAL_FAILURE(CheckLogits({20, 25}));             // nothing is added to any
  std::vector<int32_t> many;
  for (int32_t token = 0; token < 57; token += 1 + token % 2) many.push_back(token);
  ASSERT_NO_FATAL_FAILURE(CheckLogits(many));
}

INSTANTIATE_TEST_SUITE_P(Devices, OpsLoraVocabularyTest,
                         ::testing::ValuesIn(testing::DeviceVariants()), [](const auto& test) {
                           std::string name = "on_" + test.param;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace pingti::worker
