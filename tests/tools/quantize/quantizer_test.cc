// Tiny random checkpoints of every family: quantized, loaded as a worker would, held against
// transformers in f32. Bounds are what was measured, times kMargin.
#include "tools/quantize/quantizer.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/source_dir.h"
#include "tests/tools/gpu_checkpoint.h"
#include "tests/worker/model/model_runner.h"
#include "tools/quantize/safetensors_writer.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {
namespace {

namespace fs = std::filesystem;

constexpr double kMargin = 1.5;
const std::string kTiny = SourcePath("tests/golden/model/tiny/");

struct Expected {
  std::vector<int32_t> prompt;
  std::vector<float> logprobs;
};

Expected ReadExpected(const std::string& directory) {
  std::ifstream file(directory + "/expected.json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const boost::json::value root = boost::json::parse(text);
  return {boost::json::value_to<std::vector<int32_t>>(root.at("prompt")),
          boost::json::value_to<std::vector<float>>(root.at("logprobs"))};
}

// KL(transformers || the worker's model of `directory`) after the prompt, in nats.
double DivergenceOf(const std::string& directory, const Expected& expected) {
  const auto checkpoint = worker::OpenCheckpoint(directory);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto backend = worker::MakeCpuBackend({.num_threads = 1, .kernels = ""});
  const auto model = worker::LoadModel(**checkpoint, backend->get(), {});
  EXPECT_TRUE(model.ok()) << model.status();
  worker::testing::ModelRunner runner(model->get(), {});
  EXPECT_TRUE(runner.Step({expected.prompt}).ok());
  const std::vector<float> got = *runner.AllLogprobs(0);
  double sum = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    sum += std::exp(static_cast<double>(expected.logprobs[i])) *
           static_cast<double>(expected.logprobs[i] - got[i]);
  }
  return sum;
}

class QuantizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("pingti_quantizer_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  QuantizeOptions Options(const std::string& name) const {
    QuantizeOptions options;
    options.input = kTiny + name;
    options.output = folder_ / name;
    options.device = worker::DeviceChoice::kCpu;
    options.threads = 1;
    return options;
  }
  static absl::StatusOr<QuantizeReport> Run(const QuantizeOptions& options) {
    return Quantize(options, false, [](const QuantizeReport&) {});
  }
  void ExpectNothingWritten() const { EXPECT_TRUE(fs::is_empty(folder_)); }

  fs::path folder_;
};

struct Family {
  const char* name;
  double divergence;  // measured, plain and with SmoothQuant: the larger
};

void PrintTo(const Family& family, std::ostream* out) { *out << family.name; }

class FamilyTest : public QuantizerTest, public ::testing::WithParamInterface<Family> {};

TEST_P(FamilyTest, LoadsInTheWorkerWithinItsDivergence) {
  const Expected expected = ReadExpected(kTiny + GetParam().name);
  for (const double alpha : {-1.0, 0.5}) {
    QuantizeOptions options = Options(GetParam().name);
    if (alpha >= 0.0) options.smoothquant_alpha = alpha;
    const auto report = Run(options);
    ASSERT_TRUE(report.ok()) << report.status();
    const double divergence = DivergenceOf(options.output, expected);
    std::printf("%s alpha %g: KL %.3g\n", GetParam().name, alpha, divergence);
    EXPECT_LT(divergence, kMargin * GetParam().divergence) << "alpha " << alpha;
    for (const QuantizeReport::Layer& layer : report->layers) {
      for (const std::optional<double>& error : layer.error) {
        EXPECT_GT(error.value_or(0.01), 0.001);  // int8 cannot be nearer
        EXPECT_LT(error.value_or(0.01), 0.02);
      }
    }
    EXPECT_LT(report->output_bytes, report->input_bytes);
    fs::remove_all(options.output);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Families, FamilyTest,
    ::testing::Values(Family{"llama3", 2.6e-3}, Family{"llama_linear_mha", 2.5e-3},
                      Family{"llama_dynamic", 4.3e-3}, Family{"llama_mqa_bias_tied", 2.0e-2},
                      Family{"qwen2", 1.7e-3}, Family{"qwen2_yarn", 2.7e-3},
                      Family{"qwen3", 5.8e-3}, Family{"mistral_window", 1.5e-2},
                      Family{"phi3_window", 1.8e-2}, Family{"falcon", 3.9e-3},
                      Family{"falcon_new", 3.1e-3}, Family{"falcon_rw", 2.3e-2},
                      Family{"mixtral", 9.3e-3}, Family{"qwen3_moe", 7.3e-4},
                      Family{"qwen2_moe", 7.5e-3}, Family{"deepseek_v2_lite", 1.1e-2},
                      Family{"deepseek_v2", 9.9e-3}, Family{"deepseek_v3", 6.9e-3},
                      Family{"gpt_oss", 1.6e-2}),
    [](const auto& test) { return std::string(test.param.name); });

class Int4FamilyTest : public QuantizerTest, public ::testing::WithParamInterface<Family> {};

TEST_P(Int4FamilyTest, LoadsInTheWorkerWithinItsDivergence) {
  QuantizeOptions options = Options(GetParam().name);
  options.scheme = WeightScheme::kInt4;
  options.group_size = 32;
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status();
  const double divergence = DivergenceOf(options.output, ReadExpected(kTiny + GetParam().name));
  std::printf("%s int4: KL %.3g\n", GetParam().name, divergence);
  EXPECT_LT(divergence, kMargin * GetParam().divergence);
  const auto checkpoint = worker::OpenCheckpoint(options.output);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (size_t layer = 0; layer < report->layers.size(); ++layer) {
    for (size_t g = 0; g < kNumGroups; ++g) {
      const auto group = static_cast<LinearGroup>(g);
      SCOPED_TRACE(GroupName(group));
      const bool kept = report->layers[layer].kept[g];
      EXPECT_EQ(kept, !FillsGroups((*checkpoint)->spec(), static_cast<int64_t>(layer), group, 32));
      const std::optional<double>& error = report->layers[layer].error[g];
      if (kept || !error.has_value()) continue;
      EXPECT_GT(*error, 0.04);  // 4 bits cannot be nearer
      EXPECT_LT(*error, 0.13);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Int4FamilyTest,
                         ::testing::Values(Family{"llama3", 0.47}, Family{"qwen2", 0.053},
                                           Family{"qwen3", 0.1}, Family{"phi3_window", 0.6},
                                           Family{"qwen3_moe", 0.016}, Family{"qwen2_moe", 0.95},
                                           Family{"deepseek_v3_fp8", 0.066},
                                           Family{"gpt_oss", 0.13}),
                         [](const auto& test) { return std::string(test.param.name); });

// Inspect prints what a checkpoint says of itself: the type of most values, and how many there are.
TEST_F(QuantizerTest, Int4IsPackedByRowsWithGroupsOfItsOwnScale) {
  QuantizeOptions options = Options("qwen3_moe");
  options.scheme = WeightScheme::kInt4;
  options.group_size = 32;
  options.keep = {"model.layers.0.self_attn.o_proj"};
  ASSERT_TRUE(Run(options).ok());
  const auto original = worker::OpenCheckpoint(options.input);
  const auto checkpoint = worker::OpenCheckpoint(options.output);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->dominant_format(), "compressed-tensors-int4");
  EXPECT_EQ((*checkpoint)->num_parameters(), (*original)->num_parameters());
  EXPECT_EQ((*checkpoint)->packed().group_size, 32);
  const worker::DecoderSpec& spec = (*checkpoint)->spec();
  for (const LinearGroup group : {LinearGroup::kQkv, LinearGroup::kExpertsIn}) {
    for (const std::string& module : GroupModules(spec, 0, group)) {
      const std::vector<int64_t>& shape = (*original)->Find(module + ".weight")->shape;
      EXPECT_EQ((*checkpoint)->Find(module + ".weight"), nullptr);
      const worker::TensorView* words = (*checkpoint)->Find(module + ".weight_packed");
      ASSERT_NE(words, nullptr) << module;
      EXPECT_EQ(words->dtype, worker::DType::kI32);
      EXPECT_EQ(words->shape, (std::vector<int64_t>{shape[0], shape[1] / 8}));
      const worker::TensorView* scales = (*checkpoint)->Find(module + ".weight_scale");
      ASSERT_NE(scales, nullptr) << module;
      EXPECT_EQ(scales->shape, (std::vector<int64_t>{shape[0], shape[1] / 32}));
    }
  }
  for (const std::string& module : {std::string("model.layers.0.self_attn.o_proj"),
                                    OtherModules(spec, 0).front(), std::string("lm_head")}) {
    EXPECT_NE((*checkpoint)->Find(module + ".weight"), nullptr) << module;
  }
}

TEST_F(QuantizerTest, Int4LeavesProductsWhoseColumnsAreNoWholeGroups) {
  QuantizeOptions options = Options("qwen2");
  options.scheme = WeightScheme::kInt4;
  options.group_size = 1024;
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const QuantizeReport::Layer& layer : report->layers) {
    for (size_t g = 0; g < kNumGroups; ++g) {
      EXPECT_EQ(layer.kept[g], layer.error[g].has_value());
      EXPECT_EQ(layer.error[g].value_or(0.0), 0.0);
    }
  }
  EXPECT_EQ(report->quality.kl_max, 0.0);
}

TEST_F(QuantizerTest, WritesTheSameWhateverTheNumberOfThreads) {
  // With more rows than a thread is worth.
  testing::WriteGpuCheckpoint(folder_ / "in");
  const auto tensors = [&](const std::string& name, int threads) {
    QuantizeOptions options = Options(name);
    options.input = folder_ / "in";
    options.threads = threads;
    options.smoothquant_alpha = 0.5;
    EXPECT_TRUE(Run(options).ok());
    std::ifstream file(options.output + "/model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string one = tensors("one", 1);
  EXPECT_FALSE(one.empty());
  EXPECT_EQ(tensors("four", 4), one);
}

TEST_F(QuantizerTest, ModelWithEverythingKeptIsTheOriginal) {
  QuantizeOptions options = Options("qwen2");
  options.keep = {"*"};
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->quality.kl_max, 0.0);
  EXPECT_EQ(report->quality.perplexity_quantized, report->quality.perplexity_original);
  EXPECT_EQ(report->quality.same_top, 1.0);
  EXPECT_EQ(report->output_bytes, report->input_bytes);
}

TEST_F(QuantizerTest, PatternsAndTheErrorBoundKeepWholeProducts) {
  QuantizeOptions options = Options("qwen3");
  options.keep = {"model.layers.0.self_attn.k_proj"};
  options.max_error = 0.0100;
  options.smoothquant_alpha = 0.5;
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status();
  const auto checkpoint = worker::OpenCheckpoint(options.output);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  int kept = 0;
  for (size_t layer = 0; layer < report->layers.size(); ++layer) {
    for (size_t g = 0; g < kNumGroups; ++g) {
      const auto group = static_cast<LinearGroup>(g);
      const bool is_kept = report->layers[layer].kept[g];
      kept += is_kept ? 1 : 0;
      const bool by_pattern = layer == 0 && group == LinearGroup::kQkv;
      EXPECT_EQ(is_kept, by_pattern || report->layers[layer].error[g].value_or(0.0) > 0.0100);
      for (const std::string& module :
           GroupModules((*checkpoint)->spec(), static_cast<int64_t>(layer), group)) {
        const worker::DType dtype = (*checkpoint)->Find(module + ".weight")->dtype;
        EXPECT_EQ(dtype, is_kept ? worker::DType::kBf16 : worker::DType::kI8) << module;
      }
    }
  }
  EXPECT_GT(kept, 1);
  EXPECT_LT(kept, 8);
}

TEST_F(QuantizerTest, EveryExpertIsRoundedAndRoutersAndLatentHeadsStay) {
  const QuantizeOptions options = Options("deepseek_v3");
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status();
  const auto checkpoint = worker::OpenCheckpoint(options.output);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const worker::DecoderSpec& spec = (*checkpoint)->spec();
  const auto group = [](LinearGroup g) { return static_cast<size_t>(g); };
  // The first layer has no experts, the others have, and a feed-forward for all tokens besides.
  EXPECT_FALSE(report->layers[0].error[group(LinearGroup::kExpertsIn)].has_value());
  for (const LinearGroup g :
       {LinearGroup::kQkv, LinearGroup::kQueryUp, LinearGroup::kO, LinearGroup::kGateUp,
        LinearGroup::kDown, LinearGroup::kExpertsIn, LinearGroup::kExpertsOut}) {
    EXPECT_TRUE(report->layers[1].error[group(g)].has_value()) << GroupName(g);
  }
  const auto dtype = [&](const std::string& module) {
    return (*checkpoint)->Find(module + ".weight")->dtype;
  };
  const std::vector<std::string> in = GroupModules(spec, 1, LinearGroup::kExpertsIn);
  const std::vector<std::string> out = GroupModules(spec, 1, LinearGroup::kExpertsOut);
  EXPECT_EQ(in.size(), 2 * out.size());
  for (const std::string& module : in) EXPECT_EQ(dtype(module), worker::DType::kI8) << module;
  for (const std::string& module : out) EXPECT_EQ(dtype(module), worker::DType::kI8) << module;
  const std::vector<std::string> others = OtherModules(spec, 1);
  EXPECT_EQ(others, (std::vector<std::string>{"model.layers.1.self_attn.kv_b_proj",
                                              "model.layers.1.mlp.gate"}));
  for (const std::string& module : others) {
    EXPECT_EQ(dtype(module), worker::DType::kBf16) << module;
  }
  const std::vector<std::string>& kept = (*checkpoint)->compressed_int8().ignored_modules;
  EXPECT_NE(std::find(kept.begin(), kept.end(), others[0]), kept.end());
  EXPECT_EQ(std::find(kept.begin(), kept.end(), in[0]), kept.end());
  EXPECT_NE(std::find(kept.begin(), kept.end(), "model.layers.2.eh_proj"), kept.end());
}

TEST_F(QuantizerTest, StackedExpertsBecomeModulesWithTheSameValues) {
  QuantizeOptions options = Options("gpt_oss");
  options.keep = {"*"};
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->quality.kl_max, 0.0);
  const Expected expected = ReadExpected(options.input);
  EXPECT_EQ(DivergenceOf(options.output, expected), DivergenceOf(options.input, expected));
  const auto checkpoint = worker::OpenCheckpoint(options.output);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::string experts = "model.layers.1.mlp.experts";
  EXPECT_EQ((*checkpoint)->Find(experts + ".gate_up_proj"), nullptr);
  EXPECT_EQ((*checkpoint)->Find(experts + ".gate_up_proj_bias"), nullptr);
  for (const char* name : {".3.gate_proj.weight", ".3.up_proj.weight"}) {
    const worker::TensorView* tensor = (*checkpoint)->Find(experts + name);
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_EQ(tensor->shape, (std::vector<int64_t>{64, 32}));
  }
  EXPECT_NE((*checkpoint)->Find(experts + ".0.down_proj.bias"), nullptr);
  // Values moved and none were added.
  EXPECT_EQ(report->output_bytes, report->input_bytes);
}

// Copies the checkpoint as transformers 5 writes it with save_original_format=False.
void WriteFused(const std::string& from, const std::string& to) {
  fs::create_directories(to);
  fs::copy(from + "/config.json", to + "/config.json");
  const auto checkpoint = worker::OpenCheckpoint(from);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  SafetensorsWriter writer(to, {.header_bytes = 1 << 16});
  std::set<std::string> fused;
  for (const worker::LayerSpec& layer : (*checkpoint)->spec().layers) {
    if (!layer.experts.has_value()) continue;
    const int64_t experts = layer.experts->routing.num_experts;
    for (const auto* parts : {&layer.experts->gate_up, &layer.experts->down}) {
      std::string bytes;
      std::vector<int64_t> shape;
      for (const worker::RowBlock& part : *parts) {
        const worker::TensorView& tensor = *(*checkpoint)->Find(part.module + ".weight");
        bytes.append(static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes));
        fused.insert(tensor.name);
        const auto each = static_cast<int64_t>(parts->size()) / experts;
        shape = {experts, each * tensor.shape[0], tensor.shape[1]};
      }
      const std::string& first = parts->front().module;
      const std::string name = first.substr(0, first.rfind(".0.")) +
                               (parts == &layer.experts->down ? ".down_proj" : ".gate_up_proj");
      ASSERT_TRUE(writer.Add(name, worker::DType::kBf16, shape, bytes).ok());
    }
  }
  for (const worker::TensorView& tensor : (*checkpoint)->tensors()) {
    if (fused.count(tensor.name) != 0) continue;
    ASSERT_TRUE(writer
                    .Add(tensor.name, tensor.dtype, tensor.shape,
                         {static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes)})
                    .ok());
  }
  ASSERT_TRUE(writer.Finish().ok());
}

TEST_F(QuantizerTest, FusedExpertsAreReadAsModules) {
  for (const char* name : {"qwen3_moe", "qwen2_moe", "deepseek_v3"}) {
    QuantizeOptions options = Options(name);
    const auto apart = Run(options);
    ASSERT_TRUE(apart.ok()) << apart.status();
    const auto expected = worker::OpenCheckpoint(options.output);
    options.input = folder_ / "fused" / name;
    options.output = folder_ / "quantized" / name;
    fs::create_directories(folder_ / "quantized");
    WriteFused(kTiny + name, options.input);
    const auto report = Run(options);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->quality.kl_max, apart->quality.kl_max);
    const auto checkpoint = worker::OpenCheckpoint(options.output);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->tensors().size(), (*expected)->tensors().size());
    for (const worker::TensorView& tensor : (*expected)->tensors()) {
      const worker::TensorView* written = (*checkpoint)->Find(tensor.name);
      ASSERT_NE(written, nullptr) << tensor.name;
      EXPECT_EQ(written->shape, tensor.shape) << tensor.name;
      EXPECT_EQ(std::memcmp(written->data, tensor.data, static_cast<size_t>(tensor.bytes)), 0)
          << tensor.name;
    }
  }
}

// As DeepSeek publishes its models: what is not rounded to int8 becomes bf16.
TEST_F(QuantizerTest, EightBitFloatsBecomeInt8) {
  struct Case {
    const char* name;
    double divergence;
  };
  for (const Case& tested : {Case{"deepseek_v3_fp8", 3.4e-3}, Case{"qwen3_fp8", 2e-3}}) {
    const QuantizeOptions options = Options(tested.name);
    const auto report = Run(options);
    ASSERT_TRUE(report.ok()) << report.status();
    const double divergence = DivergenceOf(options.output, ReadExpected(kTiny + tested.name));
    std::printf("%s: KL %.3g\n", tested.name, divergence);
    EXPECT_LT(divergence, kMargin * tested.divergence) << tested.name;
    const auto checkpoint = worker::OpenCheckpoint(options.output);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_FALSE((*checkpoint)->fp8().present);
    for (const worker::TensorView& tensor : (*checkpoint)->tensors()) {
      EXPECT_NE(tensor.dtype, worker::DType::kF8E4M3) << tensor.name;
      EXPECT_FALSE(tensor.name.ends_with("_scale_inv")) << tensor.name;
    }
  }
}

TEST_F(QuantizerTest, NamesWhatIsWrongAndLeavesNothing) {
  QuantizeOptions options = Options("qwen2_int8");
  EXPECT_TRUE(absl::IsFailedPrecondition(Run(options).status()));
  options = Options("gpt_oss_mxfp4");
  EXPECT_TRUE(absl::IsFailedPrecondition(Run(options).status()));
  options = Options("qwen2");
  options.scheme = WeightScheme::kInt4;
  options.group_size = 48;
  EXPECT_NE(Run(options).status().message().find("--group-size 48"), absl::string_view::npos);
  options.group_size = 128;
  options.smoothquant_alpha = 0.5;
  EXPECT_TRUE(absl::IsInvalidArgument(Run(options).status()));
  options = Options("gguf_llama_k");
  EXPECT_TRUE(absl::IsInvalidArgument(Run(options).status()));
  options = Options("qwen2");
  options.keep = {"model.layers.7.*"};
  EXPECT_TRUE(absl::IsInvalidArgument(Run(options).status()));
  options = Options("qwen2");
  options.text_file = "/nonexistent";
  const absl::Status no_tokenizer = Run(options).status();
  EXPECT_NE(no_tokenizer.message().find("no tokenizer"), absl::string_view::npos) << no_tokenizer;
  ExpectNothingWritten();
}

TEST_F(QuantizerTest, NamesAMissingTensorBeforeItWritesAnything) {
  // The first of the three shards alone.
  QuantizeOptions options = Options("qwen3");
  const fs::path broken = folder_ / "broken";
  fs::create_directories(broken);
  fs::copy(options.input + "/config.json", broken);
  fs::copy(options.input + "/model-00001-of-00003.safetensors", broken / "model.safetensors");
  options.input = broken;
  const absl::Status status = Run(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("is missing"), absl::string_view::npos) << status;
  EXPECT_FALSE(fs::exists(options.output));
}

TEST_F(QuantizerTest, CancellationLeavesNothing) {
  std::atomic<bool> cancelled = false;
  const auto report = Quantize(Options("qwen2"), cancelled, [&](const QuantizeReport& so_far) {
    EXPECT_EQ(so_far.layers.size(), 1u);
    EXPECT_FALSE(fs::is_empty(folder_));  // it is being written
    cancelled = true;
  });
  EXPECT_TRUE(absl::IsCancelled(report.status())) << report.status();
  ExpectNothingWritten();
}

}  // namespace
}  // namespace pingti::tools
