// Directories and files as people have them by mistake, or on purpose: each ends in one line that
// names what is wrong, without waiting and without much memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/worker/weights/gguf_builder.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/rope_spec.h"

namespace pingti::worker {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TinyLlama;

constexpr char kConfig[] =
    R"({"architectures":["LlamaForCausalLM"],"hidden_size":8,"intermediate_size":8,)"
    R"("num_hidden_layers":1,"num_attention_heads":1,"vocab_size":4,"max_position_embeddings":64})";

class HostileFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("pingti_hostile_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  void Write(const std::string& name, const std::string& body) const {
    std::ofstream(Path(name), std::ios::binary) << body;
  }
  // A safetensors file with one f32 value per name.
  void WriteTensors(const std::string& name, const std::vector<std::string>& tensors) const {
    std::string header = "{";
    for (size_t i = 0; i < tensors.size(); ++i) {
      header += (i == 0 ? "\"" : ",\"") + tensors[i] + R"(":{"dtype":"F32","shape":[1],)" +
                R"("data_offsets":[)" + std::to_string(4 * i) + "," + std::to_string(4 * i + 4) +
                "]}";
    }
    header += "}";
    std::string bytes(8, '\0');
    const uint64_t length = header.size();
    for (int i = 0; i < 8; ++i)
      bytes[static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
    Write(name, bytes + header + std::string(4 * tensors.size(), '\0'));
  }
  std::string Error() const { return ErrorOf(folder_.string()); }
  static std::string ErrorOf(const std::string& path) {
    const auto opened = OpenCheckpoint(path);
    const std::string message(opened.status().message());
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message;
  }

  fs::path folder_;
};

TEST_F(HostileFilesTest, AFifoOrAFolderInPlaceOfAFileIsRefusedAtOnce) {
  for (const std::string name :
       {"config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json",
        "tokenizer_config.json", "generation_config.json", "chat_template.jinja"}) {
    for (const bool fifo : {true, false}) {
      SetUp();
      Write("config.json", kConfig);
      WriteTensors("model.safetensors", {"x"});
      fs::remove(Path(name));
      if (fifo) {
        ASSERT_EQ(::mkfifo(Path(name).c_str(), 0600), 0);
      } else {
        fs::create_directories(Path(name));
      }
      EXPECT_THAT(Error(), AllOf(HasSubstr(name), HasSubstr("not a regular file")));
    }
  }
  ASSERT_EQ(::mkfifo(Path("model.gguf").c_str(), 0600), 0);
  EXPECT_THAT(ErrorOf(Path("model.gguf")), HasSubstr("not a regular file"));
  EXPECT_THAT(ErrorOf("/dev/zero"), HasSubstr("not a regular file"));
}

TEST_F(HostileFilesTest, ShardsWithoutAnIndexAreOneSeries) {
  Write("config.json", kConfig);
  WriteTensors("model-00001-of-00002.safetensors", {"a"});
  EXPECT_THAT(Error(), HasSubstr("1 .safetensors files, 'model-00001-of-00002.safetensors'"));
  WriteTensors("model-00002-of-00002.safetensors", {"b"});
  auto opened = OpenCheckpoint(folder_.string());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_NE((*opened)->Find("a"), nullptr);
  EXPECT_NE((*opened)->Find("b"), nullptr);
  WriteTensors("other.safetensors", {"c"});
  EXPECT_THAT(Error(), HasSubstr("3 .safetensors files"));
  WriteTensors("model.safetensors", {"d"});
  opened = OpenCheckpoint(folder_.string());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_NE((*opened)->Find("d"), nullptr);
  EXPECT_EQ((*opened)->tensors().size(), 1u);
}

TEST_F(HostileFilesTest, AnOnlyFileOfAnyNameIsRead) {
  Write("config.json", kConfig);
  WriteTensors("weights.safetensors", {"a"});
  const auto opened = OpenCheckpoint(folder_.string());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_NE((*opened)->Find("a"), nullptr);
}

TEST_F(HostileFilesTest, PickledWeightsAreRefusedWithTheWayToConvertThem) {
  Write("config.json", kConfig);
  EXPECT_THAT(Error(), HasSubstr("no model.safetensors"));
  Write("pytorch_model.bin", "PK");
  EXPECT_THAT(Error(), AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("save_pretrained")));
}

TEST_F(HostileFilesTest, TensorsThatNobodyReadsAreLeftOut) {
  Write("config.json", kConfig);
  WriteTensors("model.safetensors", {"model.layers.0.self_attn.rotary_emb.inv_freq",
                                     "transformer.h.0.attn.masked_bias", "model.norm.weight"});
  const auto opened = OpenCheckpoint(folder_.string());
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_EQ((*opened)->tensors().size(), 1u);
  EXPECT_EQ((*opened)->tensors()[0].name, "model.norm.weight");
}

TEST_F(HostileFilesTest, GenerationDefaultsOutOfRangeAreRefusedByName) {
  Write("config.json", kConfig);
  WriteTensors("model.safetensors", {"x"});
  const auto with = [&](const std::string& field) {
    Write("generation_config.json", R"({"do_sample":true,)" + field + "}");
    return OpenCheckpoint(folder_.string());
  };
  for (const std::string name : {"temperature", "top_p", "min_p", "repetition_penalty"}) {
    for (const std::string value : {"-1", "1e30", "\"x\"", "[1]"}) {
      const auto opened = with("\"" + name + "\":" + value);
      EXPECT_THAT(std::string(opened.status().message()),
                  AllOf(HasSubstr("generation_config.json"), HasSubstr("'" + name + "' is")));
    }
  }
  for (const std::string value : {"-2", "5000000000", "1.5"}) {
    EXPECT_THAT(std::string(with("\"top_k\":" + value).status().message()),
                HasSubstr("'top_k' is " + (value == "1.5" ? "1.5E0" : value)));
  }
  EXPECT_THAT(std::string(with("\"top_p\":0").status().message()), HasSubstr("'top_p' is 0"));
  const auto off = with(R"("top_k":-1,"temperature":0.6,"top_p":1.0)");
  ASSERT_TRUE(off.ok()) << off.status();
  EXPECT_EQ((*off)->text().sampling.top_k, 0);
  // Without sampling its numbers mean nothing.
  Write("generation_config.json", R"({"do_sample":false,"temperature":-5})");
  EXPECT_TRUE(OpenCheckpoint(folder_.string()).ok());
}

// Every number of a configuration takes every absurd value: an error that names it, or a model.
TEST_F(HostileFilesTest, AbsurdNumbersOfAConfigurationAreRefusedByName) {
  const std::string base = std::string(kConfig).substr(0, sizeof(kConfig) - 2);
  const auto spec = [&](const std::string& more) { return ParseHfConfig(base + "," + more + "}"); };
  for (const std::string name : {"rms_norm_eps", "rope_theta"}) {
    for (const std::string value : {"-1e-5", "1e30", "-0.5", "1e999", "\"x\""}) {
      const auto parsed = spec("\"" + name + "\":" + value);
      EXPECT_THAT(std::string(parsed.status().message()),
                  ::testing::AnyOf(HasSubstr("'" + name + "' is"), HasSubstr("not JSON")))
          << value;
    }
  }
  for (const std::string type : {"linear", "dynamic", "yarn", "llama3"}) {
    for (const std::string value : {"1e30", "0.5", "-2", "null", "\"x\""}) {
      const auto parsed = spec(R"("rope_scaling":{"type":")" + type + R"(","factor":)" + value +
                               R"(,"low_freq_factor":1,"high_freq_factor":4,)"
                               R"("original_max_position_embeddings":32})");
      if (type == "yarn" && value == "null") {
        EXPECT_EQ(parsed->rope.factor, 2.0);
      } else {
        EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("rope_scaling.factor"));
      }
    }
  }
  for (const std::string value : {"0", "-1", "1073741825", "1e3", "9223372036854775807"}) {
    EXPECT_FALSE(ParseHfConfig(base + R"(,"max_position_embeddings":)" + value + "}").ok());
  }
}

TEST_F(HostileFilesTest, AHugeContextTakesNoMemoryUntilItIsUsed) {
  std::string json = kConfig;
  json.replace(json.find(":64}"), 4, ":1073741824}");
  const auto spec = ParseHfConfig(json);
  ASSERT_TRUE(spec.ok()) << spec.status();
  RotaryTable table(MakeRotarySpec(*spec));
  std::vector<float> cos(4), sin(4);
  table.Fill(std::vector<int32_t>{1500}, cos, sin);
  EXPECT_NE(sin[0], 0.0f);
}

TEST_F(HostileFilesTest, AbsurdNumbersOfAGgufFileAreRefusedByName) {
  const auto error = [](const std::string& key, float value) {
    GgufBuilder builder = TinyLlama();
    builder.AddF32("llama." + key, value);
    return std::string(ParseGgufCheckpoint(builder.Build()).status().message());
  };
  for (const std::string key : {"rope.freq_base", "rope.scaling.factor"}) {
    for (const float value : {-1.0f, 1e30f, -__builtin_inff(), __builtin_nanf("")}) {
      EXPECT_THAT(error(key, value), HasSubstr("'llama." + key + "' is")) << value;
    }
  }
  GgufBuilder yarn = TinyLlama();
  yarn.AddString("llama.rope.scaling.type", "yarn");
  yarn.AddF32("llama.rope.scaling.attn_factor", -1.0f);
  EXPECT_THAT(std::string(ParseGgufCheckpoint(yarn.Build()).status().message()),
              HasSubstr("rope.scaling.attn_factor' is -1"));
}

TEST_F(HostileFilesTest, AGgufModelInPartsIsOpenedByAnyOfThem) {
  GgufBuilder first = TinyLlama();
  first.AddU32("split.no", 0);
  first.AddU32("split.count", 2);
  GgufBuilder second;
  second.AddU32("split.no", 1);
  second.AddU32("split.count", 2);
  second.AddTensor("output.weight", {32, 4}, 0, 512);
  Write("m-00001-of-00002.gguf", first.Build());
  EXPECT_THAT(ErrorOf(Path("m-00001-of-00002.gguf")), HasSubstr("m-00002-of-00002.gguf"));
  EXPECT_THAT(Error(), HasSubstr("neither config.json nor one GGUF file"));
  Write("m-00002-of-00002.gguf", second.Build());
  for (const std::string& path :
       {Path("m-00001-of-00002.gguf"), Path("m-00002-of-00002.gguf"), folder_.string()}) {
    const auto opened = OpenCheckpoint(path);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_NE((*opened)->Find("output.weight"), nullptr);
    EXPECT_NE((*opened)->Find("token_embd.weight"), nullptr);
    EXPECT_FALSE((*opened)->spec().tied_embeddings());
  }
  Write("m-00002-of-00002.gguf", first.Build());
  EXPECT_THAT(Error(), HasSubstr("split.no is 0 and split.count 2; expected 1 and 2"));
  Write("x-00003-of-00002.gguf", first.Build());
  EXPECT_THAT(ErrorOf(Path("x-00003-of-00002.gguf")), HasSubstr("part 3 of 2"));
}

}  // namespace
}  // namespace pingti::worker
