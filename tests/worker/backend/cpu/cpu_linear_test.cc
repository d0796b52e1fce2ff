// Matrix products of every panel format, on every instruction set that this machine runs, against
// float64 references written from the formula; and bitwise independence of the batch.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

constexpr int kSeed = 20240611;

std::vector<std::string> Kernels() {
  std::vector<std::string> names;
  for (const char* name : {"portable", "avx2", "avx512"}) {
    if (MakeCpuBackend({.num_threads = 1, .kernels = name}).ok()) names.push_back(name);
  }
  return names;
}

struct Case {
  DType dtype;
  WeightFormat format;
  double tolerance;  // relative to the norm of the products
};

// Quantized activations bound the integer formats' error, 8 bits of mantissa that of bf16.
constexpr Case kCases[] = {
    {DType::kF32, WeightFormat::kF32, 1e-6},       {DType::kF16, WeightFormat::kF32, 1e-6},
    {DType::kQ4_1, WeightFormat::kF32, 1e-6},      {DType::kF32, WeightFormat::kBf16, 6e-3},
    {DType::kBf16, WeightFormat::kStored, 6e-3},   {DType::kF32, WeightFormat::kInt8, 2e-2},
    {DType::kQ8_0, WeightFormat::kStored, 1e-2},   {DType::kQ4_0, WeightFormat::kStored, 1e-2},
    {DType::kQ4_1, WeightFormat::kStored, 1e-2},   {DType::kQ4K, WeightFormat::kStored, 1e-2},
    {DType::kQ5K, WeightFormat::kStored, 1e-2},    {DType::kQ6K, WeightFormat::kStored, 1e-2},
    {DType::kQ5_0, WeightFormat::kStored, 1e-2},   {DType::kQ5_1, WeightFormat::kStored, 1e-2},
    {DType::kQ2K, WeightFormat::kStored, 1e-2},    {DType::kQ3K, WeightFormat::kStored, 1e-2},
    {DType::kIq4Nl, WeightFormat::kStored, 1e-2},  {DType::kIq4Xs, WeightFormat::kStored, 1e-2},
    {DType::kIq2Xxs, WeightFormat::kStored, 1e-2}, {DType::kIq3S, WeightFormat::kStored, 1e-2},
    {DType::kTq2_0, WeightFormat::kStored, 1e-2},  {DType::kMxfp4, WeightFormat::kStored, 1e-2},
    {DType::kIq4Nl, WeightFormat::kF32, 1e-6},     {DType::kIq3S, WeightFormat::kF32, 1e-6},
};

// Where a block of the type has its f16 scale.
size_t ScaleAt(DType dtype) {
  switch (dtype) {
    case DType::kQ6K:
      return 208;
    case DType::kQ2K:
      return 80;
    case DType::kQ3K:
      return 108;
    case DType::kTq2_0:
      return 64;
    default:
      return 0;
  }
}

// Random bytes of `dtype` whose scales are sane.
std::vector<uint8_t> RandomWeights(DType dtype, int64_t count, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  std::vector<uint8_t> bytes(static_cast<size_t>(count / BlockElements(dtype) * BlockBytes(dtype)));
  if (!IsBlockType(dtype)) {
    for (int64_t i = 0; i < count; ++i) {
      const float value = normal(*rng);
      const uint16_t half = dtype == DType::kF16 ? FloatToF16(value) : FloatToBf16(value);
      const auto size = static_cast<size_t>(BlockBytes(dtype));
      std::memcpy(&bytes[static_cast<size_t>(i) * size],
                  size == 4 ? static_cast<const void*>(&value) : &half, size);
    }
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>((*rng)());
  const int64_t block = BlockBytes(dtype);
  for (size_t b = 0; b < bytes.size(); b += static_cast<size_t>(block)) {
    const uint16_t scale = FloatToF16(0.01f + std::fabs(normal(*rng)) * 0.05f);
    const uint16_t min = FloatToF16(normal(*rng) * 0.1f);
    if (dtype == DType::kMxfp4) {
      bytes[b] = 120;
      continue;
    }
    const size_t at = b + ScaleAt(dtype);
    std::memcpy(&bytes[at], &scale, 2);
    const bool has_min = dtype == DType::kQ4_1 || dtype == DType::kQ4K || dtype == DType::kQ5K ||
                         dtype == DType::kQ5_1 || dtype == DType::kQ2K;
    if (has_min) std::memcpy(&bytes[at + 2], &min, 2);
  }
  return bytes;
}

MatrixSource Source(const std::vector<uint8_t>& bytes, DType dtype, int64_t rows, int64_t cols) {
  MatrixSource source;
  source.tensor = {"w", dtype, {rows, cols}, bytes.data(), static_cast<int64_t>(bytes.size())};
  return source;
}

class CpuLinearTest : public ::testing::TestWithParam<std::string> {
 protected:
  CpuLinearTest() : backend_(*MakeCpuBackend({.num_threads = 2, .kernels = GetParam()})) {
    EXPECT_TRUE(
        backend_
            ->AllocateWorkspace(
                {.max_tokens = 64, .max_seqs = 8, .max_in_features = 1024, .plain_operands = true})
            .ok());
  }

  // y [rows, out] for x [rows, in]; outputs start poisoned.
  std::vector<float> Run(const LinearWeight& weight, std::vector<float> x, int64_t rows) {
    std::vector<float> y(static_cast<size_t>(rows * weight.out_features()), std::nanf(""));
    const int64_t in = weight.in_features();
    const int64_t out = weight.out_features();
    EXPECT_TRUE(backend_
                    ->Linear(weight, MatrixView{x.data(), DType::kF32, rows, in, in},
                             {y.data(), DType::kF32, rows, out, out})
                    .ok());
    return y;
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(CpuLinearTest, EveryFormatIsWithinItsToleranceOfTheFormula) {
  std::mt19937 rng(kSeed);
  std::normal_distribution<float> normal;
  for (const Case& c : kCases) {
    for (const int64_t out : {1, 16, 37}) {
      const int64_t in = IsBlockType(c.dtype) ? 2 * BlockElements(c.dtype) : 83;
      const std::vector<uint8_t> bytes = RandomWeights(c.dtype, out * in, &rng);
      std::vector<float> w(static_cast<size_t>(out * in));
      Dequantize(c.dtype, bytes.data(), out * in, w.data());
      LinearSource source;
      source.parts = {Source(bytes, c.dtype, out, in)};
      source.format = c.format;
      for (int64_t i = 0; i < out; ++i) source.bias.push_back(normal(rng));
      auto weight = backend_->PrepareLinear(source);
      ASSERT_TRUE(weight.ok()) << weight.status();
      const int64_t rows = 29;
      std::vector<float> x(static_cast<size_t>(rows * in));
      for (float& value : x) value = normal(rng);
      const std::vector<float> y = Run(**weight, x, rows);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t n = 0; n < out; ++n) {
          double sum = static_cast<double>(source.bias[static_cast<size_t>(n)]);
          double norm_w = 0.0;
          double norm_x = 0.0;
          for (int64_t k = 0; k < in; ++k) {
            const double a = static_cast<double>(x[static_cast<size_t>(r * in + k)]);
            const double b = static_cast<double>(w[static_cast<size_t>(n * in + k)]);
            sum += a * b;
            norm_w += b * b;
            norm_x += a * a;
          }
          ASSERT_NEAR(y[static_cast<size_t>(r * out + n)], sum,
                      c.tolerance * std::sqrt(norm_w * norm_x) + 1e-6)
              << DTypeName(c.dtype) << " as " << WeightFormatName(c.format) << " [" << out << ", "
              << in << "] row " << r << " column " << n << " seed " << kSeed;
        }
      }
    }
  }
}

TEST_P(CpuLinearTest, ARowIsTheSameBitForBitInEveryBatch) {
  std::mt19937 rng(kSeed);
  std::normal_distribution<float> normal;
  for (const Case& c : kCases) {
    const int64_t in = 256;
    const int64_t out = 48;
    const std::vector<uint8_t> bytes = RandomWeights(c.dtype, out * in, &rng);
    LinearSource source;
    source.parts = {Source(bytes, c.dtype, out, in)};
    source.format = c.format;
    auto weight = backend_->PrepareLinear(source);
    ASSERT_TRUE(weight.ok()) << weight.status();
    std::vector<float> x(static_cast<size_t>(33 * in));
    for (float& value : x) value = normal(rng);
    const std::vector<float> together = Run(**weight, x, 33);
    for (int64_t r = 0; r < 33; ++r) {
      const std::vector<float> alone =
          Run(**weight, std::vector<float>(x.begin() + r * in, x.begin() + (r + 1) * in), 1);
      ASSERT_EQ(std::memcmp(alone.data(), &together[static_cast<size_t>(r * out)],
                            static_cast<size_t>(out) * 4),
                0)
          << DTypeName(c.dtype) << " as " << WeightFormatName(c.format) << " row " << r;
    }
  }
}

TEST_P(CpuLinearTest, AWeightTellsItsFormat) {
  struct Told {
    DType dtype;
    WeightFormat format;
    const char* name;
  };
  constexpr Told kTold[] = {
      {DType::kBf16, WeightFormat::kF32, "f32"},
      {DType::kQ4_0, WeightFormat::kBf16, "bf16"},
      {DType::kF16, WeightFormat::kStored, "bf16"},
      {DType::kBf16, WeightFormat::kInt8Weights, "bf16"},
      {DType::kBf16, WeightFormat::kInt8, "int8 (F32 per row) x int8 per token"},
      {DType::kQ8_0, WeightFormat::kStored, "int8 (F16 per 32) x int8 per 32"},
      {DType::kQ6K, WeightFormat::kStored, "int8 (F16 per 32) x int8 per 32"},
      {DType::kQ4_0, WeightFormat::kStored, "int4 (F16 per 32) x int8 per 32"},
      {DType::kQ4K, WeightFormat::kStored, "int4 (F16 per 32, with zeros) x int8 per 32"},
      {DType::kIq4Xs, WeightFormat::kStored, "4-bit list (F16 per 32) x int8 per 32"},
      {DType::kQ5_0, WeightFormat::kStored, "int8 (F16 per 32) x int8 per 32"},
  };
  std::mt19937 rng(kSeed);
  for (const Told& told : kTold) {
    const std::vector<uint8_t> bytes = RandomWeights(told.dtype, 16 * 256, &rng);
    LinearSource source;
    source.parts = {Source(bytes, told.dtype, 16, 256)};
    source.format = told.format;
    const auto weight = backend_->PrepareLinear(source);
    ASSERT_TRUE(weight.ok()) << weight.status();
    EXPECT_EQ(MatrixFormatName((*weight)->format()), told.name);
    EXPECT_EQ((*weight)->operand_type(), (*weight)->format().operand);
  }
}

TEST_P(CpuLinearTest, InterleavedHeadsComeOutInHalves) {
  const int64_t rows = 8;  // two heads of four
  std::vector<float> w(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) w[static_cast<size_t>(i)] = static_cast<float>(i);
  LinearSource source;
  source.parts.resize(1);
  source.parts[0].tensor = {"q", DType::kF32, {rows, 1}, w.data(), rows * 4};
  source.parts[0].interleaved_heads = 2;
  source.format = WeightFormat::kF32;
  auto weight = backend_->PrepareLinear(source);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ(Run(**weight, {1.0f}, 1), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
}

INSTANTIATE_TEST_SUITE_P(Kernels, CpuLinearTest, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace pingti::worker
