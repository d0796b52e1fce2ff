// Quantizing must not need a model's memory: beside what does not grow with the number of layers
// (embedding, output projection, the text's activations), less than two layers in 16 bit. Measured
// as the peak of a child process, for a model with few layers and one with many.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tools/quantize/quantizer.h"

namespace pingti::tools {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHidden = 1024;
constexpr int64_t kInner = 4096;
constexpr int64_t kVocab = 256;
constexpr int64_t kLayerBytes = 2 * (4 * kHidden * kHidden + 3 * kHidden * kInner);

// A llama whose weights are zeros: a hole in the file, which takes no disk.
void WriteModel(const fs::path& folder, int64_t layers) {
  fs::create_directories(folder);
  std::ofstream(folder / "config.json")
      << R"({"architectures":["LlamaForCausalLM"],"hidden_act":"silu","tie_word_embeddings":true,)"
      << R"("rms_norm_eps":1e-5,"max_position_embeddings":256,"num_attention_heads":16,)"
      << "\"hidden_size\":" << kHidden << ",\"intermediate_size\":" << kInner
      << ",\"num_hidden_layers\":" << layers << ",\"vocab_size\":" << kVocab << "}";
  std::string header = "{";
  int64_t offset = 0;
  const auto add = [&](const std::string& name, const std::string& shape, int64_t count) {
    header += (header.size() > 1 ? ",\"" : "\"") + name +
              ".weight\":{\"dtype\":\"BF16\",\"shape\":[" + shape + "],\"data_offsets\":[" +
              std::to_string(offset) + "," + std::to_string(offset + 2 * count) + "]}";
    offset += 2 * count;
  };
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    add(name, std::to_string(rows) + "," + std::to_string(cols), rows * cols);
  };
  matrix("model.embed_tokens", kVocab, kHidden);
  add("model.norm", std::to_string(kHidden), kHidden);
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm", std::to_string(kHidden), kHidden);
    add(layer + "post_attention_layernorm", std::to_string(kHidden), kHidden);
    for (const char* name : {"q", "k", "v", "o"}) {
      matrix(layer + "self_attn." + name + "_proj", kHidden, kHidden);
    }
    matrix(layer + "mlp.gate_proj", kInner, kHidden);
    matrix(layer + "mlp.up_proj", kInner, kHidden);
    matrix(layer + "mlp.down_proj", kHidden, kInner);
  }
  header += "}";
  const uint64_t header_bytes = header.size();
  std::ofstream file(folder / "model.safetensors", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  file << header;
  file.close();
  fs::resize_file(folder / "model.safetensors",
                  sizeof(header_bytes) + header_bytes + static_cast<uint64_t>(offset));
}

int64_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return -1;
}

// Bytes that a process which quantizes has held at most, or -1.
int64_t PeakOfQuantizing(const fs::path& folder, int64_t layers) {
  WriteModel(folder / "in", layers);
  int ends[2];
  if (::pipe(ends) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    QuantizeOptions options;
    options.input = folder / "in";
    options.output = folder / "out";
    options.device = worker::DeviceChoice::kCpu;
    options.threads = 1;
    options.max_tokens = 16;
    const auto report = Quantize(options, false, [](const QuantizeReport&) {});
    if (!report.ok()) std::fprintf(stderr, "%s\n", report.status().ToString().c_str());
    const int64_t peak = report.ok() ? PeakMemory() : -1;
    ::_exit(::write(ends[1], &peak, sizeof(peak)) == sizeof(peak) ? 0 : 1);
  }
  ::close(ends[1]);
  int64_t peak = -1;
  if (::read(ends[0], &peak, sizeof(peak)) != sizeof(peak)) peak = -1;
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  fs::remove_all(folder);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? peak : -1;
}

TEST(QuantizeMemory, IsLessThanTwoLayersAndDoesNotGrowWithTheirNumber) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's shadow memory counts as the process's";
#endif
  const fs::path folder =
      fs::path(::testing::TempDir()) / ("pingti_quantize_memory_" + std::to_string(::getpid()));
  const int64_t constant = PeakMemory();
  const int64_t few = PeakOfQuantizing(folder, 2);
  const int64_t many = PeakOfQuantizing(folder, 8);
  ASSERT_GT(few, 0);
  ASSERT_GT(many, 0);
  std::printf("a layer %.1f MB; peak %.1f MB with 2 layers, %.1f MB with 8; process %.1f MB\n",
              kLayerBytes * 1e-6, few * 1e-6, many * 1e-6, constant * 1e-6);
  EXPECT_LT(many - constant, 2 * kLayerBytes);
  EXPECT_GT(many - constant, kLayerBytes / 2);  // a layer was there at all
  EXPECT_LT(many - few, kLayerBytes / 2);
}

}  // namespace
}  // namespace pingti::tools
