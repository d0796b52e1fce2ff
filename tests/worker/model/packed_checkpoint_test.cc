// Packed checkpoints compute what the numbers that they mean compute, in every precision; what they
// count as; and that a checkpoint with something wrong is refused by name.
#include "tests/worker/model/packed_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/model/model_runner.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"

namespace pingti::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::PackedCheckpoint;
using testing::PackedForm;
using testing::PackedForms;

constexpr uint32_t kSeed = 11;
// KL from the numbers in f32, in nats: 1.25 times the largest that was measured.
constexpr double kMaxBf16 = 2.4e-4;
constexpr double kMaxInt8 = 2.2e-3;
constexpr double kMaxStored = 1.2e-3;
constexpr char kUp[] = "model.layers.1.mlp.up_proj";

absl::Status Load(Checkpoint::Parts parts, WeightFormat format) {
  const Checkpoint checkpoint(std::move(parts));
  auto backend = MakeCpuBackend({.num_threads = 1, .kernels = ""});
  EXPECT_TRUE(backend.ok()) << backend.status();
  LoadOptions options;
  options.format = format;
  return LoadModel(checkpoint, backend->get(), options).status();
}

std::vector<float> Logprobs(Checkpoint::Parts parts, WeightFormat format, const char* kernels) {
  const Checkpoint checkpoint(std::move(parts));
  auto backend = MakeCpuBackend({.num_threads = 2, .kernels = kernels});
  EXPECT_TRUE(backend.ok()) << backend.status();
  LoadOptions options;
  options.format = format;
  const auto model = LoadModel(checkpoint, backend->get(), options);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  testing::ModelRunner runner(model->get(), {});
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 24; ++i) prompt.push_back(i * 37 % 96);
  EXPECT_TRUE(runner.Step({prompt}).ok());
  return *runner.AllLogprobs(0);
}

// KL(expected || got), in nats.
double Divergence(const std::vector<float>& expected, const std::vector<float>& got) {
  double sum = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    sum += std::exp(static_cast<double>(expected[i])) * static_cast<double>(expected[i] - got[i]);
  }
  return sum;
}

class PackedFormTest : public ::testing::TestWithParam<PackedForm> {
 protected:
  PackedFormTest() : checkpoint_(GetParam(), kSeed) {}
  PackedCheckpoint checkpoint_;
};

TEST_P(PackedFormTest, F32EqualsTheNumbersThatArePacked) {
  for (const char* kernels : {"portable", ""}) {
    const auto expected = Logprobs(checkpoint_.dense(), WeightFormat::kF32, kernels);
    const auto got = Logprobs(checkpoint_.packed(), WeightFormat::kF32, kernels);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
  }
}

TEST_P(PackedFormTest, LowerPrecisionsStayWithinTheirDivergence) {
  const auto expected = Logprobs(checkpoint_.dense(), WeightFormat::kF32, "");
  for (const char* kernels : {"portable", ""}) {
    const auto divergence = [&](WeightFormat format) {
      return Divergence(expected, Logprobs(checkpoint_.packed(), format, kernels));
    };
    EXPECT_LT(divergence(WeightFormat::kBf16), kMaxBf16);
    EXPECT_LT(divergence(WeightFormat::kInt8), kMaxInt8);
    EXPECT_LT(divergence(WeightFormat::kStored), kMaxStored);
  }
}

TEST_P(PackedFormTest, PackedValuesAreCountedOneByOne) {
  const Checkpoint packed(checkpoint_.packed());
  EXPECT_EQ(packed.num_parameters(), checkpoint_.num_parameters());
  const auto& config = packed.packed();
  EXPECT_EQ(packed.dominant_format(), config.method + "-int" + std::to_string(config.bits));
  int64_t bytes = 0;
  for (const TensorView& tensor : packed.tensors()) bytes += tensor.bytes;
  EXPECT_EQ(packed.weight_bytes(), bytes);
  EXPECT_EQ(EstimateWeightBytes(packed, {.format = WeightFormat::kStored}), bytes);
  EXPECT_EQ(EstimateWeightBytes(packed, {.format = WeightFormat::kBf16}),
            EstimateWeightBytes(Checkpoint(checkpoint_.dense()), {.format = WeightFormat::kBf16}));
}

TEST_P(PackedFormTest, ProgressEndsAtAllBytes) {
  const Checkpoint checkpoint(checkpoint_.packed());
  auto backend = MakeCpuBackend({.num_threads = 1, .kernels = ""});
  ASSERT_TRUE(backend.ok()) << backend.status();
  std::vector<int64_t> reports;
  LoadOptions options;
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, checkpoint.weight_bytes());
    reports.push_back(done);
  };
  ASSERT_TRUE(LoadModel(checkpoint, backend->get(), options).ok());
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
  EXPECT_EQ(reports.back(), checkpoint.weight_bytes());
}

// Any tensor of another shape or type, without data, or gone: an error or a model, no crash.
TEST_P(PackedFormTest, AnyTensorMayBeWrong) {
  std::mt19937 rng(kSeed);
  const auto below = [&rng](size_t n) { return static_cast<size_t>(rng() % n); };
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    Checkpoint::Parts parts = checkpoint_.packed();
    const size_t at = below(parts.tensors.size());
    TensorView& tensor = parts.tensors[at];
    const std::string name = tensor.name;
    switch (below(4)) {
      case 0:
        parts.tensors.erase(parts.tensors.begin() + static_cast<int64_t>(at));
        break;
      case 1:
        tensor.shape[below(tensor.shape.size())] /= 2;
        tensor.bytes /= 2;
        break;
      case 2:
        std::reverse(tensor.shape.begin(), tensor.shape.end());
        break;
      case 3:
        tensor.dtype = tensor.dtype == DType::kI32 ? DType::kF32 : DType::kI8;
        tensor.shape.push_back(1);
        break;
    }
    const absl::Status status = Load(std::move(parts), WeightFormat::kStored);
    if (status.ok()) continue;
    ++refused;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("dir/packed"), HasSubstr(name.substr(0, name.rfind('.')))))
        << "mutation " << i << " of " << name << ", seed " << kSeed;
  }
  EXPECT_GT(refused, 200);
}

INSTANTIATE_TEST_SUITE_P(Forms, PackedFormTest, ::testing::ValuesIn(PackedForms()),
                         [](const auto& test) { return std::string(test.param.name); });

class PackedRefusalTest : public ::testing::Test {
 protected:
  PackedRefusalTest()
      : gptq_(PackedForms()[0], kSeed),
        compressed_(*std::find_if(PackedForms().begin(), PackedForms().end(),
                                  [](const PackedForm& form) {
                                    return form.spec.layout == PackedLayout::kRowMajor;
                                  }),
                    kSeed) {}

  static TensorView& Tensor(Checkpoint::Parts* parts, const std::string& name) {
    const auto it = std::find_if(parts->tensors.begin(), parts->tensors.end(),
                                 [&name](const TensorView& t) { return t.name == name; });
    EXPECT_NE(it, parts->tensors.end()) << name;
    return *it;
  }

  static void Erase(Checkpoint::Parts* parts, const std::string& name) {
    parts->tensors.erase(parts->tensors.begin() + (&Tensor(parts, name) - parts->tensors.data()));
  }

  static std::string Error(Checkpoint::Parts parts) {
    return std::string(Load(std::move(parts), WeightFormat::kStored).message());
  }

  PackedCheckpoint gptq_;
  PackedCheckpoint compressed_;
};

TEST_F(PackedRefusalTest, MissingTensorsAreNamed) {
  for (const char* end : {".scales", ".qzeros"}) {
    Checkpoint::Parts parts = gptq_.packed();
    Erase(&parts, std::string(kUp) + end);
    EXPECT_THAT(Error(std::move(parts)), HasSubstr("tensor 'model.layers.1.mlp.up_proj" +
                                                   std::string(end) + "' is missing"));
  }
  for (const char* end : {".weight_scale", ".weight_shape"}) {
    Checkpoint::Parts parts = compressed_.packed();
    Erase(&parts, std::string(kUp) + end);
    EXPECT_THAT(Error(std::move(parts)), HasSubstr("tensor 'model.layers.1.mlp.up_proj" +
                                                   std::string(end) + "' is missing"));
  }
  Checkpoint::Parts parts = gptq_.packed();
  Erase(&parts, std::string(kUp) + ".qweight");
  EXPECT_THAT(
      Error(std::move(parts)),
      HasSubstr("up_proj.qweight' is missing, and so is 'model.layers.1.mlp.up_proj.weight'"));
}

TEST_F(PackedRefusalTest, TheGroupIndexMayBeMissingOrInAnyOrder) {
  Checkpoint::Parts parts = gptq_.packed();
  Erase(&parts, std::string(kUp) + ".g_idx");
  EXPECT_TRUE(Load(std::move(parts), WeightFormat::kStored).ok());
  const auto with_index = [&](const std::vector<int32_t>& index) {
    Checkpoint::Parts changed = gptq_.packed();
    Tensor(&changed, std::string(kUp) + ".g_idx").data = index.data();
    return Load(std::move(changed), WeightFormat::kStored);
  };
  EXPECT_TRUE(with_index(std::vector<int32_t>(64, 1)).ok());
  std::vector<int32_t> beyond(64, 1);
  beyond[5] = 2;
  EXPECT_THAT(std::string(with_index(beyond).message()),
              AllOf(HasSubstr("tensor 'model.layers.1.mlp.up_proj.g_idx' I32 [64]"),
                    HasSubstr("column 5 is of group 2; expected 0 to 1")));
  // As compressed-tensors leaves an index that it does not use.
  EXPECT_TRUE(with_index(std::vector<int32_t>(64, -1)).ok());
}

TEST_F(PackedRefusalTest, AShapeThatContradictsTheConfigurationIsNamed) {
  Checkpoint::Parts parts = compressed_.packed();
  const std::vector<int64_t> shape = {64, 160};
  Tensor(&parts, std::string(kUp) + ".weight_shape").data = shape.data();
  EXPECT_THAT(Error(std::move(parts)),
              HasSubstr("up_proj.weight_shape' I64 [2]: holds [64, 160]; expected [160, 64]"));
}

TEST_F(PackedRefusalTest, AnotherGroupSizeOrWidthThanTheConfigurationsIsRefused) {
  Checkpoint::Parts parts = gptq_.packed();
  parts.packed.group_size = 64;
  EXPECT_THAT(Error(std::move(parts)), HasSubstr("scales' F16 [2, 64]: expected shape [1, 64]"));
  parts = gptq_.packed();
  parts.packed.bits = 8;
  EXPECT_THAT(Error(std::move(parts)), HasSubstr("qweight' I32 [8, 64]: expected shape [16, 64]"));
}

TEST_F(PackedRefusalTest, WhatIsThereTwiceOrInNoPlaceIsNamed) {
  Checkpoint::Parts parts = gptq_.packed();
  TensorView twice = Tensor(&parts, "model.layers.0.self_attn.o_proj.weight");
  twice.name = "model.layers.1.self_attn.o_proj.weight";
  parts.tensors.push_back(twice);
  EXPECT_THAT(Error(std::move(parts)), AllOf(HasSubstr("o_proj."), HasSubstr("has no place")));
  parts = gptq_.packed();
  parts.packed = {};
  EXPECT_THAT(Error(std::move(parts)), HasSubstr("q_proj.weight' is missing"));
}

TEST_F(PackedRefusalTest, AQuantizedEmbeddingIsRefused) {
  Checkpoint::Parts parts = gptq_.packed();
  Tensor(&parts, "model.embed_tokens.weight").name = "model.embed_tokens.qweight";
  EXPECT_THAT(Error(std::move(parts)),
              HasSubstr("module 'model.embed_tokens' is quantized; expected a 16-bit embedding"));
}

TEST_F(PackedRefusalTest, ABiasThatTheFamilyLacksIsAdded) {
  std::vector<float> bias(160, 0.0f);
  const auto logprobs = [&](bool packed) {
    Checkpoint::Parts parts = packed ? gptq_.packed() : gptq_.dense();
    if (packed) {
      parts.tensors.push_back({std::string(kUp) + ".bias", DType::kF32, {160}, bias.data(), 640});
    }
    return Logprobs(std::move(parts), WeightFormat::kF32, "");
  };
  const auto without = logprobs(false);
  EXPECT_EQ(logprobs(true), without);
  bias.assign(160, 0.5f);
  EXPECT_NE(logprobs(true), without);
}

}  // namespace
}  // namespace pingti::worker
