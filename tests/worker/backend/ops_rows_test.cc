// Operations on rows of activations against float64 formulas, on the backend that this program is
// linked with: embedding, norms, SiLU, gathering; and what tools do beside steps: copies to the
// host and back, times.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;

constexpr int kSeed = 41;

class OpsRowsTest : public ::testing::Test {
 protected:
  OpsRowsTest() : device_(testing::MakeDeviceUnderTest()), rng_(kSeed) {
    StepLimits limits;
    limits.max_tokens = 512;
    limits.max_seqs = 8;
    limits.max_in_features = 1024;
    limits.max_blocks_per_seq = 4;
    limits.num_heads = 4;
    limits.num_kv_heads = 2;
    limits.head_dim = 64;
    limits.vocab_size = 100;
    EXPECT_TRUE(backend()->AllocateWorkspace(limits).ok());
  }
  Backend* backend() { return device_->backend(); }

  // `size`: of the terms that an element near 0 may be the difference of.
  void ExpectNear(const std::vector<float>& got, const std::vector<double>& expected,
                  double size = 1e-2) {
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], device_->tolerance() * (std::fabs(expected[i]) + size))
          << "element " << i << " seed " << kSeed;
    }
  }

  // int8 rows are off by half a step of their own, and rounded again to what activations are.
  // The table holds the tokens [first, first + rows); others' rows are zeros.
  void CheckEmbedding(WeightFormat format, int64_t first, int64_t rows) {
    const int64_t vocab = 104;
    const int64_t cols = 64;
    const std::vector<float> values = RandomValues(vocab * cols, &rng_);
    std::vector<uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(), FloatToBf16);
    MatrixSource source;
    source.tensor = {
        "embedding", DType::kBf16, {rows, cols}, halves.data() + first * cols, rows * cols * 2};
    const auto table = backend()->PrepareEmbedding({source, format, first, vocab});
    ASSERT_TRUE(table.ok()) << table.status();
    const std::vector<int32_t> ids{99, 0, 7, 7}, positions{0, 1, 2, 3}, start{0, 4}, context{4},
        blocks{0};
    const std::vector<float> rotation(4 * 32, 1.0f);
    ASSERT_TRUE(backend()
                    ->BeginStep({ids, positions, start, context, blocks, 1, rotation, rotation, 16})
                    .ok());
    const TestMatrix out(device_.get(), 4, cols, backend()->activation_dtype());
    ASSERT_TRUE(backend()->Embed(**table, out.view()).ok());
    const std::vector<float> got = out.Read();
    for (size_t t = 0; t < ids.size(); ++t) {
      const bool here = ids[t] >= first && ids[t] < first + rows;
      const std::vector<float> zeros(static_cast<size_t>(cols));
      const float* row = here ? values.data() + ids[t] * cols : zeros.data();
      float largest = 0.0f;
      for (int64_t c = 0; c < cols; ++c) largest = std::max(largest, std::fabs(row[c]));
      const float step = format == WeightFormat::kInt8Weights ? largest / 127.0f : 0.0f;
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_NEAR(got[t * static_cast<size_t>(cols) + static_cast<size_t>(c)], row[c],
                    step * (0.5f + 127.0f * 0x1p-8f))
            << "token " << t << " element " << c;
      }
    }
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::mt19937 rng_;
};

std::vector<double> Normalised(const std::vector<double>& x, const std::vector<float>& weight,
                               double eps) {
  std::vector<double> out(x.size());
  const size_t cols = weight.size();
  for (size_t row = 0; row < x.size() / cols; ++row) {
    double sum = 0;
    for (size_t i = 0; i < cols; ++i) sum += x[row * cols + i] * x[row * cols + i];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(cols) + eps);
    for (size_t i = 0; i < cols; ++i) out[row * cols + i] = x[row * cols + i] * scale * weight[i];
  }
  return out;
}

TEST_F(OpsRowsTest, RmsNormEqualsItsFormula) {
  for (const int64_t cols : {64, 576, 1024}) {
    for (const int64_t rows : {1, 5, 300}) {
      const std::vector<float> x = RandomValues(rows * cols, &rng_);
      const std::vector<float> weight = RandomValues(cols, &rng_);
      const auto device_weight = *backend()->UploadF32(weight);
      const TestMatrix input(device_.get(), rows, cols, x);
      const TestMatrix out(device_.get(), rows, cols, input.view().dtype);
      ASSERT_TRUE(backend()->RmsNorm(input.view(), *device_weight, 1e-5f, out.view()).ok());
      ASSERT_NO_FATAL_FAILURE(
          ExpectNear(out.Read(), Normalised({x.begin(), x.end()}, weight, 1e-5)));
      ASSERT_TRUE(backend()->RmsNorm(input.view(), *device_weight, 1e-5f, input.view()).ok());
      ASSERT_EQ(input.Read(), out.Read()) << "in place";
    }
  }
}

TEST_F(OpsRowsTest, AddRmsNormAddsToTheResidualAndNormalisesIt) {
  const int64_t rows = 37;
  const int64_t cols = 576;
  const std::vector<float> delta = RandomValues(rows * cols, &rng_);
  const std::vector<float> residual = RandomValues(rows * cols, &rng_);
  const std::vector<float> weight = RandomValues(cols, &rng_);
  const auto device_weight = *backend()->UploadF32(weight);
  const TestMatrix device_delta(device_.get(), rows, cols, delta);
  const TestMatrix device_residual(device_.get(), rows, cols, residual);
  const TestMatrix out(device_.get(), rows, cols, device_delta.view().dtype);
  ASSERT_TRUE(backend()
                  ->AddRmsNorm(device_delta.view(), device_residual.view(), *device_weight, 1e-6f,
                               out.view())
                  .ok());
  std::vector<double> sum;
  for (size_t i = 0; i < delta.size(); ++i) sum.push_back(double{delta[i]} + residual[i]);
  const std::vector<float> added = device_residual.Read();
  ASSERT_NO_FATAL_FAILURE(ExpectNear(added, sum));
  // From the sum as the device keeps it.
  ASSERT_NO_FATAL_FAILURE(
      ExpectNear(out.Read(), Normalised({added.begin(), added.end()}, weight, 1e-6)));
}

std::vector<double> LayerNormalised(const std::vector<double>& x, const std::vector<float>& weight,
                                    const std::vector<float>& bias, double eps) {
  std::vector<double> out(x.size());
  const size_t cols = weight.size();
  for (size_t row = 0; row < x.size() / cols; ++row) {
    const double* values = &x[row * cols];
    double mean = 0;
    for (size_t i = 0; i < cols; ++i) mean += values[i] / static_cast<double>(cols);
    double variance = 0;
    for (size_t i = 0; i < cols; ++i) {
      variance += (values[i] - mean) * (values[i] - mean) / static_cast<double>(cols);
    }
    const double scale = 1.0 / std::sqrt(variance + eps);
    for (size_t i = 0; i < cols; ++i) {
      out[row * cols + i] = (values[i] - mean) * scale * weight[i] + (bias.empty() ? 0.0 : bias[i]);
    }
  }
  return out;
}

TEST_F(OpsRowsTest, LayerNormEqualsItsFormula) {
  for (const int64_t cols : {64, 200, 576, 1024}) {
    for (const int64_t rows : {1, 5, 300}) {
      for (const bool has_bias : {false, true}) {
        // Around 2: the mean must be taken off first.
        std::vector<float> x = RandomValues(rows * cols, &rng_);
        for (float& value : x) value = Bf16ToFloat(FloatToBf16(value + 2.0f));
        const std::vector<float> weight = RandomValues(cols, &rng_);
        std::vector<float> bias;
        std::unique_ptr<DeviceBuffer> device_bias;
        if (has_bias) {
          bias = RandomValues(cols, &rng_);
          device_bias = *backend()->UploadF32(bias);
        }
        const auto device_weight = *backend()->UploadF32(weight);
        const TestMatrix input(device_.get(), rows, cols, x);
        const TestMatrix out(device_.get(), rows, cols, input.view().dtype);
        ASSERT_TRUE(
            backend()
                ->LayerNorm(input.view(), *device_weight, device_bias.get(), 1e-5f, out.view())
                .ok());
        ASSERT_NO_FATAL_FAILURE(
            ExpectNear(out.Read(), LayerNormalised({x.begin(), x.end()}, weight, bias, 1e-5), 0.2));
        ASSERT_TRUE(
            backend()
                ->LayerNorm(input.view(), *device_weight, device_bias.get(), 1e-5f, input.view())
                .ok());
        ASSERT_EQ(input.Read(), out.Read()) << "in place";
      }
    }
  }
}

TEST_F(OpsRowsTest, AddLayerNormAddsToTheResidualAndNormalisesIt) {
  const int64_t rows = 37;
  const int64_t cols = 576;
  const std::vector<float> delta = RandomValues(rows * cols, &rng_);
  const std::vector<float> residual = RandomValues(rows * cols, &rng_);
  const std::vector<float> weight = RandomValues(cols, &rng_);
  const std::vector<float> bias = RandomValues(cols, &rng_);
  const auto device_weight = *backend()->UploadF32(weight);
  const auto device_bias = *backend()->UploadF32(bias);
  const TestMatrix device_delta(device_.get(), rows, cols, delta);
  const TestMatrix device_residual(device_.get(), rows, cols, residual);
  const TestMatrix out(device_.get(), rows, cols, device_delta.view().dtype);
  ASSERT_TRUE(backend()
                  ->AddLayerNorm(device_delta.view(), device_residual.view(), *device_weight,
                                 device_bias.get(), 1e-6f, out.view())
                  .ok());
  std::vector<double> sum;
  for (size_t i = 0; i < delta.size(); ++i) sum.push_back(double{delta[i]} + residual[i]);
  const std::vector<float> added = device_residual.Read();
  ASSERT_NO_FATAL_FAILURE(ExpectNear(added, sum));
  // From the sum as the device keeps it.
  ASSERT_NO_FATAL_FAILURE(ExpectNear(
      out.Read(), LayerNormalised({added.begin(), added.end()}, weight, bias, 1e-6), 0.2));
}

TEST_F(OpsRowsTest, AddAddsToTheSecondMatrixAlone) {
  for (const int64_t rows : {1, 33}) {
    const int64_t cols = 200;
    const std::vector<float> delta = RandomValues(rows * cols, &rng_);
    const std::vector<float> before = RandomValues(rows * cols, &rng_);
    const TestMatrix device_delta(device_.get(), rows, cols, delta);
    const TestMatrix sum(device_.get(), rows, cols, before);
    ASSERT_TRUE(backend()->Add(device_delta.view(), sum.view()).ok());
    std::vector<double> expected;
    for (size_t i = 0; i < delta.size(); ++i) expected.push_back(double{delta[i]} + before[i]);
    ASSERT_NO_FATAL_FAILURE(ExpectNear(sum.Read(), expected));
    ASSERT_EQ(device_delta.Read(), delta);
  }
}

double Activated(ActivationFunction activation, double x) {
  switch (activation) {
    case ActivationFunction::kSilu:
      return x / (1.0 + std::exp(-x));
    case ActivationFunction::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ActivationFunction::kGeluTanh:
    case ActivationFunction::kClampedSwiglu:  // of two values, see ActivatedGated
      break;
  }
  return 0.5 * x *
         (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double ActivatedGated(ActivationFunction f, double gate, double up) {
  if (f != ActivationFunction::kClampedSwiglu) return Activated(f, gate) * up;
  const double g = std::min(gate, 7.0);
  return g / (1.0 + std::exp(-1.702 * g)) * (std::clamp(up, -7.0, 7.0) + 1.0);
}

TEST_F(OpsRowsTest, ActivationsEqualTheirFormulas) {
  for (const ActivationFunction activation :
       {ActivationFunction::kSilu, ActivationFunction::kGelu, ActivationFunction::kGeluTanh}) {
    SCOPED_TRACE(static_cast<int>(activation));
    for (const int64_t rows : {1, 77}) {
      const int64_t cols = 200;
      std::vector<float> x = RandomValues(rows * cols, &rng_);
      // From where each function is 0 to where it is its argument.
      for (int64_t i = 0; i < cols; ++i) {
        x[static_cast<size_t>(i)] = static_cast<float>(i - cols / 2) / 8.0f;
      }
      const TestMatrix input(device_.get(), rows, cols, x);
      const TestMatrix out(device_.get(), rows, cols, input.view().dtype);
      ASSERT_TRUE(backend()->Activate(activation, input.view(), out.view()).ok());
      std::vector<double> expected;
      for (const float value : x) expected.push_back(Activated(activation, value));
      ASSERT_NO_FATAL_FAILURE(ExpectNear(out.Read(), expected));
      ASSERT_TRUE(backend()->Activate(activation, input.view(), input.view()).ok());
      ASSERT_EQ(input.Read(), out.Read()) << "in place";
    }
  }
}

TEST_F(OpsRowsTest, GatedActivationsEqualTheirFormulas) {
  for (const ActivationFunction f :
       {ActivationFunction::kSilu, ActivationFunction::kGelu, ActivationFunction::kGeluTanh,
        ActivationFunction::kClampedSwiglu}) {
    SCOPED_TRACE(static_cast<int>(f));
    for (const int64_t rows : {1, 77}) {
      const int64_t cols = 200;
      std::vector<float> x = RandomValues(rows * 2 * cols, &rng_);
      // Gates and ups from where they are clamped to where they are clamped.
      for (int64_t i = 0; i < cols; ++i) {
        x[static_cast<size_t>(i)] = static_cast<float>(i - cols / 2) / 8.0f;
        x[static_cast<size_t>(cols + i)] = static_cast<float>(i * 7 % cols - cols / 2) / 8.0f;
      }
      const TestMatrix input(device_.get(), rows, 2 * cols, x);
      const TestMatrix out(device_.get(), rows, cols, input.view().dtype);
      ASSERT_TRUE(backend()->ActivateGated(f, input.view(), out.view()).ok());
      std::vector<double> expected;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < cols; ++i) {
          const double gate = x[static_cast<size_t>(r * 2 * cols + i)];
          const double up = x[static_cast<size_t>(r * 2 * cols + cols + i)];
          expected.push_back(ActivatedGated(f, gate, up));
        }
      }
      ASSERT_NO_FATAL_FAILURE(ExpectNear(out.Read(), expected));
    }
  }
}

TEST_F(OpsRowsTest, GatherRowsCopiesTheRowsAskedFor) {
  const int64_t cols = 128;
  const std::vector<float> x = RandomValues(9 * cols, &rng_);
  const TestMatrix input(device_.get(), 9, cols, x);
  const std::vector<int32_t> rows{0, 3, 8};
  const TestMatrix out(device_.get(), 3, cols, input.view().dtype);
  ASSERT_TRUE(backend()->GatherRows(input.view(), rows, out.view()).ok());
  const std::vector<float> got = out.Read();
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t c = 0; c < cols; ++c) {
      ASSERT_EQ(got[i * static_cast<size_t>(cols) + static_cast<size_t>(c)],
                x[static_cast<size_t>(rows[i] * cols + c)]);
    }
  }
}

// Also of a step that is padded, as far as the device pads it: what it records gets rows of more
// tokens and sequences.
TEST_F(OpsRowsTest, RowsOfTheStepAreThoseOfItsListAndOfItsSequencesEnds) {
  const std::vector<int32_t> ids{1, 2, 3, 4, 5, 6}, positions{0, 1, 0, 0, 1, 2}, start{0, 2, 3, 6},
      context{2, 1, 3}, blocks{0, 1, 2}, rows{8, 0, 3, 3, 11, 5};
  const std::vector<float> rotation(6 * 32, 1.0f);
  const StepShape padded = backend()->Padded({3, 3, 6, /*uniform=*/false});
  for (const std::optional<StepShape>& shape : {std::optional<StepShape>(), {padded}}) {
    StepInputs step{ids, positions, start, context, blocks, 1, rotation, rotation, 16};
    step.padded = shape;
    step.rows = rows;
    ASSERT_TRUE(backend()->BeginStep(step).ok());
    const int64_t cols = 128;
    const std::vector<float> x = RandomValues(12 * cols, &rng_);
    const TestMatrix input(device_.get(), 12, cols, x);
    const auto expect = [&](const TestMatrix& out, const std::vector<int32_t>& expected) {
      const std::vector<float> got = out.Read();
      for (size_t i = 0; i < expected.size(); ++i) {
        for (int64_t c = 0; c < cols; ++c) {
          ASSERT_EQ(got[i * static_cast<size_t>(cols) + static_cast<size_t>(c)],
                    x[static_cast<size_t>(expected[i] * cols + c)]);
        }
      }
    };
    const TestMatrix by_token(device_.get(), shape.has_value() ? padded.num_tokens : 6, cols,
                              input.view().dtype);
    ASSERT_TRUE(backend()->GatherStepRows(input.view(), by_token.view()).ok());
    ASSERT_NO_FATAL_FAILURE(expect(by_token, rows));
    const TestMatrix by_sequence(device_.get(), shape.has_value() ? padded.num_seqs : 3, cols,
                                 input.view().dtype);
    ASSERT_TRUE(backend()->GatherLastRows(input.view(), by_sequence.view()).ok());
    ASSERT_NO_FATAL_FAILURE(expect(by_sequence, {1, 2, 5}));
  }
}

TEST_F(OpsRowsTest, EmbedLooksUpTheTokensOfTheStep) {
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8Weights}) {
    SCOPED_TRACE(WeightFormatName(format));
    CheckEmbedding(format, 0, 104);
    CheckEmbedding(format, 0, 64);
    CheckEmbedding(format, 64, 40);
  }
}

TEST_F(OpsRowsTest, CopiesGoToTheHostAndBackWithoutTouchingOtherColumns) {
  const int64_t rows = 7;
  const int64_t cols = 48;
  for (const DType dtype : {DType::kF32, backend()->activation_dtype()}) {
    const std::vector<float> x = RandomValues(rows * cols, &rng_);
    const TestMatrix matrix(device_.get(), rows, cols, dtype);
    ASSERT_TRUE(backend()->CopyFromHost(x, matrix.view()).ok());
    ASSERT_EQ(matrix.Read(), x);  // values of bf16 lose nothing

    // Rows [2, 5), columns [16, 24).
    const MatrixView part = matrix.view().Columns(16, 8).Rows(2, 3);
    std::vector<float> got(3 * 8, std::nanf(""));
    ASSERT_TRUE(backend()->CopyToHost(part, got).ok());
    const auto host = backend()->AllocateHost(rows * cols + 1);
    ASSERT_TRUE(host.ok()) << host.status();
    const std::span<float> whole = (*host)->values().first(x.size());
    ASSERT_TRUE(backend()->CopyToHost(matrix.view(), whole).ok());
    EXPECT_TRUE(std::equal(whole.begin(), whole.end(), x.begin()));
    std::vector<float> expected = x;
    for (size_t r = 0; r < 3; ++r) {
      for (size_t c = 0; c < 8; ++c) {
        const size_t at = (r + 2) * static_cast<size_t>(cols) + c + 16;
        ASSERT_EQ(got[r * 8 + c], x[at]);
        got[r * 8 + c] *= 2.0f;
        expected[at] = got[r * 8 + c];
      }
    }
    ASSERT_TRUE(backend()->CopyFromHost(got, part).ok());
    ASSERT_EQ(matrix.Read(), expected);
  }
}

TEST_F(OpsRowsTest, CopyFromHostRoundsToTheNearest) {
  const TestMatrix matrix(device_.get(), 1, 8, backend()->activation_dtype());
  const std::vector<float> x{1.0f, 1.004f,   1.0f / 3.0f, -1e30f,
                             0.0f, 3.14159f, -2.71828f,   65537.0f};
  ASSERT_TRUE(backend()->CopyFromHost(x, matrix.view()).ok());
  const bool f32 = matrix.view().dtype == DType::kF32;
  const std::vector<float> got = matrix.Read();
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(got[i], f32 ? x[i] : Bf16ToFloat(FloatToBf16(x[i])));
  }
}

TEST_F(OpsRowsTest, ACopyWritesItsOwnColumnsAlone) {
  const std::vector<float> values = RandomValues(5 * 64, &rng_);
  const TestMatrix x(device_.get(), 5, 64, values);
  const TestMatrix out(device_.get(), 5, 192, x.view().dtype);
  ASSERT_TRUE(backend()->Copy(x.view(), out.view().Columns(64, 64)).ok());
  const std::vector<float> from = x.Read();
  const std::vector<float> got = out.Read();
  for (size_t i = 0; i < got.size(); ++i) {
    const size_t column = i % 192;
    if (column < 64 || column >= 128) {
      ASSERT_TRUE(std::isnan(got[i])) << "element " << i << " was written";
    } else {
      ASSERT_EQ(got[i], from[i / 192 * 64 + column - 64]) << "element " << i;
    }
  }
}

TEST_F(OpsRowsTest, GatheredColumnsHaveMinusInfinityInTheGaps) {
  const int64_t rows = 3;
  const int64_t cols = 40;
  const int64_t out_cols = 1003;
  const std::vector<float> values = RandomValues(rows * cols, &rng_);
  const TestMatrix x(device_.get(), rows, cols, DType::kF32);
  ASSERT_TRUE(backend()->CopyFromHost(values, x.view()).ok());
  std::vector<float> columns;
  for (int64_t c = 0; c < out_cols; ++c) {
    columns.push_back(c % 7 == 0 ? static_cast<float>(c * 11 % cols) : -1.0f);
  }
  const auto on_device = *backend()->UploadF32(columns);
  const TestMatrix out(device_.get(), rows, out_cols, DType::kF32);
  ASSERT_TRUE(backend()->GatherColumns(x.view(), *on_device, out.view()).ok());
  const std::vector<float> got = out.Read();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < out_cols; ++c) {
      const float expected = c % 7 == 0 ? values[static_cast<size_t>(r * cols + c * 11 % cols)]
                                        : -std::numeric_limits<float>::infinity();
      ASSERT_EQ(got[static_cast<size_t>(r * out_cols + c)], expected) << "row " << r << ", " << c;
    }
  }
}

TEST_F(OpsRowsTest, TimerGivesTheTimeBetweenMarksOnceEach) {
  const int64_t rows = 512;
  const int64_t cols = 1024;
  const TestMatrix x(device_.get(), rows, cols, RandomValues(rows * cols, &rng_));
  const TestMatrix out(device_.get(), rows, cols, x.view().dtype);
  const auto weight = *backend()->UploadF32(RandomValues(cols, &rng_));
  const auto timer = backend()->MakeTimer(RealClock());
  EXPECT_TRUE(timer->Take()->empty());
  for (const size_t operations : {size_t{1}, size_t{6}, size_t{3}}) {
    ASSERT_TRUE(timer->Mark().ok());
    EXPECT_TRUE(backend()->RmsNorm(x.view(), *weight, 1e-5f, out.view()).ok());
    for (size_t i = 0; i < operations; ++i) {
      ASSERT_TRUE(timer->Mark().ok());
      ASSERT_TRUE(backend()->RmsNorm(x.view(), *weight, 1e-5f, out.view()).ok());
    }
    const auto seconds = timer->Take();
    ASSERT_TRUE(seconds.ok()) << seconds.status();
    ASSERT_EQ(seconds->size(), operations);
    for (const double gap : *seconds) {
      EXPECT_GT(gap, 0.0);
      EXPECT_LT(gap, 10.0);
    }
  }
}

}  // namespace
}  // namespace pingti::worker
