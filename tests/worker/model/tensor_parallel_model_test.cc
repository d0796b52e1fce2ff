// A model shared by ranks says what it says on one: every family and weight format, sizes that do
// not divide, blocks that leave and come back; and what becomes of a rank that errs. On the devices
// that the program is linked for: threads of the CPU, or as many GPUs as there are.
#include "worker/model/tensor_parallel_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/testing/await.h"
#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/model/model_runner.h"
#include "tests/worker/model/packed_checkpoint.h"
#include "tests/worker/model/random_checkpoint.h"
#include "worker/adapters/read_adapter.h"
#include "worker/comm/choose/rank_group.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;
using testing::ModelRunner;

constexpr int32_t kAnswerTokens = 16;

bool IsExact() {
  static const bool exact = testing::MakeDeviceUnderTest("")->is_exact();
  return exact;
}

// A model on one rank or several, and what it stands on.
struct Loaded {
  std::unique_ptr<RankGroup> group;
  std::unique_ptr<testing::DeviceUnderTest> device;
  std::unique_ptr<Model> model;
};

// Null: fewer GPUs than ranks.
std::unique_ptr<RankGroup> OpenGroup(int size) {
  DeviceRequest request;
  request.choice = IsExact() ? DeviceChoice::kCpu : DeviceChoice::kCuda;
  request.cpu_threads = size;
  auto group = RankGroup::Open(request, size);
  if (!IsExact() && absl::IsInvalidArgument(group.status())) return nullptr;
  EXPECT_TRUE(group.ok()) << group.status();
  return *std::move(group);
}

absl::StatusOr<std::unique_ptr<TensorParallelModel>> LoadRanks(const Checkpoint& checkpoint,
                                                               RankGroup* group,
                                                               const LoadOptions& options) {
  const auto load = [&](int rank) {
    return LoadRank(checkpoint, group->device(rank).backend.get(), options,
                    group->TakeCommunicator(rank));
  };
  return TensorParallelModel::Load(group->threads(), load, [] {});
}

Loaded LoadOne(const Checkpoint& checkpoint, WeightFormat format) {
  Loaded loaded;
  loaded.device = testing::MakeDeviceUnderTest("");
  LoadOptions options;
  options.format = format;
  auto model = LoadModel(checkpoint, loaded.device->backend(), options);
  EXPECT_TRUE(model.ok()) << model.status();
  loaded.model = *std::move(model);
  return loaded;
}

std::vector<int32_t> Prompt(int32_t vocab_size) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 24; ++i) prompt.push_back((5 + 37 * i) % vocab_size);
  return prompt;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // after the prompt
};

Answer AnswerOf(Model* model) {
  ModelRunner runner(model, {});
  Answer answer;
  const std::vector<int32_t> prompt = Prompt(model->vocab_size());
  answer.tokens = *runner.Greedy(0, prompt, 1, 10);
  answer.logprobs = *runner.AllLogprobs(0);
  std::vector<std::vector<int32_t>> tokens(1);
  while (static_cast<int32_t>(answer.tokens.size()) < kAnswerTokens) {
    tokens[0] = {answer.tokens.back()};
    answer.tokens.push_back((*runner.Step(tokens)).front());
  }
  return answer;
}

// KL(expected || got), in nats.
double Divergence(const std::vector<float>& expected, const std::vector<float>& got) {
  double sum = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    sum += std::exp(static_cast<double>(expected[i])) * static_cast<double>(expected[i] - got[i]);
  }
  return sum;
}

// How far several ranks may be from the most exact answer, in nats, beside how far one rank is: in
// int8, activations have a scale for each rank's columns, so that ranks round in other places.
constexpr double kTimesOneRanks = 3.0;
constexpr double kMarginExact = 1e-3;
constexpr double kMarginBf16 = 2e-2;  // of a device that keeps activations in bf16

class TensorParallelTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto checkpoint =
        OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + std::string(GetParam()));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
};

void ExpectSameAnswer(const Checkpoint& checkpoint, WeightFormat format, int size,
                      const Answer& best, ExpertSplit expert_split = ExpertSplit::kColumns) {
  SCOPED_TRACE(::testing::Message() << size << " ranks, " << WeightFormatName(format));
  const std::unique_ptr<RankGroup> group = OpenGroup(size);
  ASSERT_NE(group, nullptr);
  const Loaded one = LoadOne(checkpoint, format);
  LoadOptions options;
  options.format = format;
  options.expert_split = expert_split;
  auto model = LoadRanks(checkpoint, group.get(), options);
  ASSERT_TRUE(model.ok()) << model.status();
  const Answer expected = AnswerOf(one.model.get());
  const Answer got = AnswerOf(model->get());
  EXPECT_LT(Divergence(best.logprobs, got.logprobs),
            kTimesOneRanks * Divergence(best.logprobs, expected.logprobs) +
                (IsExact() ? kMarginExact : kMarginBf16));
  if (format != WeightFormat::kF32) return;
  EXPECT_EQ(got.tokens, expected.tokens);
  for (size_t i = 0; i < got.logprobs.size(); ++i) {
    EXPECT_NEAR(got.logprobs[i], expected.logprobs[i], 1e-4) << "token " << i;
  }
}

// In every format.
void ExpectSameAnswers(const Checkpoint& checkpoint, const std::vector<int>& sizes,
                       ExpertSplit expert_split = ExpertSplit::kColumns) {
  const WeightFormat most_exact = IsExact() ? WeightFormat::kF32 : WeightFormat::kBf16;
  const Loaded best = LoadOne(checkpoint, most_exact);
  const Answer answer = AnswerOf(best.model.get());
  for (const int size : sizes) {
    for (const WeightFormat format :
         {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kStored}) {
      ExpectSameAnswer(checkpoint, format, size, answer, expert_split);
    }
    if (IsExact()) {
      ExpectSameAnswer(checkpoint, WeightFormat::kF32, size, answer, expert_split);
    }
  }
}

TEST_P(TensorParallelTest, SaysWhatOneRankSays) {
  std::vector<int> sizes;
  for (const int size : {2, 4}) {
    const bool has_heads = size <= checkpoint_->spec().layers.front().num_heads();
    if (has_heads && OpenGroup(size) != nullptr) sizes.push_back(size);
  }
  if (sizes.empty()) GTEST_SKIP() << "takes two GPUs";
  ExpectSameAnswers(*checkpoint_, sizes);
}

TEST_P(TensorParallelTest, MoreRanksThanHeadsAreRefused) {
  if (!IsExact()) GTEST_SKIP() << "takes as many GPUs";
  const std::unique_ptr<RankGroup> group = OpenGroup(8);
  const auto model = LoadRanks(*checkpoint_, group.get(), {});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr(GetParam()));
  EXPECT_THAT(std::string(model.status().message()),
              HasSubstr("tensor_parallel is 8: the model has"));
}

struct AdapterCase {
  const char* base;
  const char* adapter;
};

class TensorParallelAdapterTest : public ::testing::TestWithParam<AdapterCase> {};

class ExpertParallelAdapterTest : public TensorParallelAdapterTest {};

// Of an adapter, with ranks that share the experts so.
void ExpectWhatOneRankAdds(const AdapterCase& of, ExpertSplit expert_split) {
  if (!IsExact()) GTEST_SKIP() << "sums are compared in f32";
  const auto checkpoint =
      OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + std::string(of.base));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::string path =
      SourcePath("tests/golden/model/tiny_adapters/") + std::string(of.adapter);
  const auto adapter = ReadAdapter("adapter", path);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  LoadOptions options;
  options.format = WeightFormat::kF32;
  options.adapters = {2, 16};
  testing::RunnerOptions with_adapter;
  with_adapter.adapter_slots = {1, kNoAdapterSlot};
  const auto logprobs = [&](Model* model) {
    const auto image = model->PrepareAdapter(**adapter);
    EXPECT_TRUE(image.ok() && model->SetAdapter(1, *image).ok()) << image.status();
    ModelRunner runner(model, with_adapter);
    const std::vector<int32_t> prompt = Prompt(model->vocab_size());
    EXPECT_TRUE(runner.Step({prompt, prompt}).ok());
    return std::pair(*runner.AllLogprobs(0), *runner.AllLogprobs(1));
  };
  const std::unique_ptr<testing::DeviceUnderTest> device = testing::MakeDeviceUnderTest("");
  const auto one = LoadModel(**checkpoint, device->backend(), options);
  ASSERT_TRUE(one.ok()) << one.status();
  const auto expected = logprobs(one->get());
  EXPECT_NE(expected.first, expected.second);
  for (const int size : {2, 4}) {
    SCOPED_TRACE(size);
    const std::unique_ptr<RankGroup> group = OpenGroup(size);
    options.expert_split = expert_split;
    const auto model = LoadRanks(**checkpoint, group.get(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    const auto got = logprobs(model->get());
    for (size_t i = 0; i < got.first.size(); ++i) {
      EXPECT_NEAR(got.first[i], expected.first[i], 1e-4) << "token " << i;
      EXPECT_NEAR(got.second[i], expected.second[i], 1e-4) << "token " << i;
    }
  }
}

TEST_P(TensorParallelAdapterTest, AnAdapterAddsWhatItAddsOnOneRank) {
  ExpectWhatOneRankAdds(GetParam(), ExpertSplit::kColumns);
}

TEST_P(ExpertParallelAdapterTest, AnAdapterAddsWhatItAddsOnOneRank) {
  ExpectWhatOneRankAdds(GetParam(), ExpertSplit::kExperts);
}

INSTANTIATE_TEST_SUITE_P(Adapters, ExpertParallelAdapterTest,
                         ::testing::Values(AdapterCase{"mixtral", "mixtral_experts"},
                                           AdapterCase{"qwen2_moe", "qwen2_moe_experts"},
                                           AdapterCase{"qwen3_moe", "qwen3_moe_stacks"},
                                           AdapterCase{"gpt_oss", "gpt_oss_stacks"}),
                         [](const auto& test) { return std::string(test.param.adapter); });

INSTANTIATE_TEST_SUITE_P(
    Adapters, TensorParallelAdapterTest,
    ::testing::Values(
        AdapterCase{"llama3", "llama3_all"}, AdapterCase{"llama3", "llama3_mlp"},
        AdapterCase{"phi3_window", "phi3_fused"}, AdapterCase{"falcon_new", "falcon_fused"},
        AdapterCase{"deepseek_v3", "deepseek_v3_latent"}, AdapterCase{"gguf_llama_k", "gguf_llama"},
        AdapterCase{"llama3", "llama3_ends"}, AdapterCase{"mixtral", "mixtral_experts"},
        AdapterCase{"qwen2_moe", "qwen2_moe_experts"},
        AdapterCase{"deepseek_v3", "deepseek_v3_experts"},
        AdapterCase{"gguf_qwen3_moe", "gguf_qwen3_moe_experts"},
        AdapterCase{"qwen3_moe", "qwen3_moe_stacks"}, AdapterCase{"mixtral", "mixtral_stacks"},
        AdapterCase{"gpt_oss", "gpt_oss_stacks"}, AdapterCase{"llama_mqa_bias_tied", "tied_head"}),
    [](const auto& test) { return std::string(test.param.adapter); });

constexpr const char* kCpuCheckpoints[] = {"llama3",
                                           "llama_linear_mha",
                                           "llama_dynamic",
                                           "llama_mqa_bias_tied",
                                           "qwen2",
                                           "qwen2_yarn",
                                           "qwen3",
                                           "mistral_window",
                                           "phi3_window",
                                           "qwen2_int8",
                                           "qwen2_gptq4",
                                           "qwen2_gptq8",
                                           "qwen2_awq",
                                           "qwen2_packed4",
                                           "qwen2_packed4_zeros",
                                           "gguf_llama_k",
                                           "gguf_qwen2_4bit",
                                           "gguf_phi3_4bit",
                                           "gguf_qwen3_16bit",
                                           "falcon",
                                           "falcon_new",
                                           "falcon_one_norm",
                                           "falcon_rw",
                                           "gguf_falcon_4bit",
                                           "gguf_falcon_new",
                                           "qwen3_moe",
                                           "qwen2_moe",
                                           "mixtral",
                                           "gpt_oss",
                                           "gpt_oss_mxfp4",
                                           "gguf_gpt_oss",
                                           "deepseek_v2_lite",
                                           "deepseek_v2",
                                           "deepseek_v3",
                                           "deepseek_v3_int8",
                                           "deepseek_v3_fp8",
                                           "gguf_deepseek_v2_lite",
                                           "gguf_deepseek_v3_d576",
                                           "gguf_qwen3_moe",
                                           "gguf_qwen2_moe",
                                           "gguf_mixtral"};
constexpr const char* kGpuCheckpoints[] = {"llama3_d64",
                                           "llama_mqa_bias_tied_d64",
                                           "qwen2_yarn_d64",
                                           "qwen3_d128",
                                           "phi3_d64",
                                           "mistral_window_d64",
                                           "qwen2_int8_d64",
                                           "gguf_llama_k_d64",
                                           "falcon_d64",
                                           "gguf_qwen2_4bit_d64",
                                           "falcon_rw_d64",
                                           "falcon_new_d64",
                                           "gguf_phi3_4bit_d64",
                                           "qwen3_moe_d128",
                                           "qwen3_moe_int8_d128",
                                           "qwen2_moe_d64",
                                           "gpt_oss_d64",
                                           "mixtral_d64",
                                           "deepseek_v2_lite_d576",
                                           "deepseek_v3_d576"};

INSTANTIATE_TEST_SUITE_P(Families, TensorParallelTest,
                         IsExact() ? ::testing::ValuesIn(kCpuCheckpoints)
                                   : ::testing::ValuesIn(kGpuCheckpoints),
                         [](const auto& test) { return std::string(test.param); });

class ExpertParallelTest : public TensorParallelTest {};

TEST_P(ExpertParallelTest, RanksWithWholeExpertsSayWhatOneRankSays) {
  std::vector<int> sizes;
  for (const int size : {2, 4}) {
    const bool has_heads = size <= checkpoint_->spec().layers.front().num_heads();
    if (has_heads && OpenGroup(size) != nullptr) sizes.push_back(size);
  }
  if (sizes.empty()) GTEST_SKIP() << "takes two GPUs";
  ExpectSameAnswers(*checkpoint_, sizes, ExpertSplit::kExperts);
}

TEST_P(ExpertParallelTest, RanksMayHoldUnequalNumbersOfExperts) {
  if (!IsExact()) GTEST_SKIP() << "sums are compared in f32";
  if (checkpoint_->spec().layers.front().num_heads() < 3) GTEST_SKIP() << "2 heads";
  const Loaded best = LoadOne(*checkpoint_, WeightFormat::kF32);
  ExpectSameAnswer(*checkpoint_, WeightFormat::kF32, 3, AnswerOf(best.model.get()),
                   ExpertSplit::kExperts);
}

constexpr const char* kCpuExperts[] = {
    "mixtral",     "qwen3_moe",        "qwen2_moe",       "deepseek_v2_lite",
    "deepseek_v3", "deepseek_v3_int8", "deepseek_v3_fp8", "gguf_deepseek_v3_d576",
    "gpt_oss",     "gpt_oss_mxfp4",    "gguf_gpt_oss",    "gguf_qwen3_moe",
    "gguf_mixtral"};
constexpr const char* kGpuExperts[] = {"mixtral_d64",   "qwen3_moe_d128",   "qwen3_moe_int8_d128",
                                       "qwen2_moe_d64", "deepseek_v3_d576", "gpt_oss_d64"};

INSTANTIATE_TEST_SUITE_P(Families, ExpertParallelTest,
                         IsExact() ? ::testing::ValuesIn(kCpuExperts)
                                   : ::testing::ValuesIn(kGpuExperts),
                         [](const auto& test) { return std::string(test.param); });

// DeepSeek-V3's groups of experts, of which a correction makes the same ones the best for every
// token: the experts of one rank do all the work, whichever it is, and the others' none.
TEST(ExpertParallelLoadTest, GroupsOfOneRankMayTakeAllTokens) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const auto opened = OpenCheckpoint(SourcePath("tests/golden/model/tiny/deepseek_v3"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (const int rank : {0, 1}) {
    SCOPED_TRACE(rank);
    std::vector<uint16_t> correction(8, 0);
    std::fill_n(correction.begin() + 4 * rank, 4, FloatToBf16(100.0f));
    Checkpoint::Parts parts;
    parts.path = "one_rank";
    parts.spec = (*opened)->spec();
    parts.tensors = (*opened)->tensors();
    int changed = 0;
    for (TensorView& tensor : parts.tensors) {
      if (!tensor.name.ends_with("e_score_correction_bias")) continue;
      ASSERT_EQ(tensor.dtype, DType::kBf16);
      ASSERT_EQ(tensor.NumElements(), 8);
      tensor.data = correction.data();
      ++changed;
    }
    ASSERT_GT(changed, 0);
    const Checkpoint checkpoint(std::move(parts));
    ExpectSameAnswers(checkpoint, {2, 4}, ExpertSplit::kExperts);
  }
}

// Heads, KV heads, inner width and vocabulary that no number of ranks divides.
constexpr char kUneven[] =
    R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":96,"intermediate_size":232,)"
    R"("num_hidden_layers":2,"num_attention_heads":12,"num_key_value_heads":3,"vocab_size":101,)"
    R"("max_position_embeddings":256,"rms_norm_eps":1e-6,"hidden_act":"silu"})";

TEST(TensorParallelSizesTest, SharesThatAreNotEqualSayWhatOneRankSays) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  ExpectSameAnswers(checkpoint.get(), {2, 3, 4, 5, 8, 12});
}

// As many heads as a host has cards; fewer KV heads; experts of a width that 8 does not divide.
constexpr char kExperts[] =
    R"({"architectures":["Qwen3MoeForCausalLM"],"hidden_size":64,"intermediate_size":96,)"
    R"("moe_intermediate_size":36,"num_experts":8,"num_experts_per_tok":3,"norm_topk_prob":true,)"
    R"("num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":2,"head_dim":8,)"
    R"("vocab_size":101,"max_position_embeddings":256,"rms_norm_eps":1e-6,"hidden_act":"silu"})";
constexpr char kLatents[] =
    R"({"architectures":["DeepseekV3ForCausalLM"],"hidden_size":64,"intermediate_size":100,)"
    R"("moe_intermediate_size":36,"n_routed_experts":8,"n_shared_experts":1,"n_group":4,)"
    R"("topk_group":2,"num_experts_per_tok":3,"norm_topk_prob":true,"routed_scaling_factor":2.5,)"
    R"("scoring_func":"sigmoid","topk_method":"noaux_tc","first_k_dense_replace":1,)"
    R"("num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":8,"q_lora_rank":16,)"
    R"("kv_lora_rank":24,"qk_nope_head_dim":12,"qk_rope_head_dim":8,"v_head_dim":20,)"
    R"("vocab_size":101,"max_position_embeddings":256,"rms_norm_eps":1e-6,"hidden_act":"silu"})";

TEST(TensorParallelSizesTest, ExpertsAndLatentsOfEightRanksSayWhatOneRankSays) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  for (const char* config : {kExperts, kLatents}) {
    SCOPED_TRACE(config);
    const testing::RandomCheckpoint checkpoint(config, 3);
    const Loaded one = LoadOne(checkpoint.get(), WeightFormat::kF32);
    const Answer answer = AnswerOf(one.model.get());
    // Not in int8: each rank's scales round in other places, and rounding may choose other experts.
    for (const int size : {3, 8}) {
      ExpectSameAnswer(checkpoint.get(), WeightFormat::kF32, size, answer);
      ExpectSameAnswer(checkpoint.get(), WeightFormat::kF32, size, answer, ExpertSplit::kExperts);
    }
  }
}

TEST(TensorParallelSizesTest, TheHighestOfEachRankMakeTheTokensOfWholeRows) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  for (const int size : {1, 2, 4, 8}) {
    SCOPED_TRACE(size);
    std::vector<std::vector<int32_t>> prompts;
    for (int32_t p = 0; p < 5; ++p) prompts.push_back({p, 3 * p + 1, 100 - p});
    std::vector<std::vector<int32_t>> answers[2];
    for (const bool highest_only : {false, true}) {
      const std::unique_ptr<RankGroup> group = OpenGroup(size);
      LoadOptions options;
      options.format = WeightFormat::kF32;
      const auto model = LoadRanks(checkpoint.get(), group.get(), options);
      ASSERT_TRUE(model.ok()) << model.status();
      testing::RunnerOptions runner_options;
      runner_options.highest_only = highest_only;
      ModelRunner runner(model->get(), runner_options);
      answers[highest_only] = *runner.GreedyBatch(prompts, 12);
    }
    EXPECT_EQ(answers[1], answers[0]);
  }
}

// A vocabulary whose parts are unequal with any number of ranks, and larger than what records tell.
constexpr char kLargerVocabulary[] =
    R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":96,"intermediate_size":232,)"
    R"("num_hidden_layers":1,"num_attention_heads":12,"num_key_value_heads":3,"vocab_size":1003,)"
    R"("max_position_embeddings":256,"rms_norm_eps":1e-6,"hidden_act":"silu"})";

// One of each way of sampling, and mixtures.
std::vector<SamplingRow> SamplingKinds(std::span<const TokenCount> counts,
                                       std::span<const TokenBias> biases,
                                       std::span<const uint32_t> mask) {
  std::vector<SamplingRow> kinds(16);
  kinds[0].temperature = 0.0f;
  kinds[1].temperature = 0.7f;
  kinds[2].top_k = 20;
  kinds[3].top_p = 0.9f;
  kinds[4].min_p = 0.1f;
  kinds[5].top_k = 40;
  kinds[5].top_p = 0.8f;
  kinds[5].min_p = 0.02f;
  kinds[6].top_k = 1;
  kinds[7].top_k = 300;  // of whole rows
  kinds[8].temperature = 0.0f;
  kinds[8].num_ranked = 8;  // of whole rows
  kinds[9].temperature = 2.0f;
  kinds[9].top_p = 0.99f;  // often undecided
  for (size_t i = 10; i < kinds.size(); ++i) {
    kinds[i] = kinds[i - 10];
    kinds[i].num_top_logprobs = static_cast<int32_t>(i) - 10;
    kinds[i].token_counts = counts;
    kinds[i].repetition_penalty = 1.2f;
    kinds[i].presence_penalty = 0.4f;
    kinds[i].frequency_penalty = 0.3f;
    kinds[i].logit_bias = biases;
    if (i % 2 == 0) kinds[i].allowed_mask = mask;
  }
  return kinds;
}

void ExpectSameToken(const SampledToken& got, const SampledToken& want) {
  EXPECT_EQ(got.token_id, want.token_id);
  EXPECT_EQ(got.logits_not_finite, want.logits_not_finite);
  EXPECT_NEAR(got.logprob, want.logprob, 1e-5);
  ASSERT_EQ(got.top.size(), want.top.size());
  for (size_t i = 0; i < want.top.size(); ++i) {
    EXPECT_EQ(got.top[i].token_id, want.top[i].token_id);
    EXPECT_NEAR(got.top[i].logprob, want.top[i].logprob, 1e-5);
  }
  ASSERT_EQ(got.ranked.size(), want.ranked.size());
  for (size_t i = 0; i < want.ranked.size(); ++i) {
    EXPECT_EQ(got.ranked[i].token_id, want.ranked[i].token_id);
  }
}

// A model of `size` ranks after a step of `rows` tokens, each with a row of logits, of which it has
// records of fewer at once.
Loaded LoadStepped(const Checkpoint& checkpoint, int size, bool gathers_logits, int32_t rows) {
  Loaded loaded;
  loaded.group = OpenGroup(size);
  LoadOptions options;
  options.format = WeightFormat::kF32;
  options.gathers_logits = gathers_logits;
  auto model = LoadRanks(checkpoint, loaded.group.get(), options);
  EXPECT_TRUE(model.ok()) << model.status();
  loaded.model = *std::move(model);
  EXPECT_TRUE(loaded.model->Allocate(8, 16, 64, 5).ok());
  std::vector<int32_t> ids, positions;
  for (int32_t i = 0; i < rows; ++i) {
    ids.push_back(i * 41 % 1003);
    positions.push_back(i);
  }
  const std::vector<int32_t> start{0, rows}, context{rows}, table{3, 5};
  EXPECT_TRUE(
      loaded.model->Forward({ids, positions, start, context, table, 2, positions}, {}).ok());
  return loaded;
}

TEST(TensorParallelSamplingTest, WhatRanksTellOfTheirPartsMakesTheTokensOfWholeRows) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  constexpr int32_t kRows = 32;
  const testing::RandomCheckpoint checkpoint(kLargerVocabulary, 3);
  const std::vector<TokenCount> counts{{0, 1, 2}, {500, 0, 3}, {1002, 1, 0}};
  const std::vector<TokenBias> biases{{7, 4.0f}, {400, -3.0f}, {1001, 2.0f}};
  const std::vector<uint32_t> mask(32, 0x5555aaaau);
  const std::vector<SamplingRow> kinds = SamplingKinds(counts, biases, mask);
  for (const int size : {1, 2, 3, 4, 8}) {
    const Loaded parts = LoadStepped(checkpoint.get(), size, false, kRows);
    const Loaded whole = LoadStepped(checkpoint.get(), size, true, kRows);
    // Each kind alone, then with others.
    for (size_t round = 0; round < 2 * kinds.size(); ++round) {
      std::vector<SamplingRow> rows;
      for (size_t i = 0; i < kRows; ++i) {
        rows.push_back(round < kinds.size() ? kinds[round] : kinds[(i * round + i) % kinds.size()]);
        rows.back().seed = 100 * round + i;
        rows.back().position = i;
      }
      std::vector<SampledToken> got(kRows), want(kRows);
      ASSERT_TRUE(parts.model->Sample(rows, got).ok());
      ASSERT_TRUE(whole.model->Sample(rows, want).ok());
      for (size_t i = 0; i < kRows; ++i) {
        SCOPED_TRACE(::testing::Message() << size << " ranks, round " << round << ", row " << i);
        ExpectSameToken(got[i], want[i]);
      }
    }
  }
}

TEST(TensorParallelSamplingTest, LogprobsOfPartsAreThoseOfWholeRows) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const testing::RandomCheckpoint checkpoint(kLargerVocabulary, 3);
  // Runs of rows, single ones, and tokens of every rank.
  std::vector<LogprobRequest> requests;
  for (int32_t row = 0; row < 20; ++row) requests.push_back({row, row * 53 % 1003, row % 5});
  requests.push_back({3, 0, 0});
  requests.push_back({3, 1002, kMaxTopLogprobs});
  for (const int size : {2, 3, 8}) {
    const Loaded parts = LoadStepped(checkpoint.get(), size, false, 20);
    const Loaded whole = LoadStepped(checkpoint.get(), size, true, 20);
    std::vector<SampledToken> got(requests.size()), want(requests.size());
    ASSERT_TRUE(parts.model->Logprobs(requests, got).ok());
    ASSERT_TRUE(whole.model->Logprobs(requests, want).ok());
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << size << " ranks, request " << i);
      EXPECT_EQ(got[i].token_id, requests[i].token_id);
      ExpectSameToken(got[i], want[i]);
    }
    requests.push_back({20, 0, 0});
    got.resize(requests.size());
    EXPECT_TRUE(absl::IsInvalidArgument(parts.model->Logprobs(requests, got)));
    requests.pop_back();
    EXPECT_TRUE(parts.model->Logprobs({}, {}).ok()) << "the group goes on";
  }
}

TEST(TensorParallelSizesTest, ColumnsInTheOrderOfTheirActivationsSayWhatOneRankSays) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const testing::PackedCheckpoint packed(testing::PackedForms()[0], 11);
  Checkpoint::Parts parts = packed.packed();
  std::deque<std::vector<int32_t>> indices;
  for (TensorView& tensor : parts.tensors) {
    if (!tensor.name.ends_with(".g_idx")) continue;
    std::vector<int32_t>& index = indices.emplace_back();
    const int64_t cols = tensor.shape[0];
    for (int64_t k = 0; k < cols; ++k) index.push_back(static_cast<int32_t>(k * 7 % cols / 32));
    tensor.data = index.data();
  }
  const Checkpoint checkpoint(std::move(parts));
  ExpectSameAnswers(checkpoint, {2, 4});
}

TEST(TensorParallelSizesTest, WeightsAndCacheAreShared) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  const std::unique_ptr<RankGroup> group = OpenGroup(3);
  const auto model = LoadRanks(checkpoint.get(), group.get(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  const Loaded one = LoadOne(checkpoint.get(), WeightFormat::kStored);
  EXPECT_EQ((*model)->KvBytesPerBlock(16), one.model->KvBytesPerBlock(16));
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ((*model)->rank(rank).KvBytesPerBlock(16) * 3, one.model->KvBytesPerBlock(16));
  }
}

TEST(TensorParallelBlocksTest, ASequenceThatLeftAndCameBackAnswersTheSame) {
  if (!IsExact()) GTEST_SKIP() << "the GPU has no heads of this size";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  const std::unique_ptr<RankGroup> group = OpenGroup(2);
  const auto model = LoadRanks(checkpoint.get(), group.get(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  ModelRunner runner(model->get(), {});
  const std::vector<int32_t> prompt = Prompt(101);
  const int32_t first = (*runner.Greedy(0, prompt, 1)).front();
  const auto bytes = static_cast<size_t>((*model)->kv_block_layout().bytes);
  std::vector<std::byte> kept(runner.blocks(0).size() * bytes);
  ASSERT_TRUE((*model)->ExportBlocks(runner.blocks(0), kept).ok());
  const int32_t expected = (*runner.Step({{first}})).front();
  const std::vector<float> expected_logprobs = *runner.AllLogprobs(0);
  const std::vector<std::byte> other(kept.size(), std::byte{1});
  ASSERT_TRUE((*model)->ImportBlocks(runner.blocks(0), other).ok());
  runner.Adopt(1, static_cast<int32_t>(prompt.size()));
  ASSERT_TRUE((*model)->ImportBlocks(runner.blocks(1), kept).ok());
  EXPECT_EQ((*runner.Step({{}, {first}})).back(), expected);
  EXPECT_EQ(*runner.AllLogprobs(0), expected_logprobs);
  EXPECT_TRUE(absl::IsInvalidArgument(
      (*model)->ExportBlocks(runner.blocks(1), std::span(kept).first(bytes - 1))));
}

// One sequence of one token.
absl::Status ForwardToken(Model* model, int32_t token) {
  const std::vector<int32_t> ids = {token}, positions = {0}, start = {0, 1}, context = {1},
                             table = {0}, rows = {0};
  return model->Forward({ids, positions, start, context, table, 1, rows}, {});
}

TEST(TensorParallelErrorsTest, AnErrorOfTheInputLeavesTheGroupInStep) {
  if (!IsExact()) GTEST_SKIP() << "the GPU does not look at token ids";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  const std::unique_ptr<RankGroup> group = OpenGroup(2);
  const auto model = LoadRanks(checkpoint.get(), group.get(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_TRUE((*model)->Allocate(4, 16, 8, 2).ok());
  const absl::Status status = ForwardToken(model->get(), 101);
  EXPECT_EQ(status, absl::InvalidArgumentError("token id 101; expected 0 to 100"));
  EXPECT_TRUE(ForwardToken(model->get(), 100).ok());
}

// Does something of a test's before a rank's all-reduces, which may fail.
class DisturbedCommunicator : public Communicator {
 public:
  using Disturb = std::function<absl::Status()>;
  DisturbedCommunicator(std::unique_ptr<Communicator> inner, Backend* backend, Disturb disturb)
      : Communicator(backend), inner_(std::move(inner)), disturb_(std::move(disturb)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  CollectivePromises promises() const override { return inner_->promises(); }
  absl::Status AllReduceSum(MatrixView matrix) override {
    const absl::Status disturbed = disturb_();
    return disturbed.ok() ? inner_->AllReduceSum(matrix) : disturbed;
  }
  absl::Status AllGather(MatrixView matrix) override { return inner_->AllGather(matrix); }
  absl::Status Broadcast(MatrixView matrix, int root) override {
    return inner_->Broadcast(matrix, root);
  }
  absl::Status Check() override { return inner_->Check(); }
  bool WaitsForPeers() const override { return inner_->WaitsForPeers(); }
  void Abort() override { inner_->Abort(); }

 private:
  const std::unique_ptr<Communicator> inner_;
  const Disturb disturb_;
};

// A model whose rank 1 is disturbed.
std::unique_ptr<TensorParallelModel> LoadDisturbed(const Checkpoint& checkpoint, RankGroup* group,
                                                   const DisturbedCommunicator::Disturb& disturb) {
  const auto load = [&](int rank) {
    Backend* backend = group->device(rank).backend.get();
    std::unique_ptr<Communicator> comm = group->TakeCommunicator(rank);
    if (rank == 1) {
      comm = std::make_unique<DisturbedCommunicator>(std::move(comm), backend, disturb);
    }
    return LoadRank(checkpoint, backend, {}, std::move(comm));
  };
  auto model = TensorParallelModel::Load(group->threads(), load, [] {});
  EXPECT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->Allocate(4, 16, 8, 2).ok());
  return *std::move(model);
}

TEST(TensorParallelErrorsTest, ARankThatErrsEndsTheGroupAndIsNamed) {
  if (!IsExact()) GTEST_SKIP() << "a group of the CPU shows it";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  const std::unique_ptr<RankGroup> group = OpenGroup(3);
  bool fails = false;
  const auto model = LoadDisturbed(checkpoint.get(), group.get(), [&] {
    return fails ? absl::InternalError("link lost") : absl::OkStatus();
  });
  EXPECT_TRUE(ForwardToken(model.get(), 7).ok());
  fails = true;
  const absl::Status status = ForwardToken(model.get(), 7);
  EXPECT_TRUE(IsDeviceLost(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 of 3: link lost"));
  fails = false;
  EXPECT_EQ(ForwardToken(model.get(), 7), status);
  std::vector<SampledToken> sampled;
  EXPECT_EQ(model->Sample({}, sampled), status);
}

TEST(TensorParallelErrorsTest, ARankThatHangsIsNamedAndNotThoseThatWaitForIt) {
  if (!IsExact()) GTEST_SKIP() << "a group of the CPU shows it";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  const std::unique_ptr<RankGroup> group = OpenGroup(3);
  absl::Notification named;
  const auto model = LoadDisturbed(checkpoint.get(), group.get(), [&] {
    pingti::testing::AwaitOrDie(named, "the rank to be named");
    return absl::OkStatus();
  });
  EXPECT_EQ(model->Unfinished(), "");
  std::thread watcher([&] {
    pingti::testing::AwaitOrDie([&] { return model->Unfinished() == "rank 1 of 3"; },
                                "rank 1 alone to be unfinished");
    named.Notify();
  });
  EXPECT_TRUE(ForwardToken(model.get(), 7).ok());
  watcher.join();
  EXPECT_EQ(model->Unfinished(), "");
}

TEST(TensorParallelErrorsTest, ARankThatCannotLoadIsNamed) {
  if (!IsExact()) GTEST_SKIP() << "a group of the CPU shows it";
  const testing::RandomCheckpoint checkpoint(kUneven, 3);
  const std::unique_ptr<RankGroup> group = OpenGroup(2);
  const auto load = [&](int rank) -> absl::StatusOr<std::unique_ptr<DecoderModel>> {
    if (rank == 1) return absl::ResourceExhaustedError("no memory");
    return LoadRank(checkpoint.get(), group->device(rank).backend.get(), {},
                    group->TakeCommunicator(rank));
  };
  const auto model = TensorParallelModel::Load(group->threads(), load, [] {});
  EXPECT_EQ(model.status(), absl::ResourceExhaustedError("rank 1 of 2: no memory"));
}

}  // namespace
}  // namespace pingti::worker
