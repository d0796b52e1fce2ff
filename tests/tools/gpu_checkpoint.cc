#include "tests/tools/gpu_checkpoint.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

#include "tools/quantize/safetensors_writer.h"
#include "worker/tensor/float16.h"

namespace pingti::tools::testing {
namespace {

constexpr int64_t kHidden = 128;
constexpr int64_t kKv = 64;  // one head of two
constexpr int64_t kInner = 256;
constexpr int64_t kVocab = 128;
constexpr int64_t kLayers = 2;

class Writer {
 public:
  explicit Writer(const std::string& folder)
      : writer_(folder, {.header_bytes = HeaderBytes(64, 4096)}) {}

  // Values around `mean`.
  void Add(const std::string& name, const std::vector<int64_t>& shape, float mean,
           float deviation) {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<uint16_t> halves;
    for (int64_t i = 0; i < count; ++i) halves.push_back(worker::FloatToBf16(normal(rng_)));
    const absl::Status added =
        writer_.Add(name, worker::DType::kBf16, shape,
                    {reinterpret_cast<const char*>(halves.data()), halves.size() * 2});
    EXPECT_TRUE(added.ok()) << added;
  }
  void AddMatrix(const std::string& name, int64_t rows, int64_t cols) {
    Add(name + ".weight", {rows, cols}, 0.0f, 0.08f);
  }
  void AddNorm(const std::string& name) { Add(name + ".weight", {kHidden}, 1.0f, 0.1f); }
  void Finish() { EXPECT_TRUE(writer_.Finish().ok()); }

 private:
  SafetensorsWriter writer_;
  std::mt19937 rng_{43};
};

}  // namespace

void WriteGpuCheckpoint(const std::string& folder) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json")
      << R"({"architectures":["Qwen2ForCausalLM"],"hidden_act":"silu","rms_norm_eps":1e-6,)"
      << R"("max_position_embeddings":512,"num_attention_heads":2,"num_key_value_heads":1,)"
      << R"("tie_word_embeddings":false,"rope_theta":10000.0,"torch_dtype":"bfloat16",)"
      << "\"hidden_size\":" << kHidden << ",\"intermediate_size\":" << kInner
      << ",\"num_hidden_layers\":" << kLayers << ",\"vocab_size\":" << kVocab << "}";
  Writer writer(folder);
  writer.AddMatrix("model.embed_tokens", kVocab, kHidden);
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    writer.AddNorm(layer + "input_layernorm");
    writer.AddNorm(layer + "post_attention_layernorm");
    writer.AddMatrix(layer + "self_attn.q_proj", kHidden, kHidden);
    writer.AddMatrix(layer + "self_attn.k_proj", kKv, kHidden);
    writer.AddMatrix(layer + "self_attn.v_proj", kKv, kHidden);
    writer.Add(layer + "self_attn.q_proj.bias", {kHidden}, 0.0f, 0.1f);
    writer.Add(layer + "self_attn.k_proj.bias", {kKv}, 0.0f, 0.1f);
    writer.Add(layer + "self_attn.v_proj.bias", {kKv}, 0.0f, 0.1f);
    writer.AddMatrix(layer + "self_attn.o_proj", kHidden, kHidden);
    writer.AddMatrix(layer + "mlp.gate_proj", kInner, kHidden);
    writer.AddMatrix(layer + "mlp.up_proj", kInner, kHidden);
    writer.AddMatrix(layer + "mlp.down_proj", kHidden, kInner);
  }
  writer.AddNorm("model.norm");
  writer.AddMatrix("lm_head", kVocab, kHidden);
  writer.Finish();
}

}  // namespace pingti::tools::testing
