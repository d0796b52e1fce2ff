// What adapters add to products against float64, on the backend that this program is linked with:
// every rank, stacks of modules, adapters that leave modules as they are, steps that mix them, and
// weights of every kind of product.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "worker/backend/lora.h"

namespace pingti::worker {
namespace {

using testing::RandomValues;
using testing::TestMatrix;

constexpr int32_t kSlots = 3;
constexpr int64_t kMaxRank = 64;
constexpr int64_t kMaxTokens = 320;
constexpr int64_t kMaxSeqs = 16;
constexpr int64_t kHeadDim = 64;

struct Case {
  int64_t in_features;
  std::vector<LoraShape::Part> parts;
  int32_t num_modules;
};

const Case kCases[] = {
    {64, {{0, 64}}, 1},
    {192, {{0, 128}, {1, 64}, {2, 64}}, 3},  // q, k and v
    {136, {{0, 200}, {1, 200}}, 2},          // sizes that no tile divides
    {512, {{0, 320}, {1, 8}, {0, 72}}, 2},   // parts of one module apart from each other
};

// How the weights of the products are kept.
constexpr WeightFormat kFormats[] = {WeightFormat::kBf16, WeightFormat::kInt8,
                                     WeightFormat::kInt8Weights};

// One sequence of a step.
struct Segment {
  int32_t slot;
  int32_t tokens;
};

class OpsLoraTest : public ::testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  void SetUp() override {
    device_ = testing::MakeDeviceUnderTest(std::get<0>(GetParam()));
    const Case& shape = kCases[std::get<1>(GetParam())];
    shape_ = {shape.in_features, shape.num_modules, shape.parts, kMaxRank, kSlots};
    StepLimits limits;
    limits.max_tokens = kMaxTokens;
    limits.max_seqs = kMaxSeqs;
    limits.max_in_features = shape.in_features;
    limits.max_blocks_per_seq = 32;
    limits.num_heads = 1;
    limits.num_kv_heads = 1;
    limits.head_dim = kHeadDim;
    limits.vocab_size = 100;
    limits.max_adapters = kSlots;
    limits.plain_operands = true;
    for (const WeightFormat format : kFormats) products_.push_back(MakeProduct(format, 0.1f));
    bias_alone_ = MakeProduct(WeightFormat::kBf16, 0.0f);
    // Beside a product of another size, which is left as it is.
    const LoraShape other = {72, 2, {{0, 8}, {1, 24}}, kMaxRank, kSlots};
    auto slots = backend()->AllocateLora(std::vector<LoraShape>{other, shape_});
    ASSERT_TRUE(slots.ok()) << slots.status();
    slots_ = *std::move(slots);
    weights_ = &slots_->product(1);
    ASSERT_TRUE(backend()->AllocateWorkspace(limits).ok());
    matrices_.resize(kSlots);
  }
  Backend* backend() { return device_->backend(); }

  // Random weights times `scale`, with a bias.
  std::unique_ptr<LinearWeight> MakeProduct(WeightFormat format, float scale) {
    std::vector<float> values = RandomValues(shape_.out_features() * shape_.in_features, &rng_);
    for (float& value : values) value *= scale;
    LinearSource source;
    source.format = format;
    source.bias = RandomValues(shape_.out_features(), &rng_);
    source.parts.emplace_back().tensor = {"w",
                                          DType::kF32,
                                          {shape_.out_features(), shape_.in_features},
                                          values.data(),
                                          static_cast<int64_t>(values.size() * sizeof(float))};
    auto weight = backend()->PrepareLinear(source);
    EXPECT_TRUE(weight.ok()) << weight.status();
    return weight.ok() ? *std::move(weight) : nullptr;
  }

  void Set(int32_t slot, const std::vector<int64_t>& ranks) {
    LoraMatrices matrices;
    matrices.ranks = ranks;
    for (const int64_t rank : ranks) {
      matrices.a.push_back(RandomValues(rank * shape_.in_features, &rng_));
    }
    for (const LoraShape::Part& part : shape_.parts) {
      matrices.b.push_back(
          RandomValues(part.columns * ranks[static_cast<size_t>(part.module)], &rng_));
    }
    auto image = slots_->NewImage();
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_TRUE(slots_->Fill(1, matrices, image->get()).ok());
    ASSERT_TRUE(backend()->SetLora(*slots_, slot, *std::move(image)).ok());
    matrices_[static_cast<size_t>(slot)] = std::move(matrices);
  }

  absl::Status Begin(const std::vector<Segment>& runs, bool with_slots = true,
                     const std::optional<StepShape>& padded = std::nullopt) {
    arrays_ = {};
    arrays_.start = {0};
    for (const Segment& run : runs) {
      for (int32_t i = 0; i < run.tokens; ++i) {
        arrays_.ids.push_back(0);
        arrays_.positions.push_back(i);
      }
      arrays_.start.push_back(static_cast<int32_t>(arrays_.ids.size()));
      arrays_.context.push_back(run.tokens);
      if (with_slots) arrays_.slots.push_back(run.slot);
    }
    arrays_.table.assign(runs.size() * 32, 0);
    arrays_.rope.assign(arrays_.ids.size() * (kHeadDim / 2), 0.0f);
    return backend()->BeginStep({arrays_.ids, arrays_.positions, arrays_.start, arrays_.context,
                                 arrays_.table, 32, arrays_.rope, arrays_.rope, 16, padded,
                                 arrays_.slots});
  }

  // A product with and without what adapters add to it.
  struct Results {
    std::vector<float> plain, adapted;
  };
  Results Multiply(const LinearWeight& product, const std::vector<Segment>& runs,
                   const std::vector<float>& x) {
    int64_t rows = 0;
    for (const Segment& run : runs) rows += run.tokens;
    const TestMatrix input(device_.get(), rows, shape_.in_features, x);
    const DType dtype = backend()->activation_dtype();
    const TestMatrix plain(device_.get(), rows, shape_.out_features(), dtype);
    const TestMatrix adapted(device_.get(), rows, shape_.out_features(), dtype);
    EXPECT_TRUE(Begin(runs).ok());
    for (const absl::Status& done :
         {backend()->Linear(product, {input.view()}, plain.view()),
          backend()->AdaptedLinear(product, *weights_, {input.view()}, adapted.view())}) {
      EXPECT_TRUE(done.ok()) << done;
    }
    return {plain.Read(), adapted.Read()};
  }

  // Holds a row against the definition.
  void CheckRow(int32_t slot, const float* x, const float* before, const float* after) {
    const int64_t in = shape_.in_features;
    int64_t column = 0;
    for (size_t p = 0; p < shape_.parts.size(); ++p) {
      const LoraShape::Part& part = shape_.parts[p];
      const LoraMatrices* of = slot < 0 ? nullptr : &matrices_[static_cast<size_t>(slot)];
      const auto module = static_cast<size_t>(part.module);
      const int64_t rank = of == nullptr ? 0 : of->ranks[module];
      std::vector<double> shrunk(static_cast<size_t>(rank), 0.0);
      for (int64_t r = 0; r < rank; ++r) {
        for (int64_t i = 0; i < in; ++i) {
          shrunk[static_cast<size_t>(r)] +=
              double{x[i]} * of->a[module][static_cast<size_t>(r * in + i)];
        }
      }
      for (int64_t n = 0; n < part.columns; ++n, ++column) {
        double sum = before[column];
        double size = std::abs(before[column]);
        for (int64_t r = 0; r < rank; ++r) {
          const double term =
              shrunk[static_cast<size_t>(r)] * of->b[p][static_cast<size_t>(n * rank + r)];
          sum += term;
          size = std::max(size, std::abs(term));
        }
        if (rank == 0) {
          ASSERT_EQ(after[column], before[column]) << "column " << column << " of no adapter";
        } else {
          const double scale = std::max(size * std::sqrt(static_cast<double>(rank)), 1.0);
          ASSERT_NEAR(after[column], sum, 4 * device_->tolerance() * scale) << "column " << column;
        }
      }
    }
  }

  void Check(const std::vector<Segment>& runs, size_t format = 0) {
    int64_t rows = 0;
    for (const Segment& run : runs) rows += run.tokens;
    const std::vector<float> x = RandomValues(rows * shape_.in_features, &rng_);
    const Results results = Multiply(*products_[format], runs, x);
    int64_t row = 0;
    for (const Segment& run : runs) {
      for (int32_t i = 0; i < run.tokens; ++i, ++row) {
        SCOPED_TRACE(::testing::Message() << "row " << row << ", slot " << run.slot);
        ASSERT_NO_FATAL_FAILURE(CheckRow(run.slot, x.data() + row * shape_.in_features,
                                         results.plain.data() + row * shape_.out_features(),
                                         results.adapted.data() + row * shape_.out_features()));
      }
    }
  }

  struct Arrays {
    std::vector<int32_t> ids, positions, start, context, table, slots;
    std::vector<float> rope;
  };

  std::mt19937 rng_{7};
  std::unique_ptr<testing::DeviceUnderTest> device_;
  LoraShape shape_;
  std::vector<std::unique_ptr<LinearWeight>> products_;  // by format
  std::unique_ptr<LinearWeight> bias_alone_;             // whose products are exact
  std::unique_ptr<LoraSlots> slots_;
  const LoraWeights* weights_ = nullptr;  // of the product
  std::vector<LoraMatrices> matrices_;
  Arrays arrays_;
};

std::vector<int64_t> Ranks(int32_t modules, int64_t first) {
  std::vector<int64_t> ranks;
  for (int32_t m = 0; m < modules; ++m) ranks.push_back(std::min(first + 5 * m, kMaxRank));
  return ranks;
}

TEST_P(OpsLoraTest, RowsGetWhatTheirAdaptersAdd) {
  for (const int64_t rank : {1, 16, 33, 64}) {
    SCOPED_TRACE(::testing::Message() << "rank " << rank);
    Set(0, Ranks(shape_.num_modules, rank));
    Set(1, Ranks(shape_.num_modules, 3));
    Set(2, Ranks(shape_.num_modules, 16));
    Check({{0, 1}});
    Check({{0, 1}, {1, 1}, {-1, 1}, {2, 1}, {0, 1}, {0, 1}, {1, 1}});
    Check({{-1, 3}, {0, 17}, {1, 70}, {-1, 1}, {0, 40}, {2, 18}});
    if (HasFatalFailure()) return;
  }
}

TEST_P(OpsLoraTest, WeightsOfEveryFormatTakeAdapters) {
  for (int32_t slot = 0; slot < kSlots; ++slot) Set(slot, Ranks(shape_.num_modules, 12 + slot));
  for (size_t format = 0; format < std::size(kFormats); ++format) {
    SCOPED_TRACE(WeightFormatName(kFormats[format]));
    Check({{0, 1}, {1, 2}, {-1, 1}, {2, 18}}, format);
    if (backend()->name() != "cpu") Check({{0, 200}, {-1, 100}}, format);  // other kernels there
    if (HasFatalFailure()) return;
  }
}

TEST_P(OpsLoraTest, ModulesThatAnAdapterLacksStayAsTheyAre) {
  std::vector<int64_t> ranks(static_cast<size_t>(shape_.num_modules), 0);
  ranks.back() = 16;
  Set(0, ranks);
  Check({{0, 5}, {-1, 2}});
  // What was in the slot before is gone.
  ranks.assign(ranks.size(), 0);
  Set(0, ranks);
  Check({{0, 5}, {-1, 2}});
}

TEST_P(OpsLoraTest, ARowsResultDoesNotDependOnItsNeighbours) {
  Set(0, Ranks(shape_.num_modules, 16));
  Set(1, Ranks(shape_.num_modules, 40));
  const std::vector<Segment> runs = {{1, 30}, {0, 1}, {-1, 4}, {1, 1}, {0, 50}};
  const int64_t rows = 86;
  const std::vector<float> x = RandomValues(rows * shape_.in_features, &rng_);
  const std::vector<float> together = Multiply(*bias_alone_, runs, x).adapted;
  int64_t row = 0;  // the first of each sequence
  for (const Segment& run : runs) {
    const auto x_row = x.begin() + row * shape_.in_features;
    const std::vector<float> alone =
        Multiply(*bias_alone_, {{run.slot, 1}}, {x_row, x_row + shape_.in_features}).adapted;
    const auto beside_others = together.begin() + row * shape_.out_features();
    EXPECT_EQ(alone, std::vector<float>(beside_others, beside_others + shape_.out_features()))
        << "row " << row;
    row += run.tokens;
  }
}

TEST_P(OpsLoraTest, AStepThatIsRepeatedServesAnyMixOfAdapters) {
  const int64_t rows = 6;
  const TestMatrix input(device_.get(), rows, shape_.in_features,
                         RandomValues(rows * shape_.in_features, &rng_));
  const DType dtype = backend()->activation_dtype();
  const TestMatrix plain(device_.get(), rows, shape_.out_features(), dtype);
  TestMatrix output(device_.get(), rows, shape_.out_features(), dtype);
  const std::vector<std::vector<int32_t>> mixes = {
      {0, 0, 0, 0, 0, 0}, {0, 1, 2, 0, 1, 2}, {-1, 1, 1, -1, 2, 2}, {2, -1, 0, 0, 1, -1}};
  for (int32_t slot = 0; slot < kSlots; ++slot) Set(slot, Ranks(shape_.num_modules, 4 + slot));
  for (size_t step = 0; step < 3 * mixes.size(); ++step) {
    std::vector<Segment> runs;
    for (const int32_t slot : mixes[step % mixes.size()]) runs.push_back({slot, 1});
    if (step == mixes.size() + 1) Set(1, Ranks(shape_.num_modules, 20));  // between two steps
    const std::vector<float> x = input.Read();
    StepShape shape;
    shape.num_seqs = shape.num_tokens = static_cast<int32_t>(rows);
    shape.query_len = 1;
    shape.adapters = true;
    ASSERT_TRUE(Begin(runs, /*with_slots=*/true, shape).ok());
    ASSERT_TRUE(backend()->Linear(*products_[0], {input.view()}, plain.view()).ok());
    const absl::Status status = backend()->Issue(shape, [&] {
      return backend()->AdaptedLinear(*products_[0], *weights_, {input.view()}, output.view());
    });
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<float> before = plain.Read();
    const std::vector<float> after = output.Read();
    for (int64_t row = 0; row < rows; ++row) {
      SCOPED_TRACE(::testing::Message() << "step " << step << ", row " << row);
      ASSERT_NO_FATAL_FAILURE(CheckRow(
          runs[static_cast<size_t>(row)].slot, x.data() + row * shape_.in_features,
          before.data() + row * shape_.out_features(), after.data() + row * shape_.out_features()));
    }
    output.Write(RandomValues(rows * shape_.out_features(), &rng_));
  }
}

TEST_P(OpsLoraTest, AStepWithoutAdaptersChangesNothing) {
  Set(0, Ranks(shape_.num_modules, 16));
  const TestMatrix input(device_.get(), 4, shape_.in_features,
                         RandomValues(4 * shape_.in_features, &rng_));
  const DType dtype = backend()->activation_dtype();
  const TestMatrix plain(device_.get(), 4, shape_.out_features(), dtype);
  const TestMatrix output(device_.get(), 4, shape_.out_features(), dtype);
  ASSERT_TRUE(Begin({{0, 4}}, /*with_slots=*/false).ok());
  ASSERT_TRUE(backend()->Linear(*products_[0], {input.view()}, plain.view()).ok());
  ASSERT_TRUE(
      backend()->AdaptedLinear(*products_[0], *weights_, {input.view()}, output.view()).ok());
  EXPECT_EQ(output.Read(), plain.Read());
}

INSTANTIATE_TEST_SUITE_P(Shapes, OpsLoraTest,
                         ::testing::Combine(::testing::ValuesIn(testing::DeviceVariants()),
                                            ::testing::Range(0, 4)),
                         [](const auto& test) {
                           std::string name = "shape" + std::to_string(std::get<1>(test.param)) +
                                              "_" + std::get<0>(test.param);
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace pingti::worker
