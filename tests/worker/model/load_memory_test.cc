// Loading must not hold the file and what is made of it at once: peak memory stays within 1.1 times
// the model's, for every way from a file to packed weights. Each load runs in a child process,
// whose peak nothing else touches.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/weights/gguf_builder.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

// 107 million parameters: large beside the fixed costs of a process, small beside a test machine.
// As many layers as the smallest models have, since one layer's source is in memory beside the
// rest.
constexpr int64_t kHidden = 768;
constexpr int64_t kFfn = 2048;
constexpr int64_t kHeads = 12;
constexpr int64_t kKvHeads = 4;
constexpr int64_t kHeadDim = 64;
constexpr int64_t kVocab = 8192;
constexpr int64_t kLayers = 16;
constexpr int64_t kKvRows = kKvHeads * kHeadDim;
constexpr int64_t kLayerParameters =
    2 * kHidden * kHidden + 2 * kKvRows * kHidden + 3 * kHidden * kFfn;
constexpr int64_t kHeadParameters = kVocab * kHidden;

struct Matrix {
  std::string hf;
  std::string gguf;
  int64_t rows;
  int64_t cols;
};

std::vector<Matrix> Matrices() {
  std::vector<Matrix> all{{"model.embed_tokens", "token_embd", kVocab, kHidden}};
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string hf = "model.layers." + std::to_string(i) + ".";
    const std::string gguf = "blk." + std::to_string(i) + ".";
    all.push_back({hf + "self_attn.q_proj", gguf + "attn_q", kHidden, kHidden});
    all.push_back({hf + "self_attn.k_proj", gguf + "attn_k", kKvRows, kHidden});
    all.push_back({hf + "self_attn.v_proj", gguf + "attn_v", kKvRows, kHidden});
    all.push_back({hf + "self_attn.o_proj", gguf + "attn_output", kHidden, kHidden});
    all.push_back({hf + "mlp.gate_proj", gguf + "ffn_gate", kFfn, kHidden});
    all.push_back({hf + "mlp.up_proj", gguf + "ffn_up", kFfn, kHidden});
    all.push_back({hf + "mlp.down_proj", gguf + "ffn_down", kHidden, kFfn});
  }
  return all;
}

std::vector<std::pair<std::string, std::string>> Norms() {
  std::vector<std::pair<std::string, std::string>> all{{"model.norm", "output_norm"}};
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string hf = "model.layers." + std::to_string(i) + ".";
    const std::string gguf = "blk." + std::to_string(i) + ".";
    all.push_back({hf + "input_layernorm", gguf + "attn_norm"});
    all.push_back({hf + "post_attention_layernorm", gguf + "ffn_norm"});
  }
  return all;
}

class LoadMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's shadow memory counts as the process's";
#endif
    directory_ = std::filesystem::path(::testing::TempDir()) /
                 ("pingti_load_memory_" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // The weights are a hole in the file: zeros that take no disk. `gptq`: the blocks' matrices have
  // 4 bits with a scale and a zero per 128 values.
  std::string WriteSafetensors(bool gptq = false) {
    std::ofstream(directory_ / "config.json")
        << R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu",)"
        << R"("tie_word_embeddings":true,"rms_norm_eps":1e-5,"max_position_embeddings":256,)"
        << "\"hidden_size\":" << kHidden << ",\"intermediate_size\":" << kFfn
        << ",\"num_attention_heads\":" << kHeads << ",\"num_key_value_heads\":" << kKvHeads
        << ",\"num_hidden_layers\":" << kLayers << ",\"vocab_size\":" << kVocab
        << (gptq ? R"(,"quantization_config":{"quant_method":"gptq","bits":4,"group_size":128}})"
                 : "}");
    std::string header = "{";
    int64_t offset = 0;
    const auto add = [&](const std::string& name, const char* dtype, int64_t element_bytes,
                         const std::vector<int64_t>& shape) {
      int64_t bytes = element_bytes;
      std::string dims;
      for (const int64_t dim : shape) {
        bytes *= dim;
        dims += (dims.empty() ? "" : ",") + std::to_string(dim);
      }
      header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + dtype +
                "\",\"shape\":[" + dims + "],\"data_offsets\":[" + std::to_string(offset) + "," +
                std::to_string(offset + bytes) + "]}";
      offset += bytes;
    };
    for (const Matrix& m : Matrices()) {
      if (!gptq || m.rows == kVocab) {
        add(m.hf + ".weight", "BF16", 2, {m.rows, m.cols});
        continue;
      }
      add(m.hf + ".qweight", "I32", 4, {m.cols / 8, m.rows});
      add(m.hf + ".qzeros", "I32", 4, {m.cols / 128, m.rows / 8});
      add(m.hf + ".scales", "F16", 2, {m.cols / 128, m.rows});
    }
    for (const auto& [hf, gguf] : Norms()) add(hf + ".weight", "BF16", 2, {kHidden});
    header += "}";
    const auto path = directory_ / "model.safetensors";
    const uint64_t header_bytes = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
    file << header;
    file.close();
    std::filesystem::resize_file(
        path, sizeof(header_bytes) + header.size() + static_cast<uint64_t>(offset));
    return directory_.string();
  }

  // Q8_0, 34 bytes for 32 values.
  std::string WriteGguf() {
    testing::GgufBuilder builder;
    builder.AddString("general.architecture", "llama");
    builder.AddU32("llama.block_count", kLayers);
    builder.AddU32("llama.embedding_length", kHidden);
    builder.AddU32("llama.feed_forward_length", kFfn);
    builder.AddU32("llama.attention.head_count", kHeads);
    builder.AddU32("llama.attention.head_count_kv", kKvHeads);
    builder.AddU32("llama.context_length", 256);
    builder.AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (const Matrix& m : Matrices()) {
      builder.AddTensor(m.gguf + ".weight",
                        {static_cast<uint64_t>(m.cols), static_cast<uint64_t>(m.rows)}, 8,
                        static_cast<uint64_t>(m.rows * m.cols / 32 * 34));
    }
    for (const auto& [hf, gguf] : Norms()) {
      builder.AddTensor(gguf + ".weight", {kHidden}, 0, kHidden * 4);
    }
    const auto path = directory_ / "model.gguf";
    const std::string structure = builder.BuildStructure();
    std::ofstream(path, std::ios::binary) << structure;
    std::filesystem::resize_file(path, structure.size() + builder.data_bytes());
    return path.string();
  }

  std::filesystem::path directory_;
};

// "VmHWM" (peak) or "VmRSS" (now) of this process, in bytes.
int64_t MemoryOf(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  return -1;
}

struct Outcome {
  bool ok = false;
  int64_t peak_bytes = 0;  // above what the process held before
  int num_reports = 0;
  bool reports_ascend = true;
  int64_t last_done = 0;
  int64_t last_total = 0;
};

Outcome LoadHere(const std::string& path, WeightFormat format) {
  Outcome outcome;
  const int64_t before = MemoryOf("VmRSS");
  auto backend = MakeCpuBackend({.num_threads = 2, .kernels = ""});
  auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok() || !backend.ok()) return outcome;
  LoadOptions options;
  options.format = format;
  options.progress = [&](int64_t done, int64_t total) {
    ++outcome.num_reports;
    outcome.reports_ascend = outcome.reports_ascend && done >= outcome.last_done;
    outcome.last_done = done;
    outcome.last_total = total;
  };
  const auto model = LoadModel(**checkpoint, backend->get(), options);
  if (!model.ok()) std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
  outcome.peak_bytes = MemoryOf("VmHWM") - before;
  outcome.ok = model.ok() && before > 0;
  return outcome;
}

Outcome LoadInChild(const std::string& path, WeightFormat format) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    const Outcome outcome = LoadHere(path, format);
    const bool sent = ::write(pipe_ends[1], &outcome, sizeof(outcome)) == sizeof(outcome);
    ::_exit(sent ? 0 : 1);
  }
  ::close(pipe_ends[1]);
  Outcome outcome;
  const bool got = ::read(pipe_ends[0], &outcome, sizeof(outcome)) == sizeof(outcome);
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return got && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? outcome : Outcome{};
}

// `model_bytes`: of the packed weights alone, computed from the shapes.
void ExpectWithin(const Outcome& outcome, double model_bytes) {
  ASSERT_TRUE(outcome.ok);
  std::printf("peak %.1f MB, model %.1f MB, ratio %.3f\n", outcome.peak_bytes / 1e6,
              model_bytes / 1e6, outcome.peak_bytes / model_bytes);
  EXPECT_LT(static_cast<double>(outcome.peak_bytes), 1.1 * model_bytes);
  // Less would mean that the model was not there.
  EXPECT_GT(static_cast<double>(outcome.peak_bytes), 0.9 * model_bytes);
  EXPECT_GT(outcome.num_reports, 4 * kLayers);
  EXPECT_TRUE(outcome.reports_ascend);
  EXPECT_EQ(outcome.last_done, outcome.last_total);
}

TEST_F(LoadMemoryTest, Bf16SafetensorsKeptInBf16) {
  ExpectWithin(LoadInChild(WriteSafetensors(), WeightFormat::kBf16),
               2.0 * (kLayers * kLayerParameters + kHeadParameters));
}

TEST_F(LoadMemoryTest, Bf16SafetensorsQuantizedToInt8) {
  ExpectWithin(LoadInChild(WriteSafetensors(), WeightFormat::kInt8),
               1.0 * kLayers * kLayerParameters + 2.0 * kHeadParameters);
}

// 20 bytes for 32 values, with their scale and minimum.
TEST_F(LoadMemoryTest, PackedWordsKeptAsTheyAre) {
  ExpectWithin(LoadInChild(WriteSafetensors(/*gptq=*/true), WeightFormat::kStored),
               20.0 / 32 * kLayers * kLayerParameters + 2.0 * kHeadParameters);
}

TEST_F(LoadMemoryTest, PackedWordsWidenedToBf16) {
  ExpectWithin(LoadInChild(WriteSafetensors(/*gptq=*/true), WeightFormat::kBf16),
               2.0 * (kLayers * kLayerParameters + kHeadParameters));
}

TEST_F(LoadMemoryTest, GgufBlocksKeptAsTheyAre) {
  ExpectWithin(LoadInChild(WriteGguf(), WeightFormat::kStored),
               34.0 / 32 * (kLayers * kLayerParameters + kHeadParameters));
}

TEST_F(LoadMemoryTest, GgufBlocksWidenedToBf16) {
  ExpectWithin(LoadInChild(WriteGguf(), WeightFormat::kBf16),
               2.0 * (kLayers * kLayerParameters + kHeadParameters));
}

}  // namespace
}  // namespace pingti::worker
