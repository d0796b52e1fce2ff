// What LoadModel refuses, and that each refusal names tensor, type, shape and expectation. The
// checkpoints are the tiny ones of tests/golden/model with one thing wrong.
#include "worker/model/load_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/source_dir.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/rank_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kDown[] = "model.layers.1.mlp.down_proj.weight";

class LoadModelTest : public ::testing::Test {
 protected:
  // Parts of the checkpoint in `directory` that tests change; its files stay mapped.
  Checkpoint::Parts PartsOf(const std::string& directory) {
    auto opened = OpenCheckpoint(SourcePath("tests/golden/model/tiny/" + directory));
    EXPECT_TRUE(opened.ok()) << opened.status();
    source_ = *std::move(opened);
    Checkpoint::Parts parts;
    parts.path = "dir/changed";
    parts.format = source_->format();
    parts.spec = source_->spec();
    parts.tensors = source_->tensors();
    parts.compressed_int8 = source_->compressed_int8();
    parts.fp8 = source_->fp8();
    parts.mxfp4 = source_->mxfp4();
    return parts;
  }

  static TensorView& Tensor(Checkpoint::Parts* parts, const std::string& name) {
    const auto it = std::find_if(parts->tensors.begin(), parts->tensors.end(),
                                 [&name](const TensorView& t) { return t.name == name; });
    EXPECT_NE(it, parts->tensors.end()) << name;
    return *it;
  }

  absl::Status Load(Checkpoint::Parts parts, WeightFormat format = WeightFormat::kBf16) {
    const Checkpoint checkpoint(std::move(parts));
    auto backend = MakeCpuBackend({.num_threads = 1, .kernels = "portable"});
    EXPECT_TRUE(backend.ok()) << backend.status();
    LoadOptions options;
    options.format = format;
    return LoadModel(checkpoint, backend->get(), options).status();
  }

  std::unique_ptr<Checkpoint> source_;
};

TEST_F(LoadModelTest, TheUnchangedCheckpointLoads) {
  EXPECT_TRUE(Load(PartsOf("llama3")).ok());
  EXPECT_TRUE(Load(PartsOf("qwen2_int8"), WeightFormat::kStored).ok());
}

TEST_F(LoadModelTest, AMissingTensorIsNamed) {
  Checkpoint::Parts parts = PartsOf("llama3");
  parts.tensors.erase(parts.tensors.begin() + (&Tensor(&parts, kDown) - parts.tensors.data()));
  const absl::Status status = Load(std::move(parts));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("dir/changed"),
                    HasSubstr("tensor 'model.layers.1.mlp.down_proj.weight' is missing")));
}

TEST_F(LoadModelTest, AWrongShapeIsNamedWithTheExpectedOne) {
  Checkpoint::Parts parts = PartsOf("llama3");
  Tensor(&parts, kDown).shape = {48, 32};
  const absl::Status status = Load(std::move(parts));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor 'model.layers.1.mlp.down_proj.weight' BF16 [48, 32]: expected "
                        "shape [32, 48]"));
}

TEST_F(LoadModelTest, AConfigurationThatPromisesOtherShapesIsRefused) {
  Checkpoint::Parts parts = PartsOf("llama3");
  parts.spec.vocab_size = 97;
  EXPECT_THAT(std::string(Load(std::move(parts)).message()),
              HasSubstr("tensor 'model.embed_tokens.weight' BF16 [96, 32]: expected shape "
                        "[97, 32]"));
}

TEST_F(LoadModelTest, ATensorThatNothingReadsIsRefused) {
  Checkpoint::Parts parts = PartsOf("llama3");
  TensorView extra = Tensor(&parts, kDown);
  extra.name = "model.layers.1.mlp.adapter.weight";
  parts.tensors.push_back(extra);
  const absl::Status status = Load(std::move(parts));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor 'model.layers.1.mlp.adapter.weight' BF16 [32, 48] has no place in "
                        "a 'llama' model"));
}

TEST_F(LoadModelTest, BiasesThatTheFamilyLacksAreRefused) {
  Checkpoint::Parts parts = PartsOf("qwen2");
  for (LayerSpec& layer : parts.spec.layers) layer.attention.qkv_bias = false;
  EXPECT_THAT(std::string(Load(std::move(parts)).message()),
              AllOf(HasSubstr("k_proj.bias' BF16 [16]"), HasSubstr("has no place")));
}

TEST_F(LoadModelTest, Int8WeightsNeedTheirScales) {
  Checkpoint::Parts parts = PartsOf("qwen2_int8");
  const std::string name = "model.layers.0.mlp.up_proj.weight_scale";
  parts.tensors.erase(parts.tensors.begin() + (&Tensor(&parts, name) - parts.tensors.data()));
  EXPECT_THAT(std::string(Load(std::move(parts), WeightFormat::kStored).message()),
              HasSubstr("tensor 'model.layers.0.mlp.up_proj.weight_scale' is missing"));
}

TEST_F(LoadModelTest, Int8WeightsNeedAConfigurationThatSaysSo) {
  Checkpoint::Parts parts = PartsOf("qwen2_int8");
  parts.compressed_int8 = {};
  EXPECT_THAT(
      std::string(Load(std::move(parts), WeightFormat::kStored).message()),
      AllOf(HasSubstr("q_proj.weight' is I8"), HasSubstr("config.json names no quantization")));
}

TEST_F(LoadModelTest, EightBitFloatsNeedTheirBlocksScales) {
  Checkpoint::Parts parts = PartsOf("qwen3_fp8");
  const std::string name = "model.layers.0.mlp.up_proj.weight_scale_inv";
  TensorView& scales = Tensor(&parts, name);
  scales.shape = {1, 6};
  EXPECT_THAT(std::string(Load(std::move(parts)).message()),
              HasSubstr("up_proj.weight_scale_inv' F32 [1, 6]: expected shape [3, 2]"));
  parts = PartsOf("qwen3_fp8");
  parts.tensors.erase(parts.tensors.begin() + (&Tensor(&parts, name) - parts.tensors.data()));
  EXPECT_THAT(std::string(Load(std::move(parts)).message()),
              HasSubstr("tensor 'model.layers.0.mlp.up_proj.weight_scale_inv' is missing"));
  parts = PartsOf("qwen3_fp8");
  parts.fp8 = {};
  EXPECT_THAT(std::string(Load(std::move(parts)).message()),
              AllOf(HasSubstr("F8_E4M3"), HasSubstr("config.json names no quantization")));
}

TEST_F(LoadModelTest, StacksOfExpertsNeedTheirScalesBiasesAndShapes) {
  const std::string up = "model.layers.1.mlp.experts.gate_up_proj";
  const auto error_of = [&](const std::string& directory, const std::string& tensor,
                            const auto& change) {
    Checkpoint::Parts parts = PartsOf(directory);
    change(&Tensor(&parts, tensor));
    return std::string(Load(std::move(parts)).message());
  };
  const auto lose = [](TensorView* tensor) { tensor->name = "lost"; };
  EXPECT_THAT(error_of("gpt_oss_mxfp4", up + "_scales", lose),
              HasSubstr("'" + up + "_scales' is missing"));
  EXPECT_THAT(error_of("gpt_oss_mxfp4", up + "_bias", lose),
              HasSubstr("'" + up + ".bias' is missing"));
  EXPECT_THAT(error_of("gpt_oss_mxfp4", up + "_blocks",
                       [](TensorView* tensor) {
                         tensor->shape = {4, 128, 2, 8};
                       }),
              AllOf(HasSubstr(up + "_blocks"), HasSubstr("expected U8 [4, 128, 1, 16]")));
  EXPECT_THAT(error_of("gpt_oss_mxfp4", up + "_blocks",
                       [](TensorView* tensor) {
                         tensor->shape = {0, 128, 1, 16};
                       }),
              HasSubstr("expected U8 [4, 128, 1, 16]"));
  EXPECT_THAT(error_of("gpt_oss_mxfp4", up + "_scales",
                       [](TensorView* tensor) { tensor->dtype = DType::kI8; }),
              AllOf(HasSubstr(up + "_scales"), HasSubstr("expected U8")));
  EXPECT_THAT(error_of("gpt_oss", up,
                       [](TensorView* tensor) {
                         tensor->shape = {4, 128, 32};
                       }),
              HasSubstr("expected shape [4, 32, 128]"));
}

TEST_F(LoadModelTest, ModulesBesideTheDecoderAreLeftOut) {
  Checkpoint::Parts parts = PartsOf("deepseek_v3");
  EXPECT_TRUE(Load(PartsOf("deepseek_v3")).ok());
  parts.spec.unread_prefixes.clear();
  EXPECT_THAT(std::string(Load(std::move(parts)).message()),
              AllOf(HasSubstr("'model.layers.2.eh_proj.weight'"), HasSubstr("has no place")));
}

TEST_F(LoadModelTest, ScalesOfAnotherShapeAreRefused) {
  Checkpoint::Parts parts = PartsOf("qwen2_int8");
  TensorView& scale = Tensor(&parts, "model.layers.0.mlp.up_proj.weight_scale");
  const std::string got = scale.ShapeString();
  scale.shape = {1, scale.shape[0]};
  EXPECT_THAT(std::string(Load(std::move(parts), WeightFormat::kStored).message()),
              HasSubstr("weight_scale' BF16 [1, 48]: expected shape " + got));
}

TEST_F(LoadModelTest, EstimatesInt8WithItsVocabularyInEightOrSixteenBits) {
  const Checkpoint checkpoint(PartsOf("qwen2"));
  const DecoderSpec& spec = checkpoint.spec();
  const int64_t vocabulary = 2 * spec.vocab_size * spec.hidden_size;
  const int64_t parameters =
      checkpoint.num_parameters() + (spec.tied_embeddings() ? vocabulary / 2 : 0);
  const auto estimate = [&](bool wide) {
    LoadOptions options;
    options.format = WeightFormat::kInt8;
    options.wide_vocabulary = wide;
    return EstimateWeightBytes(checkpoint, options);
  };
  EXPECT_EQ(estimate(false), parameters);
  EXPECT_EQ(estimate(true), parameters + vocabulary);
  // A compressed checkpoint has said what is int8.
  const Checkpoint compressed(PartsOf("qwen2_int8"));
  LoadOptions options;
  options.format = WeightFormat::kInt8;
  EXPECT_GT(EstimateWeightBytes(compressed, options), compressed.num_parameters());
}

TEST_F(LoadModelTest, ServesTheContextThatIsAskedForUpToTheModels) {
  const Checkpoint checkpoint(PartsOf("qwen3"));
  auto backend = MakeCpuBackend({.num_threads = 1, .kernels = "portable"});
  ASSERT_TRUE(backend.ok()) << backend.status();
  const auto context = [&](int64_t asked) {
    LoadOptions options;
    options.max_context_tokens = asked;
    return (*LoadModel(checkpoint, backend->get(), options))->max_context_tokens();
  };
  EXPECT_EQ(context(0), 256);
  EXPECT_EQ(context(64), 64);
  EXPECT_EQ(context(1000), 256);
}

TEST_F(LoadModelTest, ProgressEndsAtAllBytes) {
  Checkpoint::Parts parts = PartsOf("qwen3");
  const Checkpoint checkpoint(std::move(parts));
  auto backend = MakeCpuBackend({.num_threads = 1, .kernels = "portable"});
  ASSERT_TRUE(backend.ok()) << backend.status();
  std::vector<std::pair<int64_t, int64_t>> reports;
  LoadOptions options;
  options.format = WeightFormat::kBf16;
  options.progress = [&](int64_t done, int64_t total) { reports.emplace_back(done, total); };
  ASSERT_TRUE(LoadModel(checkpoint, backend->get(), options).ok());
  ASSERT_GT(reports.size(), 4u);
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
  EXPECT_EQ(reports.back().first, reports.back().second);
  EXPECT_EQ(reports.back().second, checkpoint.weight_bytes());
}

// One of several ranks, without the others: loading says nothing to them.
class LoneRank : public SingleRankCommunicator {
 public:
  LoneRank(Backend* backend, int rank, int size)
      : SingleRankCommunicator(backend), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }

 private:
  const int rank_;
  const int size_;
};

// The experts of other ranks lie in memory that cannot be read.
TEST_F(LoadModelTest, ARankThatHoldsWholeExpertsReadsNoOthers) {
  constexpr int kRanks = 3;
  const std::string of_experts = ".mlp.experts.";
  for (int rank = 0; rank < kRanks; ++rank) {
    Checkpoint::Parts parts = PartsOf("qwen3_moe");
    const Share held = ShareOf(parts.spec.experts()->routing.num_experts, rank, kRanks);
    int64_t forbidden_bytes = 0;
    for (TensorView& tensor : parts.tensors) {
      const size_t at = tensor.name.find(of_experts);
      if (at == std::string::npos) continue;
      const int64_t expert = std::stoll(tensor.name.substr(at + of_experts.size()));
      if (expert >= held.first && expert < held.first + held.count) continue;
      void* const page = ::mmap(nullptr, static_cast<size_t>(tensor.bytes), PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      ASSERT_NE(page, MAP_FAILED);
      tensor.data = page;
      forbidden_bytes += tensor.bytes;
    }
    ASSERT_GT(forbidden_bytes, 0);
    const Checkpoint checkpoint(std::move(parts));
    auto backend = MakeCpuBackend({.num_threads = 1, .kernels = "portable"});
    ASSERT_TRUE(backend.ok()) << backend.status();
    LoadOptions options;
    options.format = WeightFormat::kBf16;
    options.expert_split = ExpertSplit::kExperts;
    std::vector<std::pair<int64_t, int64_t>> reports;
    options.progress = [&](int64_t done, int64_t total) { reports.emplace_back(done, total); };
    const auto model = LoadRank(checkpoint, backend->get(), options,
                                std::make_unique<LoneRank>(backend->get(), rank, kRanks));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
    EXPECT_GE(reports.front().first, forbidden_bytes);
    EXPECT_EQ(reports.back(), std::pair(checkpoint.weight_bytes(), checkpoint.weight_bytes()));
  }
}

TEST_F(LoadModelTest, EstimatesTheRankThatHoldsMost) {
  const Checkpoint checkpoint(PartsOf("qwen3_moe"));
  LoadOptions options;
  options.format = WeightFormat::kBf16;
  const int64_t whole = EstimateWeightBytes(checkpoint, options);
  EXPECT_EQ(*EstimateRankBytes(checkpoint, options, 1), whole);
  for (const int ranks : {2, 3, 4}) {
    for (const ExpertSplit split : {ExpertSplit::kColumns, ExpertSplit::kExperts}) {
      options.expert_split = split;
      const absl::StatusOr<int64_t> bytes = EstimateRankBytes(checkpoint, options, ranks);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      int64_t values = 0;
      for (const WeightSpec& weight : DeclaredWeights(*RankSpec(checkpoint, 0, ranks, split))) {
        values += weight.num_values();
      }
      EXPECT_NEAR(static_cast<double>(*bytes), static_cast<double>(2 * values), 2.0) << ranks;
    }
  }
  options.expert_split = ExpertSplit::kExperts;
  const absl::Status refused = EstimateRankBytes(Checkpoint(PartsOf("qwen3")), options, 2).status();
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("enable_expert_parallel is true: the model has no experts"));
}

}  // namespace
}  // namespace pingti::worker
