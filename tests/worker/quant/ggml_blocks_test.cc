#include "worker/quant/ggml_blocks.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace pingti::worker {
namespace {

TEST(GgmlBlocksTest, EveryTypeEqualsTheGgufPackage) {
  std::ifstream file(PINGTI_SOURCE_DIR "/tests/golden/model/ggml_blocks.json");
  std::stringstream text;
  text << file.rdbuf();
  const boost::json::value root = boost::json::parse(text.str());
  for (DType dtype :
       {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4K, DType::kQ5K, DType::kQ6K}) {
    const std::string name(DTypeName(dtype));
    const std::string hex = boost::json::value_to<std::string>(root.at(name).at("bytes"));
    const auto expected = boost::json::value_to<std::vector<double>>(root.at(name).at("values"));
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    ASSERT_EQ(static_cast<int64_t>(bytes.size()), 3 * BlockBytes(dtype)) << name;
    std::vector<float> values(expected.size(), -1e30f);
    Dequantize(dtype, bytes.data(), static_cast<int64_t>(values.size()), values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], expected[i], 1e-6 * (1.0 + std::abs(expected[i]))) << name << " " << i;
    }
  }
}

}  // namespace
}  // namespace pingti::worker
