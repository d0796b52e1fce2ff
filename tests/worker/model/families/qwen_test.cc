// A QWen v1 checkpoint computes what a Qwen2 checkpoint of the same numbers does (which
// tiny_checkpoints_test.cc compares with transformers): the same weights are written under both
// families' names and configurations. Runs on the device that the program is linked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/model/model_runner.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/tensor/float16.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

constexpr int kHidden = 128;  // two heads of 64, which every device has
constexpr int kInner = 48;
constexpr int kVocab = 40;
constexpr int kLayers = 2;

struct Tensor {
  std::vector<int> shape;
  std::vector<float> values;
};
using Tensors = std::vector<std::pair<std::string, Tensor>>;

class Qwen1Test : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ("pingti_qwen1_" + std::to_string(::getpid()));
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  Tensor Random(std::vector<int> shape, float mean = 0.0f) {
    std::normal_distribution<float> normal(mean, 0.3f);
    size_t count = 1;
    for (const int d : shape) count *= static_cast<size_t>(d);
    Tensor tensor{std::move(shape), std::vector<float>(count)};
    for (float& value : tensor.values) value = normal(random_);
    return tensor;
  }

  static Tensor Stack(const Tensor& a, const Tensor& b, const Tensor& c) {
    Tensor stacked = a;
    stacked.shape[0] *= 3;
    stacked.values.insert(stacked.values.end(), b.values.begin(), b.values.end());
    stacked.values.insert(stacked.values.end(), c.values.begin(), c.values.end());
    return stacked;
  }

  // The same model under QWen's names and under Qwen2's.
  void MakeBoth(Tensors* qwen, Tensors* qwen2) {
    const auto both = [&](const std::string& one, const std::string& two, const Tensor& tensor) {
      qwen->emplace_back(one, tensor);
      qwen2->emplace_back(two, tensor);
    };
    both("transformer.wte.weight", "model.embed_tokens.weight", Random({kVocab, kHidden}));
    both("transformer.ln_f.weight", "model.norm.weight", Random({kHidden}, 1.0f));
    both("lm_head.weight", "lm_head.weight", Random({kVocab, kHidden}));
    for (int i = 0; i < kLayers; ++i) {
      const std::string h = "transformer.h." + std::to_string(i) + ".";
      const std::string l = "model.layers." + std::to_string(i) + ".";
      both(h + "ln_1.weight", l + "input_layernorm.weight", Random({kHidden}, 1.0f));
      both(h + "ln_2.weight", l + "post_attention_layernorm.weight", Random({kHidden}, 1.0f));
      both(h + "attn.c_proj.weight", l + "self_attn.o_proj.weight", Random({kHidden, kHidden}));
      both(h + "mlp.w1.weight", l + "mlp.up_proj.weight", Random({kInner, kHidden}));
      both(h + "mlp.w2.weight", l + "mlp.gate_proj.weight", Random({kInner, kHidden}));
      both(h + "mlp.c_proj.weight", l + "mlp.down_proj.weight", Random({kHidden, kInner}));
      for (const std::string kind : {"weight", "bias"}) {
        std::vector<Tensor> parts;
        for (const char* which : {"q", "k", "v"}) {
          parts.push_back(kind == "bias" ? Random({kHidden}) : Random({kHidden, kHidden}));
          qwen2->emplace_back(l + "self_attn." + which + "_proj." + kind, parts.back());
        }
        qwen->emplace_back(h + "attn.c_attn." + kind, Stack(parts[0], parts[1], parts[2]));
      }
    }
  }

  std::string Write(const std::string& name, const std::string& config, const Tensors& tensors) {
    const auto directory = root_ / name;
    std::filesystem::create_directories(directory);
    std::ofstream(directory / "config.json") << config;
    std::string header = "{";
    std::string data;
    for (const auto& [tensor_name, tensor] : tensors) {
      const size_t begin = data.size();
      for (const float value : tensor.values) {
        const uint16_t half = FloatToBf16(value);
        data.append(reinterpret_cast<const char*>(&half), 2);
      }
      std::string shape;
      for (const int d : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(d);
      header += (header.size() > 1 ? ",\"" : "\"") + tensor_name +
                "\":{\"dtype\":\"BF16\",\"shape\":[" + shape + "],\"data_offsets\":[" +
                std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
    }
    header += "}";
    const uint64_t header_bytes = header.size();
    std::ofstream file(directory / "model.safetensors", std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
    file << header << data;
    return directory.string();
  }

  std::string WriteQwen(const Tensors& tensors, const std::string& more = "") {
    return Write("qwen",
                 R"({"architectures":["QWenLMHeadModel"],"model_type":"qwen","hidden_size":128,)"
                 R"("intermediate_size":96,"kv_channels":64,"num_attention_heads":2,)"
                 R"("num_hidden_layers":2,"vocab_size":40,"seq_length":64,)"
                 R"("max_position_embeddings":512,"layer_norm_epsilon":1e-6,"no_bias":true,)"
                 R"("rotary_emb_base":5000,"rotary_pct":1.0,"use_dynamic_ntk":true,)"
                 R"("use_logn_attn":true)" +
                     more + "}",
                 tensors);
  }

  std::vector<float> Logprobs(const std::string& directory) {
    const auto checkpoint = OpenCheckpoint(directory);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto device = testing::MakeDeviceUnderTest();
    LoadOptions options;
    options.format = device->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16;
    const auto model = LoadModel(**checkpoint, device->backend(), options);
    EXPECT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->max_context_tokens(), 64);
    testing::ModelRunner runner(model->get(), {});
    EXPECT_TRUE(runner.Step({{3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9}}).ok());
    return *runner.AllLogprobs(0);
  }

  std::mt19937 random_{11};
  std::filesystem::path root_;
};

TEST_F(Qwen1Test, EqualsAQwen2OfTheSameNumbers) {
  Tensors qwen;
  Tensors qwen2;
  MakeBoth(&qwen, &qwen2);
  const std::vector<float> got = Logprobs(WriteQwen(qwen));
  const std::vector<float> want = Logprobs(
      Write("qwen2",
            R"({"architectures":["Qwen2ForCausalLM"],"hidden_size":128,"intermediate_size":48,)"
            R"("num_hidden_layers":2,"num_attention_heads":2,"vocab_size":40,)"
            R"("max_position_embeddings":64,"rms_norm_eps":1e-6,"rope_theta":5000})",
            qwen2));
  EXPECT_EQ(got, want);
  EXPECT_NE(got[0], got[1]);
}

TEST_F(Qwen1Test, ChatMlAndItsStopTokensComeWithTheChatFormat) {
  Tensors qwen;
  Tensors qwen2;
  MakeBoth(&qwen, &qwen2);
  const std::string directory = WriteQwen(qwen);
  std::ofstream(directory + "/qwen.tiktoken") << "IQ== 0\nIg== 1\nIw== 2\n";
  std::ofstream(directory + "/generation_config.json")
      << R"({"chat_format":"chatml","eos_token_id":3})";
  const auto checkpoint = OpenCheckpoint(directory);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT((*checkpoint)->text().chat_template, HasSubstr("<|im_start|>"));
  EXPECT_EQ((*checkpoint)->text().eos_token_ids, (std::vector<int64_t>{3, 5}));
}

TEST_F(Qwen1Test, RefusalsNameTensorAndField) {
  Tensors qwen;
  Tensors qwen2;
  MakeBoth(&qwen, &qwen2);
  const auto error = [](const std::string& directory) {
    const auto checkpoint = OpenCheckpoint(directory);
    if (!checkpoint.ok()) return std::string(checkpoint.status().message());
    const auto device = testing::MakeDeviceUnderTest();
    return std::string(LoadModel(**checkpoint, device->backend(), {}).status().message());
  };
  EXPECT_THAT(error(WriteQwen(qwen, R"(,"rotary_pct":0.5)")), HasSubstr("'rotary_pct' 0.5"));
  Tensors extra = qwen;
  extra.emplace_back("transformer.visual.proj", Random({2, 2}));
  EXPECT_THAT(error(WriteQwen(extra)), HasSubstr("tensor 'transformer.visual.proj'"));
  for (auto& [name, tensor] : qwen) {
    if (name == "transformer.h.1.attn.c_attn.weight") {
      tensor.shape[0] -= 1;
      tensor.values.resize(tensor.values.size() - kHidden);
    }
  }
  EXPECT_THAT(error(WriteQwen(qwen)),
              HasSubstr("tensor 'transformer.h.1.attn.c_attn.weight' BF16 [383, 128]: expected "
                        "shape [384, 128]"));
}

}  // namespace
}  // namespace pingti::worker
