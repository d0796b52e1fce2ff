// Operands with a quantized form, on the backend that this program is linked with: operations that
// write an operand write every form, and a product reads the one that its weight wants.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;
using testing::TestOperand;

constexpr int kSeed = 44;
constexpr int64_t kRows = 33;
constexpr int64_t kCols = 256;  // of operands: 4 heads of 64
constexpr int64_t kOut = 48;

// A way to write an operand from random numbers.
struct Writer {
  std::string name;
  std::function<absl::Status(const Operand& out)> write;
};

class OpsOperandTest : public ::testing::Test {
 protected:
  OpsOperandTest() : device_(testing::MakeDeviceUnderTest()), rng_(kSeed) {
    norm_ = *backend()->UploadF32(RandomValues(kCols, &rng_));
    cache_ = *backend()->AllocateKvCache({{KeyValueLayer(2, 64)}, 4, 16});
  }
  Backend* backend() { return device_->backend(); }

  void Allocate(bool plain_operands) {
    StepLimits limits;
    limits.max_tokens = kRows;
    limits.max_seqs = 1;
    limits.max_in_features = kCols;
    limits.max_blocks_per_seq = 4;
    limits.num_heads = 4;
    limits.num_kv_heads = 2;
    limits.head_dim = 64;
    limits.vocab_size = 100;
    limits.plain_operands = plain_operands;
    ASSERT_TRUE(backend()->AllocateWorkspace(limits).ok());
  }

  // Weights of every kind that the backend multiplies with quantized activations.
  std::vector<std::unique_ptr<LinearWeight>> QuantizedWeights() {
    weights_ = RandomValues(kOut * kCols, &rng_);
    std::vector<uint16_t> halves;
    for (const float value : weights_) halves.push_back(FloatToBf16(value));
    std::vector<uint8_t> blocks = Q8Blocks();
    LinearSource int8;
    int8.parts.resize(1);
    int8.parts[0].tensor = {"w", DType::kBf16, {kOut, kCols}, halves.data(), kOut * kCols * 2};
    int8.format = WeightFormat::kInt8;
    LinearSource stored = int8;
    stored.parts[0].tensor = {
        "w", DType::kQ8_0, {kOut, kCols}, blocks.data(), static_cast<int64_t>(blocks.size())};
    stored.format = WeightFormat::kStored;
    std::vector<std::unique_ptr<LinearWeight>> weights;
    for (const LinearSource* source : {&int8, &stored}) {
      auto weight = backend()->PrepareLinear(*source);
      EXPECT_TRUE(weight.ok()) << weight.status();
      if ((*weight)->operand_type().quant != QuantType::kNone)
        weights.push_back(*std::move(weight));
    }
    EXPECT_FALSE(weights.empty());
    return weights;
  }

  std::vector<Writer> Writers() {
    std::vector<Writer> writers;
    writers.push_back({"RmsNorm", [this](const Operand& out) {
                         const TestMatrix x(device_.get(), kRows, kCols, Random(kCols));
                         return Done(backend()->RmsNorm(x.view(), *norm_, 1e-5f, out));
                       }});
    writers.push_back({"AddRmsNorm", [this](const Operand& out) {
                         const TestMatrix x(device_.get(), kRows, kCols, Random(kCols));
                         const TestMatrix sum(device_.get(), kRows, kCols, Random(kCols));
                         return Done(
                             backend()->AddRmsNorm(x.view(), sum.view(), *norm_, 1e-5f, out));
                       }});
    writers.push_back({"LayerNorm", [this](const Operand& out) {
                         const TestMatrix x(device_.get(), kRows, kCols, Random(kCols));
                         return Done(
                             backend()->LayerNorm(x.view(), *norm_, norm_.get(), 1e-5f, out));
                       }});
    writers.push_back(
        {"AddLayerNorm", [this](const Operand& out) {
           const TestMatrix x(device_.get(), kRows, kCols, Random(kCols));
           const TestMatrix sum(device_.get(), kRows, kCols, Random(kCols));
           return Done(backend()->AddLayerNorm(x.view(), sum.view(), *norm_, nullptr, 1e-5f, out));
         }});
    writers.push_back({"Activate", [this](const Operand& out) {
                         const TestMatrix x(device_.get(), kRows, kCols, Random(kCols));
                         return Done(backend()->Activate(ActivationFunction::kGelu, x.view(), out));
                       }});
    writers.push_back({"ActivateGated", [this](const Operand& out) {
                         const TestMatrix x(device_.get(), kRows, 2 * kCols, Random(2 * kCols));
                         return Done(
                             backend()->ActivateGated(ActivationFunction::kSilu, x.view(), out));
                       }});
    writers.push_back({"Attention", [this](const Operand& out) { return Attend(out); }});
    return writers;
  }

  std::vector<float> Product(const LinearWeight& weight, const Operand& x) {
    const TestMatrix y(device_.get(), kRows, kOut, backend()->activation_dtype());
    const absl::Status status = backend()->Linear(weight, x, y.view());
    EXPECT_TRUE(status.ok()) << status;
    return y.Read();
  }

  // Products of quantized activations are off by their rounding.
  void ExpectProduct(const std::vector<float>& y, const std::vector<float>& x) {
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t n = 0; n < kOut; ++n) {
        double sum = 0.0;
        double norm_w = 0.0;
        double norm_x = 0.0;
        for (int64_t k = 0; k < kCols; ++k) {
          const double a = x[static_cast<size_t>(r * kCols + k)];
          const double b = weights_[static_cast<size_t>(n * kCols + k)];
          sum += a * b;
          norm_w += b * b;
          norm_x += a * a;
        }
        ASSERT_NEAR(y[static_cast<size_t>(r * kOut + n)], sum, 2e-2 * std::sqrt(norm_w * norm_x))
            << "row " << r << " column " << n << " seed " << kSeed;
      }
    }
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::mt19937 rng_;

 private:
  std::vector<float> Random(int64_t cols) { return RandomValues(kRows * cols, &rng_); }

  // The inputs of an operation go when its function returns.
  absl::Status Done(absl::Status issued) {
    std::vector<float> waited(1);
    const TestMatrix one(device_.get(), 1, 1, DType::kF32);
    const absl::Status done = backend()->CopyToHost(one.view(), waited);
    return issued.ok() ? done : issued;
  }

  // The weights as blocks of 32 int8 with an f16 scale.
  std::vector<uint8_t> Q8Blocks() {
    std::vector<uint8_t> bytes;
    for (size_t first = 0; first < weights_.size(); first += 32) {
      float largest = 0.0f;
      for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(weights_[first + i]));
      const uint16_t scale = FloatToF16(largest / 127.0f);
      bytes.push_back(static_cast<uint8_t>(scale & 255));
      bytes.push_back(static_cast<uint8_t>(scale >> 8));
      for (size_t i = 0; i < 32; ++i) {
        const float q = std::nearbyint(weights_[first + i] / F16ToFloat(scale));
        bytes.push_back(static_cast<uint8_t>(static_cast<int>(std::clamp(q, -127.0f, 127.0f))));
      }
    }
    return bytes;
  }

  absl::Status Attend(const Operand& out) {
    const AttentionShape shape{4, 2, 64, 0.125f};
    const TestMatrix qkv(device_.get(), kRows, 8 * 64, Random(8 * 64));
    const std::vector<int32_t> ids(kRows), start{0, kRows}, context{kRows}, blocks{0, 1, 2, 3};
    std::vector<int32_t> positions;
    for (int32_t t = 0; t < kRows; ++t) positions.push_back(t);
    const std::vector<float> cos(kRows * 32, 1.0f), sin(kRows * 32, 0.0f);
    absl::Status status =
        backend()->BeginStep({ids, positions, start, context, blocks, 4, cos, sin, 16});
    if (status.ok()) status = backend()->RopeAndAppendKv(qkv.view(), shape, {}, *cache_, 0);
    if (status.ok()) status = backend()->Attention(qkv.view(), shape, *cache_, 0, out);
    return Done(status);
  }

  std::vector<float> weights_;
  std::unique_ptr<DeviceBuffer> norm_;
  std::unique_ptr<KvCache> cache_;
};

TEST_F(OpsOperandTest, WritersWriteTheQuantizedFormWithTheValues) {
  ASSERT_NO_FATAL_FAILURE(Allocate(false));
  for (const auto& weight : QuantizedWeights()) {
    const TestOperand x(device_.get(), weight->operand_type(), kRows, kCols);
    // Twice: what was there before must not show.
    for (const int time : {1, 2}) {
      for (const Writer& writer : Writers()) {
        SCOPED_TRACE(writer.name + " to " + OperandTypeName(weight->operand_type()) + ", time " +
                     std::to_string(time));
        const absl::Status status = writer.write(x.view());
        ASSERT_TRUE(status.ok()) << status;
        const std::vector<float> values = x.ReadValues();
        std::vector<float> quantized, scales;
        x.ReadQuantized(&quantized, &scales);
        for (size_t i = 0; i < values.size(); ++i) {
          ASSERT_NEAR(quantized[i], values[i],
                      0.501f * scales[i] + std::fabs(values[i]) * device_->tolerance())
              << "element " << i << " seed " << kSeed;
        }
      }
    }
  }
}

TEST_F(OpsOperandTest, AProductReadsTheFormThatItsWeightWants) {
  ASSERT_NO_FATAL_FAILURE(Allocate(false));
  for (const auto& weight : QuantizedWeights()) {
    TestOperand x(device_.get(), weight->operand_type(), kRows, kCols);
    for (const Writer& writer : Writers()) {
      SCOPED_TRACE(writer.name + " to " + OperandTypeName(weight->operand_type()));
      ASSERT_TRUE(writer.write(x.view()).ok());
      const std::vector<float> values = x.ReadValues();
      x.PoisonValues();
      ASSERT_NO_FATAL_FAILURE(ExpectProduct(Product(*weight, x.view()), values));
    }
  }
}

TEST_F(OpsOperandTest, APlainOperandIsQuantizedByTheProduct) {
  ASSERT_NO_FATAL_FAILURE(Allocate(true));
  for (const auto& weight : QuantizedWeights()) {
    for (const Writer& writer : Writers()) {
      SCOPED_TRACE(writer.name + " for " + OperandTypeName(weight->operand_type()));
      const TestMatrix x(device_.get(), kRows, kCols, backend()->activation_dtype());
      ASSERT_TRUE(writer.write(x.view()).ok());
      ASSERT_NO_FATAL_FAILURE(ExpectProduct(Product(*weight, x.view()), x.Read()));
    }
  }
}

TEST_F(OpsOperandTest, APlainOperandIsRefusedWhereNoneWasExpected) {
  ASSERT_NO_FATAL_FAILURE(Allocate(false));
  for (const auto& weight : QuantizedWeights()) {
    const TestMatrix x(device_.get(), kRows, kCols, RandomValues(kRows * kCols, &rng_));
    const TestMatrix y(device_.get(), kRows, kOut, backend()->activation_dtype());
    const absl::Status status = backend()->Linear(*weight, x.view(), y.view());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(OperandTypeName(weight->operand_type())), std::string::npos)
        << status;
  }
}

TEST_F(OpsOperandTest, AWeightOfValuesReadsThemWhateverElseThereIs) {
  ASSERT_NO_FATAL_FAILURE(Allocate(false));
  const auto quantized = QuantizedWeights();
  const std::vector<float> w = RandomValues(kOut * kCols, &rng_);
  std::vector<uint16_t> halves;
  for (const float value : w) halves.push_back(FloatToBf16(value));
  LinearSource source;
  source.parts.resize(1);
  source.parts[0].tensor = {"w", DType::kBf16, {kOut, kCols}, halves.data(), kOut * kCols * 2};
  const auto weight = backend()->PrepareLinear(source);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ((*weight)->operand_type(), OperandType{});
  const TestOperand x(device_.get(), quantized[0]->operand_type(), kRows, kCols);
  ASSERT_TRUE(Writers()[0].write(x.view()).ok());
  EXPECT_EQ(Product(**weight, x.view()), Product(**weight, x.view().values));
}

}  // namespace
}  // namespace pingti::worker
