// Rotation, cache and attention of mixed steps against float64, on the backend that this program is
// linked with; and steps that are issued as repeatable.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "tests/worker/backend/device_under_test.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;

constexpr int kSeed = 43;
constexpr int32_t kBlocks = 24;  // per sequence
constexpr int64_t kNumSeqs = 4;

struct Case {
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t window;
  int64_t block_tokens;
  bool head_norms;
  KvFormat kv_format = KvFormat::kModel;
  float logit_softcap = 0.0f;
  bool alibi = false;
  bool sinks = false;
};

constexpr Case kCases[] = {{9, 3, 64, 0, 16, false},
                           {8, 2, 128, 0, 64, true},
                           {4, 4, 64, 50, 32, false},
                           {16, 2, 128, 130, 16, false}};

// Layer 0 has other sizes than layer 1, where attention runs.
std::vector<KvLayerShape> Layers(const Case& c) {
  return {KeyValueLayer(c.num_kv_heads + 1, c.head_dim == 64 ? 128 : 64),
          KeyValueLayer(c.num_kv_heads, c.head_dim, c.window)};
}

// Sequences that grow by chunks, on the device and as float64 rows.
class Sequences {
 public:
  Sequences(testing::DeviceUnderTest* device, const Case& c)
      : device_(device), case_(c), rng_(kSeed), rows_(kNumSeqs) {
    StepLimits limits;
    limits.max_tokens = 400;
    limits.max_seqs = kNumSeqs;
    limits.max_in_features = c.num_heads * c.head_dim;
    limits.max_blocks_per_seq = kBlocks;
    limits.num_heads = c.num_heads;
    limits.num_kv_heads = c.num_kv_heads;
    limits.head_dim = c.head_dim;
    limits.vocab_size = 100;
    EXPECT_TRUE(device->backend()->AllocateWorkspace(limits).ok());
    cache_ = *device->backend()->AllocateKvCache(
        {Layers(c), kNumSeqs * kBlocks, c.block_tokens, WeightFormat::kBf16, c.kv_format});
    // Steep enough that a wrong distance shows, and none a power of two.
    for (int64_t h = 0; h < c.num_heads; ++h) {
      slopes_.push_back(0.3f * std::pow(0.7f, static_cast<float>(h)));
      sinks_.push_back(-12.0f + 1.5f * static_cast<float>(h));
    }
    device_slopes_ = *device->backend()->UploadF32(slopes_);
    device_sinks_ = *device->backend()->UploadF32(sinks_);
    q_norm_values_ = RandomValues(c.head_dim, &rng_);
    k_norm_values_ = RandomValues(c.head_dim, &rng_);
    q_norm_ = *device->backend()->UploadF32(q_norm_values_);
    k_norm_ = *device->backend()->UploadF32(k_norm_values_);
  }

  // Appends chunk[s] tokens to sequence s (0: it sits out), runs layer 1, checks every output.
  void Step(const std::vector<int32_t>& chunk, bool repeatable) {
    Backend* backend = device_->backend();
    const int64_t width = (case_.num_heads + 2 * case_.num_kv_heads) * case_.head_dim;
    std::vector<int32_t> ids, positions, start{0}, context, table, owners;
    std::vector<float> qkv, cos, sin;
    for (size_t s = 0; s < chunk.size(); ++s) {
      if (chunk[s] == 0) continue;
      for (int32_t t = 0; t < chunk[s]; ++t) {
        const auto position = static_cast<int32_t>(rows_[s].size());
        const std::vector<float> row = RandomValues(width, &rng_);
        qkv.insert(qkv.end(), row.begin(), row.end());
        positions.push_back(position);
        ids.push_back(0);
        for (int64_t i = 0; i < case_.head_dim / 2; ++i) {
          const double angle =
              position * std::pow(10000.0, -2.0 * static_cast<double>(i) /
                                               static_cast<double>(case_.head_dim));
          cos.push_back(static_cast<float>(std::cos(angle)));
          sin.push_back(static_cast<float>(std::sin(angle)));
        }
        rows_[s].push_back(Rotate(row, &cos[cos.size() - static_cast<size_t>(case_.head_dim / 2)],
                                  &sin[sin.size() - static_cast<size_t>(case_.head_dim / 2)]));
      }
      owners.push_back(static_cast<int32_t>(s));
      start.push_back(static_cast<int32_t>(ids.size()));
      context.push_back(static_cast<int32_t>(rows_[s].size()));
      for (int32_t b = 0; b < kBlocks; ++b) {
        table.push_back(b * static_cast<int32_t>(kNumSeqs) + static_cast<int32_t>(s));
      }
    }
    const auto tokens = static_cast<int64_t>(ids.size());
    const TestMatrix input = TestMatrix(device_, tokens, width, qkv);
    std::optional<StepShape> repeats;
    if (repeatable) {
      StepShape own{static_cast<int32_t>(owners.size()),
                    *std::max_element(chunk.begin(), chunk.end()), start.back()};
      own.uniform = own.num_seqs * own.query_len == own.num_tokens;
      repeats = backend->Padded(own);
      ASSERT_GE(repeats->num_tokens, tokens);
      // A record holds addresses, so the same matrices serve every step of a shape.
      auto& [in, out] = repeated_[*repeats];
      if (in == nullptr) {
        qkv.resize(static_cast<size_t>(repeats->num_tokens * width));
        in = std::make_unique<TestMatrix>(device_, repeats->num_tokens, width, qkv);
        out = std::make_unique<TestMatrix>(device_, repeats->num_tokens,
                                           case_.num_heads * case_.head_dim, input.view().dtype);
      }
      device_->CopyIn(input.ReadRaw().data(), in->view().data,
                      static_cast<int64_t>(input.ReadRaw().size()));
    }
    const TestMatrix fresh_out(device_, tokens, case_.num_heads * case_.head_dim,
                               input.view().dtype);
    const MatrixView in = repeatable ? repeated_[*repeats].first->view() : input.view();
    const TestMatrix& out = repeatable ? *repeated_[*repeats].second : fresh_out;
    const AttentionShape shape{case_.num_heads,
                               case_.num_kv_heads,
                               case_.head_dim,
                               kScale,
                               case_.window,
                               case_.logit_softcap,
                               case_.alibi ? device_slopes_.get() : nullptr,
                               case_.sinks ? device_sinks_.get() : nullptr};
    HeadNorms norms;
    if (case_.head_norms) norms = {q_norm_.get(), k_norm_.get(), kEps};
    ASSERT_TRUE(backend
                    ->BeginStep({ids, positions, start, context, table, kBlocks, cos, sin,
                                 static_cast<int32_t>(case_.block_tokens), repeats})
                    .ok());
    const absl::Status status = backend->Issue(repeats, [&]() -> absl::Status {
      absl::Status issued = backend->RopeAndAppendKv(in, shape, norms, *cache_, 1);
      if (issued.ok()) issued = backend->Attention(in, shape, *cache_, 1, out.view());
      return issued;
    });
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<float> got = out.Read();
    const auto out_cols = static_cast<size_t>(case_.num_heads * case_.head_dim);
    for (size_t i = 0, row = 0; i < owners.size(); ++i) {
      for (int32_t t = start[i]; t < start[i + 1]; ++t, ++row) {
        for (int64_t h = 0; h < case_.num_heads; ++h) {
          ASSERT_NO_FATAL_FAILURE(CheckHead(rows_[static_cast<size_t>(owners[i])], positions[row],
                                            h, &got[row * out_cols]));
        }
      }
    }
  }

  Backend* backend() { return device_->backend(); }
  KvCache& cache() { return *cache_; }
  // As if the blocks of sequence `from` had been copied onto those of `to`.
  void TakeOver(size_t from, size_t to) { rows_[to] = rows_[from]; }

 private:
  static constexpr float kScale = 0.15f;
  static constexpr float kEps = 1e-6f;

  std::vector<double> Rotate(const std::vector<float>& row, const float* cos, const float* sin) {
    std::vector<double> out(row.begin(), row.end());
    const auto dim = static_cast<size_t>(case_.head_dim);
    for (int64_t h = 0; h < case_.num_heads + case_.num_kv_heads; ++h) {
      double* head = &out[static_cast<size_t>(h) * dim];
      if (case_.head_norms) {
        const auto& norm = h < case_.num_heads ? q_norm_values_ : k_norm_values_;
        double sum = 0;
        for (size_t d = 0; d < dim; ++d) sum += head[d] * head[d];
        const double scale = 1.0 / std::sqrt(sum / static_cast<double>(dim) + kEps);
        for (size_t d = 0; d < dim; ++d) head[d] *= scale * norm[d];
      }
      for (size_t d = 0; d < dim / 2; ++d) {
        const double a = head[d];
        const double b = head[d + dim / 2];
        head[d] = a * cos[d] - b * sin[d];
        head[d + dim / 2] = b * cos[d] + a * sin[d];
      }
    }
    return out;
  }

  void CheckHead(const std::vector<std::vector<double>>& rows, int64_t position, int64_t head,
                 const float* got) {
    const int64_t dim = case_.head_dim;
    const int64_t kv = head / (case_.num_heads / case_.num_kv_heads);
    const double* q = &rows[static_cast<size_t>(position)][static_cast<size_t>(head * dim)];
    const int64_t first = case_.window > 0 ? std::max<int64_t>(0, position - case_.window + 1) : 0;
    std::vector<double> expected(static_cast<size_t>(dim), 0.0);
    std::vector<double> scores;
    for (int64_t t = first; t <= position; ++t) {
      const double* k =
          &rows[static_cast<size_t>(t)][static_cast<size_t>((case_.num_heads + kv) * dim)];
      double score = 0.0;
      for (int64_t d = 0; d < dim; ++d) score += q[d] * k[d];
      score *= static_cast<double>(kScale);
      const double cap = case_.logit_softcap;
      if (cap != 0.0) score = cap * std::tanh(score / cap);
      if (case_.alibi) {
        score += static_cast<double>(slopes_[static_cast<size_t>(head)]) *
                 static_cast<double>(t - position);
      }
      scores.push_back(score);
    }
    const double sink = static_cast<double>(sinks_[static_cast<size_t>(head)]);
    double max = *std::max_element(scores.begin(), scores.end());
    if (case_.sinks) max = std::max(max, sink);
    double total = case_.sinks ? std::exp(sink - max) : 0.0;
    for (int64_t t = first; t <= position; ++t) {
      const double* v =
          &rows[static_cast<size_t>(t)]
               [static_cast<size_t>((case_.num_heads + case_.num_kv_heads + kv) * dim)];
      const double weight = std::exp(scores[static_cast<size_t>(t - first)] - max);
      total += weight;
      for (int64_t d = 0; d < dim; ++d) expected[static_cast<size_t>(d)] += weight * v[d];
    }
    for (int64_t d = 0; d < dim; ++d) {
      // q, k and v are kept in bf16 after rotation by every backend.
      ASSERT_NEAR(got[head * dim + d], expected[static_cast<size_t>(d)] / total,
                  case_.kv_format == KvFormat::kInt8 ? 8e-2 : 4e-2)
          << "position " << position << " head " << head << " dim " << d << " seed " << kSeed;
      square_error_ += std::pow(got[head * dim + d] - expected[static_cast<size_t>(d)] / total, 2);
      square_ += std::pow(expected[static_cast<size_t>(d)] / total, 2);
    }
  }

 public:
  // Over all checked outputs.
  double RelativeError() const { return std::sqrt(square_error_ / square_); }

 private:
  testing::DeviceUnderTest* const device_;
  const Case case_;
  std::mt19937 rng_;
  std::vector<std::vector<std::vector<double>>> rows_;  // [seq][token]: rotated qkv
  std::unique_ptr<KvCache> cache_;
  std::vector<float> slopes_;  // of ALiBi
  std::unique_ptr<DeviceBuffer> device_slopes_;
  std::vector<float> sinks_;
  std::unique_ptr<DeviceBuffer> device_sinks_;
  std::vector<float> q_norm_values_, k_norm_values_;
  std::unique_ptr<DeviceBuffer> q_norm_, k_norm_;
  // In and out of repeated steps.
  std::map<StepShape, std::pair<std::unique_ptr<TestMatrix>, std::unique_ptr<TestMatrix>>>
      repeated_;
  double square_error_ = 0.0;
  double square_ = 0.0;
};

constexpr double kRelativeError = 1e-2;
// Rounding to 1/127 of a head's largest value adds about 0.7 % to each value.
constexpr double kInt8RelativeError = 2e-2;

TEST(OpsAttentionTest, MixedStepsEqualTheFormula) {
  const auto device = testing::MakeDeviceUnderTest();
  for (const Case& c : kCases) {
    Sequences sequences(device.get(), c);
    ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 70, 33, 0}, false));
    ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 130, 90}, false));
    ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 1, 1}, false));
    ASSERT_NO_FATAL_FAILURE(sequences.Step({40, 1, 0, 17}, false));
    EXPECT_LT(sequences.RelativeError(), kRelativeError) << c.num_heads << " heads";
  }
}

TEST(OpsAttentionTest, CappedScoresAndAlibiEqualTheFormula) {
  const auto device = testing::MakeDeviceUnderTest();
  for (Case c : kCases) {
    for (const bool alibi : {false, true}) {
      c.alibi = alibi;
      c.logit_softcap = alibi ? 0.0f : 3.0f;
      Sequences sequences(device.get(), c);
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 70, 33, 0}, false));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 130, 90}, false));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 1, 1}, true));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({40, 1, 0, 17}, false));
      EXPECT_LT(sequences.RelativeError(), kRelativeError)
          << c.num_heads << " heads, " << (alibi ? "alibi" : "softcap");
    }
  }
}

// From far below all scores, which changes nothing, to above most of them.
TEST(OpsAttentionTest, SinksTakePartInTheSoftmaxOfTheirHead) {
  const auto device = testing::MakeDeviceUnderTest();
  for (Case c : kCases) {
    c.sinks = true;
    for (const float softcap : {0.0f, 3.0f}) {
      c.logit_softcap = softcap;  // which another kernel does on a GPU
      Sequences sequences(device.get(), c);
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 70, 33, 0}, false));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 130, 90}, false));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 1, 1}, true));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({8, 1, 3, 2}, true));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({40, 1, 0, 17}, false));
      EXPECT_LT(sequences.RelativeError(), kRelativeError)
          << c.num_heads << " heads, softcap " << softcap;
    }
  }
}

TEST(OpsAttentionTest, RepeatedStepsSeeTheNewArrays) {
  const auto device = testing::MakeDeviceUnderTest();
  for (const Case& c : kCases) {
    Sequences sequences(device.get(), c);
    ASSERT_NO_FATAL_FAILURE(sequences.Step({20, 50, 33, 100}, false));
    for (int i = 0; i < 6; ++i) {
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 1, 1}, true));
      if (i != 3) continue;
      ASSERT_NO_FATAL_FAILURE(sequences.Step({60, 1, 1, 0}, false));
    }
    EXPECT_LT(sequences.RelativeError(), kRelativeError) << c.num_heads << " heads";
  }
}

TEST(OpsAttentionTest, RepeatedStepsMayHaveSeveralTokensPerSequence) {
  const auto device = testing::MakeDeviceUnderTest();
  for (const Case& c : kCases) {
    Sequences sequences(device.get(), c);
    ASSERT_NO_FATAL_FAILURE(sequences.Step({20, 50, 33, 17}, false));
    for (int32_t length = 1; length <= 8; ++length) {
      SCOPED_TRACE(length);
      for (int i = 0; i < 3; ++i) {
        ASSERT_NO_FATAL_FAILURE(sequences.Step({length, length, length, length}, true));
      }
    }
    EXPECT_LT(sequences.RelativeError(), kRelativeError) << c.num_heads << " heads";
  }
}

TEST(OpsAttentionTest, RepeatedStepsMayHaveUnequallyManyTokensPerSequence) {
  const auto device = testing::MakeDeviceUnderTest();
  for (Case c : kCases) {
    for (const float softcap : {0.0f, 3.0f}) {
      c.logit_softcap = softcap;  // which another kernel does on a GPU
      Sequences sequences(device.get(), c);
      ASSERT_NO_FATAL_FAILURE(sequences.Step({20, 50, 33, 17}, false));
      for (int i = 0; i < 4; ++i) {
        ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 8, 2, 4}, true));
        ASSERT_NO_FATAL_FAILURE(sequences.Step({3, 1, 1, 8}, true));
        ASSERT_NO_FATAL_FAILURE(sequences.Step({2, 0, 1, 3}, true)) << "one sequence sits out";
        ASSERT_NO_FATAL_FAILURE(sequences.Step({3, 1, 0, 0}, true));
      }
      EXPECT_LT(sequences.RelativeError(), kRelativeError) << c.num_heads << " heads";
    }
  }
}

TEST(OpsAttentionTest, StepsMayMixAnyNumbersOfTokensPerSequence) {
  const auto device = testing::MakeDeviceUnderTest();
  for (const Case& c : kCases) {
    Sequences sequences(device.get(), c);
    ASSERT_NO_FATAL_FAILURE(sequences.Step({8, 5, 20, 3}, false));
    for (int32_t length = 1; length <= 9; ++length) {
      SCOPED_TRACE(length);
      ASSERT_NO_FATAL_FAILURE(sequences.Step({1, length, 4, 10 - length}, false));
      ASSERT_NO_FATAL_FAILURE(sequences.Step({length, 1, 0, 12}, false));
    }
    EXPECT_LT(sequences.RelativeError(), kRelativeError) << c.num_heads << " heads";
  }
}

TEST(OpsAttentionTest, AnInt8CacheIsNearlyAsGoodOrRefusedByName) {
  const auto device = testing::MakeDeviceUnderTest();
  for (Case c : kCases) {
    c.kv_format = KvFormat::kInt8;
    if (!device->has_int8_kv()) {
      const auto cache = device->backend()->AllocateKvCache(
          {Layers(c), 4, c.block_tokens, WeightFormat::kBf16, c.kv_format});
      EXPECT_EQ(cache.status().code(), absl::StatusCode::kUnimplemented);
      EXPECT_NE(cache.status().message().find("int8 KV cache"), absl::string_view::npos);
      continue;
    }
    Sequences sequences(device.get(), c);
    ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 70, 33, 0}, false));
    ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 130, 90}, false));
    ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 1, 1}, true));
    ASSERT_NO_FATAL_FAILURE(sequences.Step({40, 1, 0, 17}, false));
    EXPECT_LT(sequences.RelativeError(), kInt8RelativeError) << c.num_heads << " heads";
  }
}

TEST(OpsAttentionTest, ACopiedBlockReadsAsTheOriginal) {
  const auto device = testing::MakeDeviceUnderTest();
  const Case& c = kCases[0];
  Sequences sequences(device.get(), c);
  ASSERT_NO_FATAL_FAILURE(sequences.Step({10, 0, 0, 0}, false));
  // Block 0 of sequence s is block s of the pool; a chain must be done in order.
  const std::vector<BlockCopy> copies{{0, 2}, {2, 1}};
  ASSERT_TRUE(sequences.backend()->CopyBlocks(sequences.cache(), copies).ok());
  sequences.TakeOver(0, 1);
  sequences.TakeOver(0, 2);
  ASSERT_NO_FATAL_FAILURE(sequences.Step({1, 1, 3, 5}, false));
  EXPECT_LT(sequences.RelativeError(), kRelativeError);
}

}  // namespace
}  // namespace pingti::worker
