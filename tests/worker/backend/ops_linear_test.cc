// Matrix products of every weight format against float64, on the backend that this program is
// linked with. Packed words of checkpoints: packed_builder.h makes them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/quant/packed_builder.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::BuildPacked;
using testing::BuiltPacked;
using testing::PackedSpec;
using testing::RandomValues;
using testing::TestMatrix;

constexpr int kSeed = 42;
constexpr int64_t kMaxTokens = 320;

struct Case {
  DType dtype;
  WeightFormat format;
  bool f32_out;
  double tolerance;  // relative to the product of norms
};

constexpr Case kCases[] = {
    {DType::kBf16, WeightFormat::kBf16, false, 6e-3},
    {DType::kBf16, WeightFormat::kStored, true, 6e-3},
    {DType::kF16, WeightFormat::kBf16, false, 6e-3},
    {DType::kQ4_1, WeightFormat::kStored, false, 1e-2},
    {DType::kQ4_1, WeightFormat::kStored, true, 1e-2},
    {DType::kQ4_0, WeightFormat::kStored, false, 1e-2},
    {DType::kQ8_0, WeightFormat::kStored, false, 1e-2},
    {DType::kQ5_0, WeightFormat::kStored, false, 1e-2},
    {DType::kIq4Nl, WeightFormat::kStored, false, 1e-2},
    {DType::kIq4Xs, WeightFormat::kStored, true, 1e-2},
    {DType::kQ6K, WeightFormat::kBf16, false, 6e-3},
    {DType::kBf16, WeightFormat::kInt8, false, 2e-2},
    {DType::kI8, WeightFormat::kStored, false, 1e-2},
    {DType::kQ8_0, WeightFormat::kStored, true, 1e-2},
    {DType::kBf16, WeightFormat::kInt8Weights, false, 1e-2},
    {DType::kBf16, WeightFormat::kInt8Weights, true, 1e-2},
    {DType::kQ6K, WeightFormat::kInt8Weights, true, 1e-2},
};

// What a checkpoint's packed words are multiplied in.
constexpr Case kPackedCases[] = {
    {DType::kI32, WeightFormat::kStored, false, 1e-2},
    {DType::kI32, WeightFormat::kStored, true, 1e-2},
    {DType::kI32, WeightFormat::kBf16, false, 6e-3},
    {DType::kI32, WeightFormat::kInt8, false, 2e-2},
};

// One stacked matrix in memory, and what it means.
struct Weights {
  std::vector<uint8_t> bytes;
  std::vector<float> row_scale;
  std::vector<float> values;
  MatrixSource source;
};

// Gives every block a scale (and minimum) of a usual size; the quants stay as they are.
void SetBlockScales(DType dtype, std::vector<uint8_t>* bytes, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  for (size_t b = 0; b < bytes->size(); b += static_cast<size_t>(BlockBytes(dtype))) {
    const uint16_t scale = FloatToF16(0.01f + std::fabs(normal(*rng)) * 0.05f);
    const uint16_t min = FloatToF16(normal(*rng) * 0.1f);
    std::memcpy(&(*bytes)[dtype == DType::kQ6K ? b + 208 : b], &scale, 2);
    if (dtype == DType::kQ4_1) std::memcpy(&(*bytes)[b + 2], &min, 2);
  }
}

void MakeWeights(DType dtype, int64_t rows, int64_t cols, std::mt19937* rng, Weights* weights) {
  const int64_t count = rows * cols;
  weights->bytes.resize(static_cast<size_t>(count / BlockElements(dtype) * BlockBytes(dtype)));
  if (IsBlockType(dtype) || dtype == DType::kI8) {
    for (uint8_t& byte : weights->bytes) byte = static_cast<uint8_t>((*rng)());
    if (IsBlockType(dtype)) SetBlockScales(dtype, &weights->bytes, rng);
  } else {
    const std::vector<float> random = RandomValues(count, rng);
    for (size_t i = 0; i < random.size(); ++i) {
      const uint16_t half = dtype == DType::kF16 ? FloatToF16(random[i]) : FloatToBf16(random[i]);
      std::memcpy(&weights->bytes[2 * i], &half, 2);
    }
  }
  if (dtype == DType::kI8) {
    for (uint8_t& byte : weights->bytes) byte = byte == 0x80 ? 0x81 : byte;
    weights->row_scale = RandomValues(rows, rng);
    for (float& scale : weights->row_scale) scale = 0.01f + std::fabs(scale) * 0.02f;
  }
  weights->values.resize(static_cast<size_t>(count));
  Dequantize(dtype, weights->bytes.data(), count, weights->values.data());
  for (int64_t i = 0; i < count && dtype == DType::kI8; ++i) {
    weights->values[static_cast<size_t>(i)] *= weights->row_scale[static_cast<size_t>(i / cols)];
  }
  weights->source.tensor = {
      "w", dtype, {rows, cols}, weights->bytes.data(), static_cast<int64_t>(weights->bytes.size())};
  weights->source.row_scale = weights->row_scale;
}

class OpsLinearTest : public ::testing::Test {
 protected:
  OpsLinearTest() : device_(testing::MakeDeviceUnderTest()), rng_(kSeed) {}
  Backend* backend() { return device_->backend(); }

  void Allocate() {
    StepLimits limits;
    limits.plain_operands = true;
    limits.max_tokens = kMaxTokens;
    limits.max_seqs = 8;
    limits.max_in_features = 1024;
    limits.max_blocks_per_seq = 4;
    limits.num_heads = 4;
    limits.num_kv_heads = 2;
    limits.head_dim = 64;
    limits.vocab_size = 100;
    ASSERT_TRUE(backend()->AllocateWorkspace(limits).ok());
  }

  void Check(const Case& c, const std::vector<float>& w, const std::vector<float>& bias,
             const LinearWeight& weight, int64_t rows, const std::string& name) {
    const int64_t in = weight.in_features();
    const int64_t out = weight.out_features();
    const std::vector<float> x = RandomValues(rows * in, &rng_);
    const TestMatrix input(device_.get(), rows, in, x);
    const TestMatrix result(device_.get(), rows, out, c.f32_out ? DType::kF32 : input.view().dtype);
    const absl::Status status = backend()->Linear(weight, input.view(), result.view());
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<float> y = result.Read();
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < out; ++n) {
        double sum = bias[static_cast<size_t>(n)];
        double norm_w = 0.0;
        double norm_x = 0.0;
        for (int64_t k = 0; k < in; ++k) {
          const double a = x[static_cast<size_t>(r * in + k)];
          const double b = w[static_cast<size_t>(n * in + k)];
          sum += a * b;
          norm_w += b * b;
          norm_x += a * a;
        }
        ASSERT_NEAR(y[static_cast<size_t>(r * out + n)], sum,
                    c.tolerance * std::sqrt(norm_w * norm_x) + device_->tolerance())
            << name << " as " << WeightFormatName(c.format) << " [" << out << ", " << in << "] row "
            << r << " of " << rows << " column " << n << " seed " << kSeed;
      }
    }
  }

  // A stack of packed parts, each of specs[i], times some tokens, in every precision.
  void CheckPackedStack(const std::vector<PackedSpec>& specs) {
    std::vector<BuiltPacked> built;
    std::vector<float> w;
    int64_t out = 0;
    std::string name;
    for (const PackedSpec& spec : specs) {
      built.push_back(BuildPacked(spec, &rng_));
      w.insert(w.end(), built.back().values.begin(), built.back().values.end());
      out += spec.rows;
      name += NameOf(spec) + "; ";
    }
    for (const Case& c : kPackedCases) {
      LinearSource source;
      source.format = c.format;
      source.f32_out = c.f32_out;
      source.bias = RandomValues(c.f32_out ? 0 : out, &rng_);
      for (const BuiltPacked& part : built) source.parts.push_back(PackedSource(part));
      std::vector<float> bias = source.bias;
      bias.resize(static_cast<size_t>(out));
      auto weight = backend()->PrepareLinear(source);
      ASSERT_TRUE(weight.ok()) << name << weight.status();
      ASSERT_EQ((*weight)->out_features(), out);
      ASSERT_NO_FATAL_FAILURE(Allocate());
      for (const int64_t rows : {1, 3, 17, 64, 130}) {
        ASSERT_NO_FATAL_FAILURE(Check(c, w, bias, **weight, rows, name));
      }
    }
  }

  static MatrixSource PackedSource(const BuiltPacked& built) {
    MatrixSource source;
    source.packed = built.View();
    source.tensor = source.packed->words;
    source.tensor.shape = {built.spec.rows, built.spec.cols};
    return source;
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::mt19937 rng_;
};

TEST_F(OpsLinearTest, EveryFormatIsWithinItsToleranceOfTheFormula) {
  const int64_t in = 512;
  for (const Case& c : kCases) {
    Weights first, second;
    MakeWeights(c.dtype, 96, in, &rng_, &first);
    MakeWeights(c.dtype, 40, in, &rng_, &second);
    LinearSource source;
    source.parts = {first.source, second.source};
    source.format = c.format;
    source.f32_out = c.f32_out;
    source.bias = RandomValues(c.f32_out ? 0 : 136, &rng_);
    std::vector<float> w = first.values;
    w.insert(w.end(), second.values.begin(), second.values.end());
    std::vector<float> bias = source.bias;
    bias.resize(136);
    auto weight = backend()->PrepareLinear(source);
    ASSERT_TRUE(weight.ok()) << weight.status();
    ASSERT_EQ((*weight)->out_features(), 136);
    ASSERT_EQ((*weight)->in_features(), in);
    ASSERT_NO_FATAL_FAILURE(Allocate());
    for (const int64_t rows : {1, 2, 7, 16, 33, 65, 130, 300}) {
      ASSERT_NO_FATAL_FAILURE(Check(c, w, bias, **weight, rows, std::string(DTypeName(c.dtype))));
    }
  }
}

// A GPU takes weights with scales per group as bf16 rows then, a slice of them at a time.
TEST_F(OpsLinearTest, ManyTokensTimesManyRowsAreWithinTheTolerance) {
  constexpr int64_t kRows = 4096 + 40;
  constexpr int64_t kIn = 64;
  const Case c{DType::kQ4_0, WeightFormat::kStored, false, 1e-2};
  Weights weights;
  MakeWeights(c.dtype, kRows, kIn, &rng_, &weights);
  LinearSource source;
  source.parts = {weights.source};
  source.format = c.format;
  source.bias = RandomValues(kRows, &rng_);
  const std::vector<float> bias = source.bias;
  const auto weight = backend()->PrepareLinear(source);
  ASSERT_TRUE(weight.ok()) << weight.status();
  ASSERT_NO_FATAL_FAILURE(Allocate());
  ASSERT_NO_FATAL_FAILURE(Check(c, weights.values, bias, **weight, 257, "Q4_0"));
}

TEST_F(OpsLinearTest, ProductAfterACopyFromTheHostSeesIt) {
  const int64_t rows = 9;
  const int64_t in = 512;
  ASSERT_NO_FATAL_FAILURE(Allocate());
  Weights weights;
  MakeWeights(DType::kI8, 96, in, &rng_, &weights);
  LinearSource source;
  source.parts = {weights.source};
  source.format = WeightFormat::kStored;
  const auto weight = backend()->PrepareLinear(source);
  ASSERT_TRUE(weight.ok()) << weight.status();
  std::vector<float> x = RandomValues(rows * in, &rng_);
  const TestMatrix input(device_.get(), rows, in, x);
  const TestMatrix first(device_.get(), rows, 96, input.view().dtype);
  const TestMatrix second(device_.get(), rows, 96, input.view().dtype);
  ASSERT_TRUE(backend()->Linear(**weight, input.view(), first.view()).ok());
  for (float& value : x) value *= -2.0f;
  ASSERT_TRUE(backend()->CopyFromHost(x, input.view()).ok());
  ASSERT_TRUE(backend()->Linear(**weight, input.view(), second.view()).ok());
  const std::vector<float> y = first.Read();
  const std::vector<float> twice = second.Read();
  for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(twice[i], -2.0f * y[i]) << i;
}

TEST_F(OpsLinearTest, RowsOfGgufHeadsAreReordered) {
  const int64_t heads = 2;
  const int64_t dim = 32;
  Weights weights;
  MakeWeights(DType::kBf16, heads * dim, 64, &rng_, &weights);
  LinearSource source;
  source.parts = {weights.source};
  source.parts[0].interleaved_heads = heads;
  auto weight = backend()->PrepareLinear(source);
  ASSERT_TRUE(weight.ok()) << weight.status();
  ASSERT_NO_FATAL_FAILURE(Allocate());
  std::vector<float> w;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < dim; ++i) {
      const int64_t row = h * dim + (i < dim / 2 ? 2 * i : 2 * (i - dim / 2) + 1);
      w.insert(w.end(), weights.values.begin() + row * 64, weights.values.begin() + row * 64 + 64);
    }
  }
  Check(kCases[0], w, std::vector<float>(static_cast<size_t>(heads * dim)), **weight, 3,
        "interleaved heads");
}

TEST_F(OpsLinearTest, PackedWordsAreWithinTheirToleranceOfTheFormula) {
  for (const PackedLayout layout :
       {PackedLayout::kGptq, PackedLayout::kAwq, PackedLayout::kRowMajor}) {
    const DType scales = layout == PackedLayout::kRowMajor ? DType::kBf16 : DType::kF16;
    for (const int bits : {4, 8}) {
      if (layout == PackedLayout::kAwq && bits == 8) continue;
      for (const bool zeros : {false, true}) {
        // 512: one group.
        for (const int64_t group : {32, 64, 128, 256, 512}) {
          const PackedSpec spec{layout, bits, 96, 512, group, zeros, zeros ? 1 : 0, scales, 0.02f};
          PackedSpec last = spec;
          last.rows = 40;
          ASSERT_NO_FATAL_FAILURE(CheckPackedStack({spec, last}));
        }
      }
    }
  }
}

TEST_F(OpsLinearTest, PackedPartsOfEveryShapeAndKindAreStacked) {
  const PackedSpec gptq{PackedLayout::kGptq, 4, 40, 328, 128, true, 1, DType::kF16, 0.02f};
  PackedSpec symmetric = gptq;
  symmetric.has_zeros = false;
  PackedSpec eight = gptq;
  eight.bits = 8;
  PackedSpec awq = gptq;
  awq.layout = PackedLayout::kAwq;
  awq.zero_offset = 0;
  PackedSpec row_major{PackedLayout::kRowMajor, 4, 36, 328, 328, false, 0, DType::kBf16, 0.02f};
  PackedSpec rows_of_32 = gptq;
  rows_of_32.rows = 64;
  ASSERT_NO_FATAL_FAILURE(CheckPackedStack({gptq, symmetric}));        // rows that fill no block
  ASSERT_NO_FATAL_FAILURE(CheckPackedStack({rows_of_32, symmetric}));  // zeros in one part only
  ASSERT_NO_FATAL_FAILURE(CheckPackedStack({rows_of_32, awq, symmetric}));
  ASSERT_NO_FATAL_FAILURE(CheckPackedStack({rows_of_32, eight}));  // bits differ
  ASSERT_NO_FATAL_FAILURE(CheckPackedStack({row_major}));          // a group of all columns
}

TEST_F(OpsLinearTest, PackedPartsStackWithOthers) {
  BuiltPacked packed =
      BuildPacked({PackedLayout::kGptq, 4, 64, 512, 128, true, 1, DType::kF16, 0.02f}, &rng_);
  Weights dense;
  MakeWeights(DType::kBf16, 32, 512, &rng_, &dense);
  LinearSource source;
  source.parts = {PackedSource(packed), dense.source};
  source.format = WeightFormat::kStored;
  std::vector<float> w = packed.values;
  w.insert(w.end(), dense.values.begin(), dense.values.end());
  auto weight = backend()->PrepareLinear(source);
  ASSERT_TRUE(weight.ok()) << weight.status();
  ASSERT_NO_FATAL_FAILURE(Allocate());
  Check(kPackedCases[0], w, std::vector<float>(96), **weight, 5, "packed and bf16");
}

TEST_F(OpsLinearTest, RefusesPackedWordsThatDoNotFitByName) {
  const BuiltPacked built =
      BuildPacked({PackedLayout::kGptq, 4, 64, 512, 128, true, 1, DType::kF16, 0.02f}, &rng_);
  const auto error = [&](const auto& change) {
    LinearSource source;
    source.format = WeightFormat::kStored;
    source.parts = {PackedSource(built)};
    change(&source.parts[0]);
    return std::string(backend()->PrepareLinear(source).status().message());
  };
  EXPECT_NE(error([](MatrixSource* m) { m->packed->scales.shape[0] = 3; }).find("'w.scales'"),
            std::string::npos);
  EXPECT_NE(error([](MatrixSource* m) { m->packed->words.bytes -= 4; }).find("'w.words'"),
            std::string::npos);
  EXPECT_NE(error([](MatrixSource* m) {
              m->tensor.shape = {32, 512};
            }).find("'w.words'"),
            std::string::npos);
  EXPECT_NE(error([](MatrixSource* m) { m->interleaved_heads = 2; }).find("rows in order"),
            std::string::npos);
}

TEST_F(OpsLinearTest, RefusesWhatItCannotMultiplyByName) {
  Weights weights;
  MakeWeights(DType::kBf16, 8, 64, &rng_, &weights);
  LinearSource source;
  source.parts = {weights.source};
  source.parts[0].row_scale = {1.0f};
  EXPECT_EQ(backend()->PrepareLinear(source).status().code(), absl::StatusCode::kInvalidArgument);
  source.parts[0].row_scale.clear();
  source.parts[0].tensor.dtype = DType::kI64;
  EXPECT_EQ(backend()->PrepareLinear(source).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace pingti::worker
