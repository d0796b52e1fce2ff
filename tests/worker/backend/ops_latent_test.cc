// The operations of latent attention against float64, on the backend that this program is linked
// with: products by head; norm, rotation, cache and attention of sequences that grow by chunks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;
using testing::TestOperand;

constexpr int kSeed = 57;

size_t Index(int64_t value) { return static_cast<size_t>(value); }

struct Product {
  int64_t heads;
  int64_t in;
  int64_t out;
  bool transposed;
  int64_t rows;
};

constexpr Product kProducts[] = {{1, 64, 512, true, 1},    {3, 64, 512, true, 37},
                                 {16, 128, 512, false, 5}, {4, 512, 128, false, 130},
                                 {5, 24, 40, true, 9},     {2, 40, 24, false, 33}};

class LatentOps : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = testing::MakeDeviceUnderTest(GetParam());
    const KvCacheShape shape{{LatentLayer(512, 64)}, 1, 64, WeightFormat::kBf16};
    if (absl::IsUnimplemented(backend()->AllocateKvCache(shape).status())) {
      GTEST_SKIP() << "the backend has no latent attention";
    }
  }
  Backend* backend() { return device_->backend(); }

  // Each head's matrix as it is stored, [out, in] or transposed.
  absl::StatusOr<std::unique_ptr<LinearWeight>> Prepare(const Product& p,
                                                        const std::vector<float>& values) {
    LinearSource source;
    source.format = device_->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16;
    source.heads = p.heads;
    source.transposed = p.transposed;
    for (int64_t h = 0; h < p.heads; ++h) {
      MatrixSource part;
      const int64_t rows = p.transposed ? p.in : p.out;
      part.tensor = {"heads",
                     DType::kF32,
                     {rows, p.in + p.out - rows},
                     values.data() + h * p.in * p.out,
                     p.in * p.out * 4};
      source.parts.push_back(std::move(part));
    }
    return backend()->PrepareLinear(source);
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
};

double Weight(const Product& p, const std::vector<float>& values, int64_t head, int64_t out,
              int64_t in) {
  const int64_t at = p.transposed ? in * p.out + out : out * p.in + in;
  return values[Index(head * p.in * p.out + at)];
}

double Expected(const Product& p, const std::vector<float>& weights, const float* x, int64_t head,
                int64_t out) {
  double sum = 0.0;
  for (int64_t k = 0; k < p.in; ++k) sum += x[k] * Weight(p, weights, head, out, k);
  return sum;
}

TEST_P(LatentOps, EveryHeadIsMultipliedWithItsMatrixAndNothingElseIsWritten) {
  std::mt19937 rng(kSeed);
  for (const Product& p : kProducts) {
    SCOPED_TRACE(::testing::Message() << p.heads << " heads " << p.in << " -> " << p.out);
    const std::vector<float> weights = RandomValues(p.heads * p.in * p.out, &rng);
    const auto weight = Prepare(p, weights);
    ASSERT_TRUE(weight.ok()) << weight.status();
    EXPECT_EQ((*weight)->in_features(), p.in);
    EXPECT_EQ((*weight)->out_features(), p.out);
    // Columns between the heads' belong to others.
    const int64_t x_stride = p.in + 8;
    const int64_t out_stride = p.out + 16;
    const std::vector<float> values = RandomValues(p.rows * p.heads * x_stride, &rng);
    const TestMatrix x(device_.get(), p.rows, p.heads * x_stride, values);
    const TestMatrix out(device_.get(), p.rows, p.heads * out_stride, x.view().dtype);
    ASSERT_TRUE(backend()
                    ->HeadLinear(**weight, {x.view(), p.heads, 8, x_stride, p.in},
                                 {out.view(), p.heads, 0, out_stride, p.out}, {})
                    .ok());
    const std::vector<float> got = out.Read();
    const double tolerance = device_->tolerance() * 4.0 * std::sqrt(static_cast<double>(p.in));
    for (int64_t r = 0; r < p.rows; ++r) {
      for (int64_t h = 0; h < p.heads; ++h) {
        const float* row = &got[Index((r * p.heads + h) * out_stride)];
        const float* from = &values[Index((r * p.heads + h) * x_stride + 8)];
        for (int64_t c = 0; c < p.out; ++c) {
          ASSERT_NEAR(row[c], Expected(p, weights, from, h, c), tolerance) << r << " " << h;
        }
        for (int64_t c = p.out; c < out_stride; ++c) ASSERT_TRUE(std::isnan(row[c])) << c;
      }
    }
  }
}

TEST_P(LatentOps, AQuantizedFormIsOfTheValuesBesideIt) {
  std::mt19937 rng(kSeed + 1);
  const Product p{4, 512, 128, false, 19};
  const std::vector<float> weights = RandomValues(p.heads * p.in * p.out, &rng);
  const auto weight = Prepare(p, weights);
  ASSERT_TRUE(weight.ok()) << weight.status();
  const TestMatrix x(device_.get(), p.rows, p.heads * p.in,
                     RandomValues(p.rows * p.heads * p.in, &rng));
  const TestOperand out(device_.get(), {QuantType::kInt8, 0}, p.rows, p.heads * p.out);
  ASSERT_TRUE(backend()
                  ->HeadLinear(**weight, {x.view(), p.heads, 0, p.in, p.in},
                               {out.view().values, p.heads, 0, p.out, p.out}, out.view().quantized)
                  .ok());
  const std::vector<float> values = out.ReadValues();
  std::vector<float> quantized;
  std::vector<float> scales;
  out.ReadQuantized(&quantized, &scales);
  for (size_t i = 0; i < values.size(); ++i) {
    // Half a step, and the rounding of the values.
    ASSERT_NEAR(quantized[i], values[i], 0.5 * scales[i] + std::fabs(values[i]) / 128) << i;
  }
}

struct Case {
  int64_t heads;
  int64_t latent_dim;
  int64_t rope_dim;
  int64_t block_tokens;
  bool only_exact;  // sizes that no model has
};

constexpr Case kCases[] = {{16, 512, 64, 64, false},
                           {1, 512, 64, 16, false},
                           {20, 512, 64, 32, false},
                           {3, 24, 8, 5, true},
                           {128, 512, 64, 64, false}};
constexpr int32_t kBlocks = 40;  // per sequence
constexpr int64_t kNumSeqs = 3;
constexpr float kScale = 0.07f;
constexpr float kEps = 1e-6f;

std::vector<KvFormat> KvFormats(testing::DeviceUnderTest* device) {
  if (device->has_int8_kv()) return {KvFormat::kModel, KvFormat::kInt8};
  return {KvFormat::kModel};
}

// The least bf16 that is not below a positive value.
float RoundUpToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return Bf16ToFloat(static_cast<uint16_t>((bits + 0xFFFF) >> 16));
}

// What an int8 cache makes of a latent: 64 elements share a scale.
void RoundToInt8(int64_t latent_dim, std::vector<double>* key) {
  for (int64_t first = 0; first < latent_dim; first += 64) {
    double largest = 0.0;
    for (int64_t d = first; d < first + 64; ++d) {
      largest = std::max(largest, std::fabs((*key)[Index(d)]));
    }
    const double scale = RoundUpToBf16(static_cast<float>(largest / 127.0));
    for (int64_t d = first; d < first + 64; ++d) {
      (*key)[Index(d)] = scale * std::nearbyint((*key)[Index(d)] / scale);
    }
  }
}

// Sequences that grow by chunks, on the device and as float64 rows.
class LatentSequences {
 public:
  LatentSequences(testing::DeviceUnderTest* device, const Case& c, KvFormat format)
      : device_(device),
        case_(c),
        format_(format),
        shape_{c.heads, c.latent_dim, c.rope_dim, kScale},
        rng_(kSeed),
        exact_(kNumSeqs),
        keys_(kNumSeqs) {
    StepLimits limits;
    limits.max_tokens = 200;
    limits.max_seqs = kNumSeqs;
    limits.max_in_features = c.heads * c.latent_dim;
    limits.max_blocks_per_seq = kBlocks;
    limits.latent = shape_;
    limits.vocab_size = 100;
    EXPECT_TRUE(device->backend()->AllocateWorkspace(limits).ok());
    // Attention is of layer 1.
    cache_ = *device->backend()->AllocateKvCache(
        {{KeyValueLayer(2, 64), LatentLayer(c.latent_dim, c.rope_dim)},
         kNumSeqs * kBlocks,
         c.block_tokens,
         device->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16,
         format});
    norm_values_ = RandomValues(c.latent_dim, &rng_);
    norm_ = *device->backend()->UploadF32(norm_values_);
  }

  // Appends chunk[s] tokens to sequence s (0: it sits out), and checks every output.
  void Step(const std::vector<int32_t>& chunk) {
    MakeStep(chunk);
    const auto tokens = static_cast<int64_t>(positions_.size());
    const TestMatrix q = Random(tokens, case_.heads * (shape_.rope_dim + 4));
    const TestMatrix kv = Random(tokens, shape_.key_dim());
    const TestMatrix query = Random(tokens, case_.heads * shape_.key_dim());
    const TestMatrix out(device_, tokens, case_.heads * case_.latent_dim, q.view().dtype);
    AddKeys(kv.Read());
    std::vector<float> expected_query = query.Read();
    RotateQueries(q.Read(), &expected_query);
    Backend* backend = device_->backend();
    ASSERT_TRUE(backend
                    ->BeginStep({ids_, positions_, start_, context_, table_, kBlocks, cos_, sin_,
                                 static_cast<int32_t>(case_.block_tokens)})
                    .ok());
    ASSERT_TRUE(
        backend
            ->RopeAndAppendLatent(
                {q.view(), case_.heads, 4, shape_.rope_dim + 4, shape_.rope_dim}, kv.view(), shape_,
                *norm_, kEps, *cache_, 1,
                {query.view(), case_.heads, shape_.latent_dim, shape_.key_dim(), shape_.rope_dim})
            .ok());
    const std::vector<float> got_query = query.Read();
    for (size_t i = 0; i < got_query.size(); ++i) {
      ASSERT_NEAR(got_query[i], expected_query[i],
                  device_->tolerance() * 2.0 * (1.0 + std::fabs(expected_query[i])))
          << "query " << i;
    }
    ASSERT_TRUE(backend->LatentAttention(query.view(), shape_, *cache_, 1, out.view()).ok());
    CheckAttention(got_query, out.Read());
  }

  KvCache& cache() { return *cache_; }
  // Of a token: what the cache should hold, before it is rounded.
  const std::vector<double>& Key(size_t seq, size_t token) const { return exact_[seq][token]; }

 private:
  void MakeStep(const std::vector<int32_t>& chunk) {
    ids_.clear(), positions_.clear(), context_.clear(), table_.clear(), owners_.clear();
    cos_.clear(), sin_.clear();
    start_ = {0};
    for (size_t s = 0; s < chunk.size(); ++s) {
      if (chunk[s] == 0) continue;
      const auto before = static_cast<int32_t>(keys_[s].size());
      for (int32_t t = 0; t < chunk[s]; ++t) {
        positions_.push_back(before + t);
        ids_.push_back(0);
        owners_.push_back(s);
        for (int64_t i = 0; i < shape_.rope_dim / 2; ++i) {
          const double frequency = std::pow(
              10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(shape_.rope_dim));
          cos_.push_back(static_cast<float>(std::cos(positions_.back() * frequency)));
          sin_.push_back(static_cast<float>(std::sin(positions_.back() * frequency)));
        }
      }
      start_.push_back(static_cast<int32_t>(ids_.size()));
      context_.push_back(before + chunk[s]);
      for (int32_t b = 0; b < kBlocks; ++b) {
        table_.push_back(b * static_cast<int32_t>(kNumSeqs) + static_cast<int32_t>(s));
      }
    }
  }

  TestMatrix Random(int64_t rows, int64_t cols) {
    return TestMatrix(device_, rows, cols, RandomValues(rows * cols, &rng_));
  }

  // Pair i of `from`, rotated as token `row` of the step.
  void Rotate(size_t row, int64_t i, const double* from, double* to) const {
    const size_t at = row * Index(shape_.rope_dim / 2) + Index(i);
    to[0] = from[0] * cos_[at] - from[1] * sin_[at];
    to[1] = from[1] * cos_[at] + from[0] * sin_[at];
  }

  void AddKeys(const std::vector<float>& kv) {
    const int64_t width = shape_.key_dim();
    for (size_t row = 0; row < positions_.size(); ++row) {
      const std::vector<double> from(kv.begin() + static_cast<int64_t>(row) * width,
                                     kv.begin() + static_cast<int64_t>(row + 1) * width);
      std::vector<double> key(Index(width));
      double squares = 0.0;
      for (int64_t d = 0; d < shape_.latent_dim; ++d) squares += from[Index(d)] * from[Index(d)];
      const double factor =
          1.0 / std::sqrt(squares / static_cast<double>(shape_.latent_dim) + kEps);
      for (int64_t d = 0; d < shape_.latent_dim; ++d) {
        key[Index(d)] = from[Index(d)] * factor * norm_values_[Index(d)];
      }
      for (int64_t i = 0; i < shape_.rope_dim / 2; ++i) {
        const size_t at = Index(shape_.latent_dim + 2 * i);
        Rotate(row, i, &from[at], &key[at]);
      }
      exact_[owners_[row]].push_back(key);
      if (format_ == KvFormat::kInt8) RoundToInt8(shape_.latent_dim, &key);
      keys_[owners_[row]].push_back(std::move(key));
    }
  }

  void RotateQueries(const std::vector<float>& q, std::vector<float>* query) const {
    for (size_t row = 0; row < positions_.size(); ++row) {
      for (int64_t h = 0; h < case_.heads; ++h) {
        const int64_t head = static_cast<int64_t>(row) * case_.heads + h;
        for (int64_t i = 0; i < shape_.rope_dim / 2; ++i) {
          const size_t from = Index(head * (shape_.rope_dim + 4) + 4 + 2 * i);
          const size_t to = Index(head * shape_.key_dim() + shape_.latent_dim + 2 * i);
          const double pair[2] = {q[from], q[from + 1]};
          double rotated[2];
          Rotate(row, i, pair, rotated);
          (*query)[to] = static_cast<float>(rotated[0]);
          (*query)[to + 1] = static_cast<float>(rotated[1]);
        }
      }
    }
  }

  void CheckAttention(const std::vector<float>& query, const std::vector<float>& got) const {
    for (size_t row = 0; row < positions_.size(); ++row) {
      const auto& keys = keys_[owners_[row]];
      // Some heads of each row: all of them have had their turn after a few.
      const int64_t step = std::max<int64_t>(1, case_.heads / 3);
      for (int64_t h = static_cast<int64_t>(row) % step; h < case_.heads; h += step) {
        const size_t head = row * Index(case_.heads) + Index(h);
        ASSERT_NO_FATAL_FAILURE(CheckHead(&query[head * Index(shape_.key_dim())], keys,
                                          Index(positions_[row]),
                                          &got[head * Index(shape_.latent_dim)]))
            << "row " << row << " head " << h;
      }
    }
  }

  void CheckHead(const float* query, const std::vector<std::vector<double>>& keys, size_t position,
                 const float* got) const {
    std::vector<double> scores;
    for (size_t t = 0; t <= position; ++t) {
      double sum = 0.0;
      for (size_t d = 0; d < keys[t].size(); ++d) sum += query[d] * keys[t][d];
      scores.push_back(sum * kScale);
    }
    const double highest = *std::max_element(scores.begin(), scores.end());
    double total = 0.0;
    for (double& score : scores) total += score = std::exp(score - highest);
    std::vector<double> expected(Index(shape_.latent_dim));
    for (size_t t = 0; t <= position; ++t) {
      for (size_t d = 0; d < expected.size(); ++d) {
        expected[d] += scores[t] / total * keys[t][d];
      }
    }
    for (size_t d = 0; d < expected.size(); ++d) {
      // Cached latents, weights and results are rounded, each relative to its size.
      ASSERT_NEAR(got[d], expected[d], 8.0 * device_->tolerance() * (1.0 + std::fabs(expected[d])))
          << "element " << d;
    }
  }

  testing::DeviceUnderTest* const device_;
  const Case case_;
  const KvFormat format_;
  const LatentAttentionShape shape_;
  std::mt19937 rng_;
  // Of each sequence and token: before the cache rounds, and as attention should read it.
  std::vector<std::vector<std::vector<double>>> exact_;
  std::vector<std::vector<std::vector<double>>> keys_;
  std::unique_ptr<KvCache> cache_;
  std::vector<float> norm_values_;
  std::unique_ptr<DeviceBuffer> norm_;
  // Of the step.
  std::vector<int32_t> ids_, positions_, start_, context_, table_;
  std::vector<size_t> owners_;
  std::vector<float> cos_, sin_;
};

TEST_P(LatentOps, AttentionOverCachedLatentsEqualsItsDefinition) {
  for (const Case& c : kCases) {
    if (c.only_exact && !device_->is_exact()) continue;
    for (const KvFormat format : KvFormats(device_.get())) {
      SCOPED_TRACE(::testing::Message() << c.heads << " heads, blocks of " << c.block_tokens
                                        << (format == KvFormat::kInt8 ? ", int8" : ""));
      LatentSequences sequences(device_.get(), c, format);
      // A prompt and its rest, one token each, several tokens of some, and none of others.
      std::vector<std::vector<int32_t>> steps = {
          {31, 1, 7}, {0, 66, 0}, {1, 1, 1}, {2, 8, 4}, {1, 0, 1}};
      if (c.heads == 128) steps = {{0, 3, 0}, {1, 2, 0}};
      for (const auto& chunk : steps) ASSERT_NO_FATAL_FAILURE(sequences.Step(chunk));
    }
  }
}

double ReadElement(const KvPlaneLayout& plane, const std::byte* block, int64_t token, int64_t dim) {
  const std::byte* at = block + plane.ByteOf(0, token, dim);
  if (plane.dtype == DType::kI8) return static_cast<int8_t>(*at);
  if (plane.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return plane.dtype == DType::kF16 ? F16ToFloat(half) : Bf16ToFloat(half);
}

// The plane of layer 1 that holds element `dim` of its vectors, or their scales.
const KvPlaneLayout* PlaneOf(const KvBlockLayout& layout, int64_t dim, bool is_scale) {
  for (const KvPlaneLayout& plane : layout.planes) {
    if (plane.layer != 1 || plane.is_scale != is_scale) continue;
    if (is_scale || (dim >= plane.first_dim && dim < plane.first_dim + plane.head_dim)) {
      return &plane;
    }
  }
  return nullptr;
}

// The step between neighbours of a cached element: 0 unless it is int8.
double StepOf(const KvBlockLayout& layout, const std::byte* block, int64_t token, int64_t dim) {
  const KvPlaneLayout* plane = PlaneOf(layout, dim, false);
  if (plane->dtype != DType::kI8) return 0.0;
  const KvPlaneLayout* scales = PlaneOf(layout, dim, true);
  return ReadElement(*scales, block, token, dim * scales->head_dim / plane->head_dim);
}

TEST_P(LatentOps, ExportedBlocksHoldTheLatentsWhereTheLayoutSays) {
  for (const KvFormat format : KvFormats(device_.get())) {
    const Case c{2, 512, 64, 16, false};
    LatentSequences sequences(device_.get(), c, format);
    ASSERT_NO_FATAL_FAILURE(sequences.Step({0, 20, 0}));
    KvCache& cache = sequences.cache();
    const KvBlockLayout& layout = cache.block_layout();
    // The sequence's first two blocks, the second one's into one that nobody uses, and back.
    const int32_t blocks[] = {1, 1 + static_cast<int32_t>(kNumSeqs)};
    std::vector<std::byte> bytes(2 * Index(layout.bytes));
    ASSERT_TRUE(backend()->ExportBlocks(cache, blocks, bytes).ok());
    const int32_t others[] = {1 + 30 * static_cast<int32_t>(kNumSeqs),
                              1 + 31 * static_cast<int32_t>(kNumSeqs)};
    ASSERT_TRUE(backend()->ImportBlocks(cache, others, bytes).ok());
    std::vector<std::byte> again(bytes.size());
    ASSERT_TRUE(backend()->ExportBlocks(cache, others, again).ok());
    for (int64_t t = 0; t < 20; ++t) {
      const std::byte* block = again.data() + t / c.block_tokens * layout.bytes;
      const std::vector<double>& key = sequences.Key(1, Index(t));
      for (int64_t d = 0; d < 576; ++d) {
        const KvPlaneLayout* plane = PlaneOf(layout, d, false);
        ASSERT_NE(plane, nullptr) << d;
        EXPECT_EQ(plane->kind, KvPlaneKind::kLatent);
        const double step = StepOf(layout, block, t % c.block_tokens, d);
        const double value = ReadElement(*plane, block, t % c.block_tokens, d - plane->first_dim);
        const double near =
            step == 0.0 ? device_->tolerance() * (1.0 + std::fabs(key[Index(d)])) : 0.51 * step;
        ASSERT_NEAR(step == 0.0 ? value : step * value, key[Index(d)], near)
            << "token " << t << " element " << d;
      }
    }
  }
}

TEST_P(LatentOps, ABlocksMemoryIsTheSumOfItsPlanes) {
  for (const KvFormat format : KvFormats(device_.get())) {
    const bool is_int8 = format == KvFormat::kInt8;
    const KvCacheShape shape{{LatentLayer(512, 64), {}, LatentLayer(512, 64)},
                             3,
                             16,
                             device_->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16,
                             format};
    const auto cache = backend()->AllocateKvCache(shape);
    ASSERT_TRUE(cache.ok()) << cache.status();
    int64_t bytes = 0;
    for (const KvPlaneLayout& plane : (*cache)->block_layout().planes) {
      bytes += plane.heads * plane.head_dim * 16 * BlockBytes(plane.dtype);
    }
    // Scales of two bytes per 64 elements.
    const int64_t token = is_int8 ? 512 + 16 + 2 * 64 : 576 * (device_->is_exact() ? 4 : 2);
    EXPECT_EQ(bytes, 2 * 16 * token);
    EXPECT_EQ((*cache)->block_layout().bytes, bytes);
    EXPECT_EQ(backend()->KvBytesPerBlock(shape), bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, LatentOps, ::testing::ValuesIn(testing::DeviceVariants()),
                         [](const auto& test) { return "Variant" + std::to_string(test.index); });

}  // namespace
}  // namespace pingti::worker
