// Quantizing on a GPU: the same files as on a CPU, and a text that fares alike.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/tools/gpu_checkpoint.h"
#include "tools/quantize/quantizer.h"

namespace pingti::tools {
namespace {

namespace fs = std::filesystem;

// bf16 activations on the GPU, f32 ones between products on the CPU.
constexpr double kPerplexityTolerance = 0.03;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class QuantizerCudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) / ("pingti_quantizer_cuda_" + std::to_string(::getpid()));
    testing::WriteGpuCheckpoint(folder_ / "in");
  }
  void TearDown() override { fs::remove_all(folder_); }

  QuantizeOptions Options(worker::DeviceChoice device, const std::string& name) const {
    QuantizeOptions options;
    options.input = folder_ / "in";
    options.output = folder_ / name;
    options.device = device;
    options.threads = 2;
    options.max_tokens = 700;  // a whole sequence and a part of one
    return options;
  }
  static QuantizeReport Run(const QuantizeOptions& options) {
    const auto report = Quantize(options, false, [](const QuantizeReport&) {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(QuantizeReport());
  }
  static void ExpectAlike(const QuantizeReport& gpu, const QuantizeReport& cpu) {
    ASSERT_EQ(gpu.layers.size(), cpu.layers.size());
    for (size_t layer = 0; layer < gpu.layers.size(); ++layer) {
      for (size_t g = 0; g < kNumGroups; ++g) {
        const std::optional<double>& error = cpu.layers[layer].error[g];
        ASSERT_EQ(gpu.layers[layer].error[g].has_value(), error.has_value());
        if (!error.has_value()) continue;
        EXPECT_GT(*gpu.layers[layer].error[g], 0.001);  // int8 cannot be nearer
        EXPECT_LT(*gpu.layers[layer].error[g], 1.3 * *error + 0.002)
            << layer << " " << GroupName(static_cast<LinearGroup>(g));
      }
    }
    const TextQuality& a = gpu.quality;
    const TextQuality& b = cpu.quality;
    EXPECT_EQ(a.num_tokens, b.num_tokens);
    EXPECT_NEAR(a.perplexity_original / b.perplexity_original, 1.0, kPerplexityTolerance);
    EXPECT_NEAR(a.perplexity_quantized / b.perplexity_quantized, 1.0, kPerplexityTolerance);
    EXPECT_GT(a.kl_mean, 0.0);
    EXPECT_LT(a.kl_mean, 2 * b.kl_mean + 1e-3);
  }

  fs::path folder_;
};

TEST_F(QuantizerCudaTest, WritesTheSameFilesAsTheCpuAndMeasuresAlike) {
  const QuantizeReport gpu = Run(Options(worker::DeviceChoice::kCuda, "gpu"));
  const QuantizeReport cpu = Run(Options(worker::DeviceChoice::kCpu, "cpu"));
  for (const char* name : {"model.safetensors", "config.json"}) {
    EXPECT_EQ(ReadFile(folder_ / "gpu" / name), ReadFile(folder_ / "cpu" / name)) << name;
  }
  ExpectAlike(gpu, cpu);
}

TEST_F(QuantizerCudaTest, SmoothsByRangesTakenOnTheDevice) {
  QuantizeOptions options = Options(worker::DeviceChoice::kCuda, "gpu");
  options.smoothquant_alpha = 0.5;
  const QuantizeReport gpu = Run(options);
  options = Options(worker::DeviceChoice::kCpu, "cpu");
  options.smoothquant_alpha = 0.5;
  ExpectAlike(gpu, Run(options));
}

TEST_F(QuantizerCudaTest, ModelWithEverythingKeptIsTheOriginal) {
  QuantizeOptions options = Options(worker::DeviceChoice::kCuda, "gpu");
  options.keep = {"*"};
  const QuantizeReport report = Run(options);
  EXPECT_EQ(report.quality.kl_max, 0.0);
  EXPECT_EQ(report.quality.perplexity_quantized, report.quality.perplexity_original);
  EXPECT_EQ(report.output_bytes, report.input_bytes);
}

}  // namespace
}  // namespace pingti::tools
