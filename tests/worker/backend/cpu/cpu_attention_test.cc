// Paged attention on every instruction set that this machine runs, against a float64 reference:
// mixed prefill and decode, windows, odd head and block sizes; outputs are poisoned first.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "worker/backend/cpu/cpu_backend.h"

namespace pingti::worker {
namespace {

constexpr int kSeed = 77;

struct Case {
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t window;
  int64_t block_tokens;
};

constexpr Case kCases[] = {
    {6, 2, 64, 0, 16}, {4, 4, 16, 0, 1}, {4, 1, 24, 9, 5}, {8, 2, 128, 70, 32}, {2, 1, 6, 0, 64}};

std::vector<std::string> Kernels() {
  std::vector<std::string> names;
  for (const char* name : {"portable", "avx2", "avx512"}) {
    if (MakeCpuBackend({.num_threads = 1, .kernels = name}).ok()) names.push_back(name);
  }
  return names;
}

// Feeds sequences in the given chunks and checks every output row.
class Checker {
 public:
  Checker(Backend* backend, const Case& c, WeightFormat format, int64_t num_seqs)
      : backend_(backend), case_(c), rng_(kSeed), rows_(static_cast<size_t>(num_seqs)) {
    cache_ = *backend->AllocateKvCache({{KeyValueLayer(c.num_kv_heads, c.head_dim, c.window)},
                                        num_seqs * kBlocks,
                                        c.block_tokens,
                                        format});
  }

  void Step(const std::vector<int32_t>& chunk, double tolerance) {
    const int64_t width = (case_.num_heads + 2 * case_.num_kv_heads) * case_.head_dim;
    std::vector<int32_t> ids, positions, start{0}, context, table;
    std::vector<float> qkv;
    for (size_t s = 0; s < chunk.size(); ++s) {
      for (int32_t t = 0; t < chunk[s]; ++t) {
        positions.push_back(static_cast<int32_t>(rows_[s].size()));
        ids.push_back(0);
        std::vector<float> row(static_cast<size_t>(width));
        for (float& value : row) value = normal_(rng_);
        qkv.insert(qkv.end(), row.begin(), row.end());
        rows_[s].push_back(std::move(row));
      }
      start.push_back(static_cast<int32_t>(ids.size()));
      context.push_back(static_cast<int32_t>(rows_[s].size()));
      for (int32_t b = 0; b < kBlocks; ++b) {
        table.push_back(static_cast<int32_t>(static_cast<size_t>(b) * chunk.size() + s));
      }
    }
    const auto tokens = static_cast<int64_t>(ids.size());
    const auto half = static_cast<size_t>(tokens * case_.head_dim / 2);
    const std::vector<float> cos(half, 1.0f), sin(half, 0.0f);  // no rotation: the formula alone
    const int64_t out_cols = case_.num_heads * case_.head_dim;
    std::vector<float> out(static_cast<size_t>(tokens * out_cols), std::nanf(""));
    const MatrixView input{qkv.data(), DType::kF32, tokens, width, width};
    const AttentionShape shape{case_.num_heads, case_.num_kv_heads, case_.head_dim, 0.2f,
                               case_.window};
    ASSERT_TRUE(
        backend_->BeginStep({ids, positions, start, context, table, kBlocks, cos, sin}).ok());
    ASSERT_TRUE(backend_->RopeAndAppendKv(input, shape, {}, *cache_, 0).ok());
    ASSERT_TRUE(backend_
                    ->Attention(input, shape, *cache_, 0,
                                MatrixView{out.data(), DType::kF32, tokens, out_cols, out_cols})
                    .ok());
    for (size_t s = 0, row = 0; s < chunk.size(); ++s) {
      for (int32_t t = 0; t < chunk[s]; ++t, ++row) {
        const int64_t position = positions[row];
        for (int64_t h = 0; h < case_.num_heads; ++h) {
          CheckHead(rows_[s], position, h, &out[row * static_cast<size_t>(out_cols)], tolerance);
        }
      }
    }
  }

 private:
  static constexpr int32_t kBlocks = 256;

  void CheckHead(const std::vector<std::vector<float>>& rows, int64_t position, int64_t head,
                 const float* out, double tolerance) {
    const int64_t dim = case_.head_dim;
    const int64_t kv = head / (case_.num_heads / case_.num_kv_heads);
    const float* q = &rows[static_cast<size_t>(position)][static_cast<size_t>(head * dim)];
    const int64_t first = case_.window > 0 ? std::max<int64_t>(0, position - case_.window + 1) : 0;
    std::vector<double> expected(static_cast<size_t>(dim), 0.0);
    double total = 0.0;
    for (int64_t t = first; t <= position; ++t) {
      const float* k =
          &rows[static_cast<size_t>(t)][static_cast<size_t>((case_.num_heads + kv) * dim)];
      const float* v = k + case_.num_kv_heads * dim;
      double score = 0.0;
      for (int64_t d = 0; d < dim; ++d) score += static_cast<double>(q[d]) * k[d];
      const double weight = std::exp(0.2 * score);
      total += weight;
      for (int64_t d = 0; d < dim; ++d) expected[static_cast<size_t>(d)] += weight * v[d];
    }
    for (int64_t d = 0; d < dim; ++d) {
      ASSERT_NEAR(out[head * dim + d], expected[static_cast<size_t>(d)] / total, tolerance)
          << "position " << position << " head " << head << " dim " << d << " seed " << kSeed;
    }
  }

  Backend* const backend_;
  const Case case_;
  std::mt19937 rng_;
  std::normal_distribution<float> normal_;
  std::vector<std::vector<std::vector<float>>> rows_;  // [seq][token]: qkv
  std::unique_ptr<KvCache> cache_;
};

class CpuAttentionTest : public ::testing::TestWithParam<std::string> {};

TEST_P(CpuAttentionTest, PagedAttentionEqualsTheFormula) {
  auto backend = *MakeCpuBackend({.num_threads = 2, .kernels = GetParam()});
  ASSERT_TRUE(backend->AllocateWorkspace({512, 8, 64}).ok());
  for (const Case& c : kCases) {
    for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16}) {
      Checker checker(backend.get(), c, format, 3);
      const double tolerance = format == WeightFormat::kF32 ? 2e-5 : 6e-3;
      ASSERT_NO_FATAL_FAILURE(checker.Step({1, 70, 33}, tolerance));
      ASSERT_NO_FATAL_FAILURE(checker.Step({130, 1, 1}, tolerance));
      ASSERT_NO_FATAL_FAILURE(checker.Step({1, 1, 40}, tolerance));
    }
  }
}

TEST_P(CpuAttentionTest, ACopiedBlockReadsAsTheOriginal) {
  auto backend = *MakeCpuBackend({.num_threads = 1, .kernels = GetParam()});
  ASSERT_TRUE(backend->AllocateWorkspace({8, 2, 64}).ok());
  auto cache = *backend->AllocateKvCache(
      {{KeyValueLayer(1, 16), KeyValueLayer(1, 16)}, 4, 4, WeightFormat::kBf16});
  const AttentionShape shape{1, 1, 16, 1.0f, 0};
  std::vector<float> qkv(3 * 48), out_a(48), out_b(48);
  for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = std::sin(static_cast<float>(i));
  const MatrixView input{qkv.data(), DType::kF32, 3, 48, 48};
  const std::vector<int32_t> ids{0, 0, 0}, positions{0, 1, 2}, start{0, 3}, context{3};
  const std::vector<float> cos(24, 1.0f), sin(24, 0.0f);
  const auto attend = [&](int32_t block, std::vector<float>* out, bool append) {
    const std::vector<int32_t> table{block};
    ASSERT_TRUE(backend->BeginStep({ids, positions, start, context, table, 1, cos, sin}).ok());
    for (int64_t layer = 0; layer < 2 && append; ++layer) {
      ASSERT_TRUE(backend->RopeAndAppendKv(input, shape, {}, *cache, layer).ok());
    }
    ASSERT_TRUE(
        backend->Attention(input, shape, *cache, 1, MatrixView{out->data(), DType::kF32, 3, 16, 16})
            .ok());
  };
  attend(0, &out_a, true);
  const std::vector<BlockCopy> copies{{0, 3}};
  ASSERT_TRUE(backend->CopyBlocks(*cache, copies).ok());
  attend(3, &out_b, false);
  EXPECT_EQ(out_a, out_b);
}

INSTANTIATE_TEST_SUITE_P(Kernels, CpuAttentionTest, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace pingti::worker
