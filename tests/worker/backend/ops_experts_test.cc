// A mixture of experts against float64, on the backend that this program is linked with: the choice
// of experts, products with their matrices, and the weighted sum. What an operation says of rows in
// their order is never looked at: a naive model chooses, multiplies and adds token by token.
#include <gtest/gtest.h>

#include <algorithm>
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

using testing::RandomValues;
using testing::TestMatrix;

constexpr int kSeed = 25;
constexpr int64_t kMaxTokens = 300;
constexpr int64_t kHidden = 64;
constexpr int64_t kInner = 48;
constexpr int64_t kDeep = 448;  // columns of more steps than a kernel has stages

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

struct Choice {
  std::vector<int64_t> experts;  // in the order of their choice
  std::vector<double> weights;
};

// By the definition in expert_routing.h.
Choice Choose(const float* logits, const std::vector<float>& bias, const ExpertRouting& routing) {
  const auto count = static_cast<size_t>(routing.num_experts);
  std::vector<double> scores(count);
  double sum = 0.0;
  for (size_t e = 0; e < count; ++e) {
    const bool sigmoid = routing.score == RouterScore::kSigmoid;
    scores[e] = sigmoid ? Sigmoid(logits[e]) : std::exp(static_cast<double>(logits[e]));
    sum += scores[e];
  }
  if (routing.score == RouterScore::kSoftmax) {
    for (double& score : scores) score /= sum;
  }
  std::vector<double> choice = scores;
  for (size_t e = 0; e < bias.size(); ++e) choice[e] += bias[e];
  const auto group_size = static_cast<int64_t>(count) / routing.num_groups;
  std::vector<std::pair<double, int64_t>> groups;  // least first
  for (int64_t g = 0; g < routing.num_groups; ++g) {
    std::vector<double> group(choice.begin() + g * group_size,
                              choice.begin() + (g + 1) * group_size);
    std::sort(group.rbegin(), group.rend());
    double best = 0.0;
    for (int64_t i = 0; i < routing.group_best; ++i) best += group[static_cast<size_t>(i)];
    groups.push_back({-best, g});
  }
  std::sort(groups.begin(), groups.end());
  std::vector<std::pair<double, int64_t>> order;
  for (int64_t i = 0; i < routing.groups_per_token; ++i) {
    const int64_t first = groups[static_cast<size_t>(i)].second * group_size;
    for (int64_t e = first; e < first + group_size; ++e) {
      order.push_back({-choice[static_cast<size_t>(e)], e});
    }
  }
  std::sort(order.begin(), order.end());
  Choice chosen;
  double total = 0.0;
  for (int64_t i = 0; i < routing.experts_per_token; ++i) {
    const int64_t e = order[static_cast<size_t>(i)].second;
    chosen.experts.push_back(e);
    chosen.weights.push_back(scores[static_cast<size_t>(e)]);
    total += chosen.weights.back();
  }
  for (double& weight : chosen.weights) {
    weight *= routing.scale / (routing.normalize ? total : 1.0);
  }
  return chosen;
}

// One matrix of all experts, and what it means: [experts, rows, cols].
struct ExpertMatrix {
  std::vector<uint16_t> bf16;
  std::vector<float> values;
  std::vector<float> bias;  // [experts, rows]; empty: none
  std::unique_ptr<LinearWeight> weight;
  int64_t rows = 0;
  int64_t cols = 0;
};

class OpsExpertsTest : public ::testing::Test {
 protected:
  OpsExpertsTest() : device_(testing::MakeDeviceUnderTest()), rng_(kSeed) {
    StepLimits limits;
    limits.plain_operands = true;
    limits.max_tokens = kMaxTokens;
    limits.max_seqs = 8;
    limits.max_in_features = kDeep;
    limits.max_blocks_per_seq = 4;
    limits.num_heads = 4;
    limits.num_kv_heads = 2;
    limits.head_dim = 64;
    limits.vocab_size = 100;
    limits.num_experts = 256;
    limits.experts_per_token = 8;
    limits.max_expert_inner = kInner;
    EXPECT_TRUE(device_->backend()->AllocateWorkspace(limits).ok());
  }
  Backend* backend() { return device_->backend(); }

  // In two parts per expert where `parts` says so.
  ExpertMatrix MakeMatrix(int64_t experts, int64_t rows, int64_t cols, int64_t parts,
                          WeightFormat format, bool bias = false) {
    ExpertMatrix matrix;
    matrix.rows = rows;
    matrix.cols = cols;
    matrix.values = RandomValues(experts * rows * cols, &rng_);
    for (const float value : matrix.values) matrix.bf16.push_back(FloatToBf16(value));
    if (bias) matrix.bias = RandomValues(experts * rows, &rng_);
    matrix.weight = Prepare(matrix, 0, experts, parts, format);
    return matrix;
  }

  // Of `count` experts from `first` on.
  std::unique_ptr<LinearWeight> Prepare(const ExpertMatrix& matrix, int64_t first, int64_t count,
                                        int64_t parts, WeightFormat format) {
    const int64_t cols = matrix.cols;
    LinearSource source;
    source.format = format;
    source.experts = count;
    if (!matrix.bias.empty()) {
      source.bias.assign(matrix.bias.begin() + first * matrix.rows,
                         matrix.bias.begin() + (first + count) * matrix.rows);
    }
    const int64_t part_rows = matrix.rows / parts;
    for (int64_t p = first * parts; p < (first + count) * parts; ++p) {
      MatrixSource part;
      part.tensor = {"w",
                     DType::kBf16,
                     {part_rows, cols},
                     &matrix.bf16[static_cast<size_t>(p * part_rows * cols)],
                     part_rows * cols * 2};
      source.parts.push_back(part);
    }
    auto weight = backend()->PrepareLinear(source);
    EXPECT_TRUE(weight.ok()) << weight.status();
    return *std::move(weight);
  }

  // What the weight views, and what it means.
  struct PackedMatrix {
    std::vector<testing::BuiltPacked> parts;
    std::vector<uint8_t> blocks;
    ExpertMatrix matrix;
  };
  // Of experts of `parts` parts each, every one as `spec` says.
  PackedMatrix MakePacked(const testing::PackedSpec& spec, int64_t experts, int64_t parts) {
    PackedMatrix packed;
    packed.matrix.rows = spec.rows * parts;
    packed.matrix.cols = spec.cols;
    packed.matrix.bias = RandomValues(experts * packed.matrix.rows, &rng_);
    LinearSource source;
    source.format = WeightFormat::kStored;
    source.experts = experts;
    source.bias = packed.matrix.bias;
    for (int64_t i = 0; i < experts * parts; ++i) packed.parts.push_back(BuildPacked(spec, &rng_));
    for (const testing::BuiltPacked& part : packed.parts) {
      std::vector<float>& values = packed.matrix.values;
      values.insert(values.end(), part.values.begin(), part.values.end());
      MatrixSource matrix;
      matrix.packed = part.View();
      matrix.tensor = matrix.packed->words;
      matrix.tensor.shape = {spec.rows, spec.cols};
      source.parts.push_back(matrix);
    }
    auto weight = backend()->PrepareLinear(source);
    EXPECT_TRUE(weight.ok()) << weight.status();
    packed.matrix.weight = *std::move(weight);
    return packed;
  }

  // Of experts of `parts` parts of `rows` rows each, in random blocks of 32 values.
  PackedMatrix MakeBlocks(DType dtype, int64_t experts, int64_t parts, int64_t rows, int64_t cols) {
    PackedMatrix made;
    const int64_t stack = experts * parts * rows;
    const int64_t row_bytes = cols / 32 * BlockBytes(dtype);
    for (int64_t i = 0; i < stack * row_bytes; ++i) {
      const auto byte = static_cast<uint8_t>(rng_());
      const int64_t at = i % BlockBytes(dtype);
      if (dtype == DType::kMxfp4) {
        made.blocks.push_back(at == 0 ? static_cast<uint8_t>(121 + byte % 4) : byte);
      } else {  // f16 of 2^-7 to 2^-6, a sixteenth of that in 8 bits
        const uint8_t high = dtype == DType::kQ4_0 ? 0x20 : 0x10;
        made.blocks.push_back(at == 1 ? static_cast<uint8_t>(high | (byte & 3)) : byte);
      }
    }
    made.matrix.rows = parts * rows;
    made.matrix.cols = cols;
    made.matrix.values.resize(static_cast<size_t>(stack * cols));
    Dequantize(dtype, made.blocks.data(), stack * cols, made.matrix.values.data());
    LinearSource source;
    source.format = WeightFormat::kStored;
    source.experts = experts;
    for (int64_t i = 0; i < experts * parts; ++i) {
      MatrixSource part;
      part.tensor = {"w",
                     dtype,
                     {rows, cols},
                     &made.blocks[static_cast<size_t>(i * rows * row_bytes)],
                     rows * row_bytes};
      source.parts.push_back(part);
    }
    auto weight = backend()->PrepareLinear(source);
    EXPECT_TRUE(weight.ok()) << weight.status();
    made.matrix.weight = *std::move(weight);
    return made;
  }

  // Row r of x times the matrix of an expert, column n.
  static double Product(const ExpertMatrix& matrix, const float* x, int64_t expert, int64_t n) {
    const float* w = &matrix.values[static_cast<size_t>((expert * matrix.rows + n) * matrix.cols)];
    double sum = 0.0;
    if (!matrix.bias.empty()) sum = matrix.bias[static_cast<size_t>(expert * matrix.rows + n)];
    for (int64_t k = 0; k < matrix.cols; ++k) sum += static_cast<double>(w[k]) * x[k];
    return sum;
  }

  // Routes, multiplies once and combines; checks every token against the formula.
  void CheckTokens(const ExpertRouting& routing, bool with_bias, const ExpertMatrix& matrix,
                   int64_t tokens, double tolerance) {
    std::vector<float> bias;
    if (with_bias) bias = RandomValues(routing.num_experts, &rng_);
    for (float& value : bias) value *= 0.1f;
    const Tokens given = MakeTokens(routing, matrix, tokens);
    CheckOutput(routing, bias, matrix, given, tolerance,
                Run(routing, given.logits, bias, matrix, given.x, tokens));
  }

  struct Tokens {
    int64_t count = 0;
    std::vector<float> logits;  // [count, experts]
    std::vector<float> x;       // [count, matrix.cols]
  };
  Tokens MakeTokens(const ExpertRouting& routing, const ExpertMatrix& matrix, int64_t count) {
    return {count, RandomValues(count * routing.num_experts, &rng_),
            RandomValues(count * matrix.cols, &rng_)};
  }

  static void CheckOutput(const ExpertRouting& routing, const std::vector<float>& bias,
                          const ExpertMatrix& matrix, const Tokens& given, double tolerance,
                          const std::vector<float>& out) {
    const int64_t tokens = given.count;
    const std::vector<float>& x = given.x;
    const double size = std::sqrt(static_cast<double>(matrix.cols)) * 2;
    for (int64_t t = 0; t < tokens; ++t) {
      const Choice choice =
          Choose(&given.logits[static_cast<size_t>(t * routing.num_experts)], bias, routing);
      for (int64_t n = 0; n < matrix.rows; ++n) {
        double sum = 0.0;
        double weights = 0.0;
        for (size_t i = 0; i < choice.experts.size(); ++i) {
          weights += choice.weights[i];
          sum += choice.weights[i] *
                 Product(matrix, &x[static_cast<size_t>(t * matrix.cols)], choice.experts[i], n);
        }
        ASSERT_NEAR(out[static_cast<size_t>(t * matrix.rows + n)], sum, tolerance * size * weights)
            << "token " << t << " of " << tokens << " column " << n;
      }
    }
  }

  std::vector<float> Run(const ExpertRouting& routing, const std::vector<float>& logits,
                         const std::vector<float>& bias, const ExpertMatrix& matrix,
                         const std::vector<float>& x, int64_t tokens) {
    return RunHeld(routing, logits, bias, *matrix.weight, matrix.rows, x, tokens);
  }

  // `weight`: of the experts that `routing` says are held. Rows that no choice has stay NaN.
  std::vector<float> RunHeld(const ExpertRouting& routing, const std::vector<float>& logits,
                             const std::vector<float>& bias, const LinearWeight& weight,
                             int64_t width, const std::vector<float>& x, int64_t tokens) {
    const TestMatrix scores(device_.get(), tokens, routing.num_experts, DType::kF32);
    EXPECT_TRUE(backend()->CopyFromHost(logits, scores.view()).ok());
    std::unique_ptr<DeviceBuffer> correction;
    if (!bias.empty()) correction = *backend()->UploadF32(bias);
    const TestMatrix input(device_.get(), tokens, weight.in_features(), x);
    const TestMatrix rows(device_.get(), tokens * routing.rows_per_token(), width,
                          input.view().dtype);
    const TestMatrix out(device_.get(), tokens, width, input.view().dtype);
    EXPECT_TRUE(backend()->RouteExperts(scores.view(), routing, correction.get(), nullptr).ok());
    const absl::Status status =
        backend()->ExpertLinear(weight, input.view(), RowOrder::kByToken, rows.view());
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(backend()->CombineExperts(rows.view(), {}, out.view()).ok());
    return out.Read();
  }

  // A feed-forward of the experts that `routing` says are held, and a shared one of `gates`.
  void CheckTwoProducts(const ExpertRouting& routing, const ExpertMatrix& in,
                        const ExpertMatrix& down, const Tokens& given,
                        const std::vector<float>& shared, const std::vector<float>& gates) {
    const int64_t tokens = given.count;
    const int64_t held = routing.num_held;
    const auto in_weight = Prepare(in, routing.first_held, held, 2, WeightFormat::kBf16);
    const auto down_weight = Prepare(down, routing.first_held, held, 1, WeightFormat::kBf16);
    const TestMatrix scores(device_.get(), tokens, 8, DType::kF32);
    ASSERT_TRUE(backend()->CopyFromHost(given.logits, scores.view()).ok());
    const TestMatrix input(device_.get(), tokens, kHidden, given.x);
    const DType dtype = input.view().dtype;
    const int64_t num_rows = tokens * routing.rows_per_token();
    const TestMatrix gate_up(device_.get(), num_rows, 2 * kInner, dtype);
    const TestMatrix inner(device_.get(), num_rows, kInner, dtype);
    const TestMatrix rows(device_.get(), num_rows, kHidden, dtype);
    const TestMatrix beside(device_.get(), tokens, kHidden, shared);
    const TestMatrix gate(device_.get(), tokens, 1, DType::kF32);
    ASSERT_TRUE(backend()->CopyFromHost(gates, gate.view()).ok());
    const TestMatrix out(device_.get(), tokens, kHidden, dtype);
    ASSERT_TRUE(backend()->RouteExperts(scores.view(), routing, nullptr, nullptr).ok());
    ASSERT_TRUE(
        backend()->ExpertLinear(*in_weight, input.view(), RowOrder::kByToken, gate_up.view()).ok());
    ASSERT_TRUE(
        backend()->ActivateExperts(ActivationFunction::kSilu, gate_up.view(), inner.view()).ok());
    ASSERT_TRUE(
        backend()->ExpertLinear(*down_weight, inner.view(), RowOrder::kByExpert, rows.view()).ok());
    ASSERT_TRUE(
        backend()->CombineExperts(rows.view(), {beside.view(), gate.view()}, out.view()).ok());
    const std::vector<float> got = out.Read();
    for (int64_t t = 0; t < tokens; ++t) {
      const Choice choice = Choose(&given.logits[static_cast<size_t>(t * 8)], {}, routing);
      std::vector<double> sum(kHidden);
      double size = 1.0;
      for (size_t i = 0; i < choice.experts.size(); ++i) {
        const int64_t e = choice.experts[i];
        if (e < routing.first_held || e >= routing.first_held + held) continue;
        std::vector<float> act;
        for (int64_t n = 0; n < kInner; ++n) {
          const double g = Product(in, &given.x[static_cast<size_t>(t * kHidden)], e, n);
          const double u = Product(in, &given.x[static_cast<size_t>(t * kHidden)], e, kInner + n);
          act.push_back(static_cast<float>(g * Sigmoid(g) * u));
          size = std::max(size, std::fabs(static_cast<double>(act.back())));
        }
        for (int64_t n = 0; n < kHidden; ++n) {
          sum[static_cast<size_t>(n)] += choice.weights[i] * Product(down, act.data(), e, n);
        }
      }
      for (int64_t n = 0; n < kHidden; ++n) {
        const auto at = static_cast<size_t>(t * kHidden + n);
        const double expected =
            sum[static_cast<size_t>(n)] + Sigmoid(gates[static_cast<size_t>(t)]) * shared[at];
        ASSERT_NEAR(got[at], expected, 0.05 * size * std::sqrt(static_cast<double>(kInner)))
            << "token " << t << " column " << n;
      }
    }
  }

  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::mt19937 rng_;
};

ExpertRouting Routing(int64_t experts, int64_t per_token, bool normalize) {
  ExpertRouting routing;
  routing.num_experts = experts;
  routing.experts_per_token = per_token;
  routing.normalize = normalize;
  return routing;
}

TEST_F(OpsExpertsTest, EveryRoutingChoosesAsDefined) {
  ExpertRouting grouped = Routing(64, 6, true);  // as DeepSeek-V3's
  grouped.score = RouterScore::kSigmoid;
  grouped.scale = 2.5f;
  grouped.num_groups = 8;
  grouped.groups_per_token = 3;
  grouped.group_best = 2;
  ExpertRouting by_best = Routing(32, 3, false);  // as DeepSeek-V2's
  by_best.scale = 16.0f;
  by_best.num_groups = 4;
  by_best.groups_per_token = 2;
  ExpertRouting sigmoid = Routing(16, 2, false);
  sigmoid.score = RouterScore::kSigmoid;
  for (const ExpertRouting& routing :
       {Routing(2, 1, false), Routing(8, 2, true), Routing(60, 4, false), Routing(128, 8, true),
        Routing(256, 8, true), sigmoid, by_best, grouped}) {
    SCOPED_TRACE(routing.num_experts);
    const ExpertMatrix matrix =
        MakeMatrix(routing.num_experts, 16, kHidden, 1, WeightFormat::kBf16);
    for (const int64_t tokens : {1, 5, 40}) {
      ASSERT_NO_FATAL_FAILURE(CheckTokens(routing, routing.num_groups == 8, matrix, tokens, 2e-2));
    }
  }
}

TEST_F(OpsExpertsTest, CountsGrowByEveryChoice) {
  const ExpertRouting routing = Routing(12, 3, false);
  const auto counts = *backend()->UploadF32(std::vector<float>(12, 5.0f));
  std::vector<float> expected(12, 5.0f);
  for (const int64_t tokens : {1, 40}) {
    const std::vector<float> logits = RandomValues(tokens * 12, &rng_);
    const TestMatrix scores(device_.get(), tokens, 12, DType::kF32);
    ASSERT_TRUE(backend()->CopyFromHost(logits, scores.view()).ok());
    ASSERT_TRUE(backend()->RouteExperts(scores.view(), routing, nullptr, counts.get()).ok());
    for (int64_t t = 0; t < tokens; ++t) {
      for (const int64_t e : Choose(&logits[static_cast<size_t>(t * 12)], {}, routing).experts) {
        expected[static_cast<size_t>(e)] += 1.0f;
      }
    }
  }
  std::vector<float> counted(12);
  ASSERT_TRUE(backend()->CopyToHost({counts->data(), DType::kF32, 1, 12, 12}, counted).ok());
  EXPECT_EQ(counted, expected);
}

// Ranks that hold some experts each, of equal or unequal numbers.
TEST_F(OpsExpertsTest, PartsOfRanksWithSomeExpertsAddUpToTheWhole) {
  ExpertRouting grouped = Routing(64, 6, true);
  grouped.score = RouterScore::kSigmoid;
  grouped.num_groups = 8;
  grouped.groups_per_token = 2;
  grouped.group_best = 2;
  for (const ExpertRouting& routing :
       {Routing(2, 1, false), Routing(8, 2, true), Routing(60, 4, false), grouped}) {
    const ExpertMatrix matrix =
        MakeMatrix(routing.num_experts, 16, kHidden, 2, WeightFormat::kBf16);
    for (const int ranks : {2, 3, 8}) {
      if (ranks > routing.num_experts) continue;
      for (const int64_t tokens : {1, 5, 150}) {
        SCOPED_TRACE(std::to_string(routing.num_experts) + " experts, " + std::to_string(ranks) +
                     " ranks, tokens " + std::to_string(tokens));
        const Tokens given = MakeTokens(routing, matrix, tokens);
        std::vector<float> sum(static_cast<size_t>(tokens * matrix.rows));
        ExpertRouting share = routing;
        for (int rank = 0; rank < ranks; ++rank) {
          share.num_held =
              routing.num_experts / ranks + (rank < routing.num_experts % ranks ? 1 : 0);
          const auto weight =
              Prepare(matrix, share.first_held, share.num_held, 2, WeightFormat::kBf16);
          const std::vector<float> part =
              RunHeld(share, given.logits, {}, *weight, matrix.rows, given.x, tokens);
          for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
          share.first_held += share.num_held;
        }
        ASSERT_NO_FATAL_FAILURE(CheckOutput(routing, {}, matrix, given, 3e-2, sum));
      }
    }
  }
}

// Where a bias makes two experts the choice of every token, in bf16 and int8.
TEST_F(OpsExpertsTest, OneRankMayHaveAllRowsAndAnotherNone) {
  const ExpertRouting routing = Routing(8, 2, true);
  std::vector<float> bias(8, 0.0f);
  bias[4] = bias[5] = 10.0f;
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    const ExpertMatrix matrix = MakeMatrix(8, 48, kHidden, 2, format);
    for (const int64_t tokens : {1, 33, 300}) {
      SCOPED_TRACE(std::string(WeightFormatName(format)) + ", tokens " + std::to_string(tokens));
      const Tokens given = MakeTokens(routing, matrix, tokens);
      ExpertRouting share = routing;
      share.num_held = 2;
      for (share.first_held = 0; share.first_held < 8; share.first_held += 2) {
        const auto weight = Prepare(matrix, share.first_held, 2, 2, format);
        const std::vector<float> part =
            RunHeld(share, given.logits, bias, *weight, matrix.rows, given.x, tokens);
        if (share.first_held == 4) {
          ASSERT_NO_FATAL_FAILURE(CheckOutput(routing, bias, matrix, given, 3e-2, part));
        } else {
          ASSERT_EQ(part, std::vector<float>(part.size(), 0.0f)) << share.first_held;
        }
      }
    }
  }
}

// A token has no more rows than a rank has experts.
TEST_F(OpsExpertsTest, ARankMayHoldFewerExpertsThanATokenTakes) {
  const ExpertRouting routing = Routing(8, 4, true);
  const ExpertMatrix matrix = MakeMatrix(8, 16, kHidden, 1, WeightFormat::kBf16);
  for (const int64_t tokens : {1, 40}) {
    const Tokens given = MakeTokens(routing, matrix, tokens);
    std::vector<float> sum(static_cast<size_t>(tokens * matrix.rows));
    for (int64_t e = 0; e < 8; ++e) {
      ExpertRouting share = routing;
      share.first_held = e;
      share.num_held = 1;
      ASSERT_EQ(share.rows_per_token(), 1);
      const auto weight = Prepare(matrix, e, 1, 1, WeightFormat::kBf16);
      const std::vector<float> part =
          RunHeld(share, given.logits, {}, *weight, matrix.rows, given.x, tokens);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
    }
    ASSERT_NO_FATAL_FAILURE(CheckOutput(routing, {}, matrix, given, 3e-2, sum));
  }
}

TEST_F(OpsExpertsTest, OfEqualScoresTheFirstExpertsAreTaken) {
  const ExpertRouting routing = Routing(8, 3, true);
  const ExpertMatrix matrix = MakeMatrix(8, 16, kHidden, 1, WeightFormat::kBf16);
  const std::vector<float> x = RandomValues(kHidden, &rng_);
  const std::vector<float> out = Run(routing, std::vector<float>(8), {}, matrix, x, 1);
  for (int64_t n = 0; n < 16; ++n) {
    double sum = 0.0;
    for (int64_t e = 0; e < 3; ++e) sum += Product(matrix, x.data(), e, n) / 3;
    EXPECT_NEAR(out[static_cast<size_t>(n)], sum, 0.2) << n;
  }
}

TEST_F(OpsExpertsTest, ProductsOfEveryFormatAndSizeAreThoseOfTheFormula) {
  struct Format {
    WeightFormat format;
    double tolerance;
  };
  for (const Format& f : {Format{WeightFormat::kBf16, 2e-2}, Format{WeightFormat::kInt8, 3e-2}}) {
    for (const int64_t rows : {16, 136}) {
      const ExpertMatrix matrix = MakeMatrix(12, rows, kDeep, 2, f.format);
      for (const int64_t tokens : {1, 9, 33, 100, 300}) {
        SCOPED_TRACE(std::string(WeightFormatName(f.format)) + " " + std::to_string(rows));
        ASSERT_NO_FATAL_FAILURE(
            CheckTokens(Routing(12, 3, false), false, matrix, tokens, f.tolerance));
      }
    }
  }
}

// Packed as checkpoints have them: on a device whose kernels take them, as they are.
TEST_F(OpsExpertsTest, PackedExpertsOfEveryKindAndSizeAreThoseOfTheFormula) {
  constexpr PackedLayout kGptq = PackedLayout::kGptq;
  for (const testing::PackedSpec& spec : {
           testing::PackedSpec{kGptq, 4, 64, kDeep, 64, true, 1},
           testing::PackedSpec{PackedLayout::kAwq, 4, 96, kHidden, 32, true},
           testing::PackedSpec{PackedLayout::kRowMajor, 4, 32, 384, 128, false, 0, DType::kBf16},
           testing::PackedSpec{PackedLayout::kRowMajor, 4, 64, kDeep, kDeep, false, 0},
           testing::PackedSpec{kGptq, 8, 32, 256, 128, true, 0, DType::kF16, 0.002f},
           testing::PackedSpec{kGptq, 4, 24, 128, 64, false, 0},  // rows that fill no block
       }) {
    const PackedMatrix matrix = MakePacked(spec, 12, 2);
    for (const int64_t tokens : {1, 9, 33, 100, 300}) {
      SCOPED_TRACE(testing::NameOf(spec) + ", tokens " + std::to_string(tokens));
      ASSERT_NO_FATAL_FAILURE(
          CheckTokens(Routing(12, 3, false), false, matrix.matrix, tokens, 4e-3));
    }
  }
}

// Blocks of files of 4 and 8 bits, MXFP4 among them, with scales that differ.
TEST_F(OpsExpertsTest, ExpertsInBlocksOfFilesAreThoseOfTheFormula) {
  for (const DType dtype : {DType::kQ4_0, DType::kQ8_0, DType::kMxfp4}) {
    for (const int64_t rows : {32, 12}) {
      const PackedMatrix matrix = MakeBlocks(dtype, 12, 2, rows, kDeep);
      for (const int64_t tokens : {1, 9, 33, 300}) {
        SCOPED_TRACE(std::string(DTypeName(dtype)) + ", rows " + std::to_string(2 * rows) +
                     ", tokens " + std::to_string(tokens));
        ASSERT_NO_FATAL_FAILURE(
            CheckTokens(Routing(12, 3, false), false, matrix.matrix, tokens, 4e-3));
      }
    }
  }
}

TEST_F(OpsExpertsTest, EveryExpertAddsItsOwnBias) {
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    for (const int64_t rows : {16, 136}) {
      const ExpertMatrix matrix = MakeMatrix(12, rows, kHidden, 2, format, /*bias=*/true);
      for (const int64_t tokens : {1, 9, 100, 300}) {
        SCOPED_TRACE(std::string(WeightFormatName(format)) + " " + std::to_string(rows));
        ASSERT_NO_FATAL_FAILURE(CheckTokens(Routing(12, 3, true), false, matrix, tokens, 3e-2));
      }
    }
  }
}

// A token's result does not depend on those beside it.
TEST_F(OpsExpertsTest, ATokenGetsTheSameInEveryBatch) {
  const ExpertRouting routing = Routing(8, 2, true);
  const int64_t tokens = 97;
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    const ExpertMatrix matrix = MakeMatrix(8, 48, kHidden, 2, format);
    const std::vector<float> logits = RandomValues(tokens * 8, &rng_);
    const std::vector<float> x = RandomValues(tokens * kHidden, &rng_);
    const std::vector<float> together = Run(routing, logits, {}, matrix, x, tokens);
    for (int64_t t = 0; t < tokens; t += 8) {
      const std::vector<float> alone =
          Run(routing, {logits.begin() + t * 8, logits.begin() + (t + 1) * 8}, {}, matrix,
              {x.begin() + t * kHidden, x.begin() + (t + 1) * kHidden}, 1);
      for (int64_t n = 0; n < 48; ++n) {
        ASSERT_EQ(alone[static_cast<size_t>(n)], together[static_cast<size_t>(t * 48 + n)])
            << "token " << t << " column " << n;
      }
    }
  }
}

// Rows that one product wrote are those of the next one, and the shared expert is added,
// whichever experts are held.
TEST_F(OpsExpertsTest, TwoProductsAndASharedExpertAddUp) {
  const ExpertRouting routing = Routing(8, 2, true);
  const int64_t tokens = 21;
  const ExpertMatrix in = MakeMatrix(8, 2 * kInner, kHidden, 2, WeightFormat::kBf16);
  const ExpertMatrix down = MakeMatrix(8, kHidden, kInner, 1, WeightFormat::kBf16);
  Tokens given = MakeTokens(routing, in, tokens);
  for (float& value : given.x) value *= 0.125f;  // a power of two: still bf16
  const std::vector<float> shared = RandomValues(tokens * kHidden, &rng_);
  const std::vector<float> gates = RandomValues(tokens, &rng_);
  for (const auto& [first, held] : {std::pair{0, 8}, {0, 3}, {3, 5}}) {
    SCOPED_TRACE(first);
    ExpertRouting share = routing;
    share.first_held = first;
    share.num_held = held;
    CheckTwoProducts(share, in, down, given, shared, gates);
  }
}

}  // namespace
}  // namespace pingti::worker
