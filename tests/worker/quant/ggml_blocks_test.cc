#include "worker/quant/ggml_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/testing/source_dir.h"
#include "worker/quant/ggml_repack.h"

namespace pingti::worker {
namespace {

// Three random blocks of each type with the gguf package's values.
struct Fixture {
  std::vector<uint8_t> bytes;
  std::vector<double> values;
};

Fixture ReadFixture(DType dtype) {
  std::ifstream file(SourcePath("tests/golden/model/ggml_blocks.json"));
  std::stringstream text;
  text << file.rdbuf();
  const boost::json::value root = boost::json::parse(text.str()).at(std::string(DTypeName(dtype)));
  const std::string hex = boost::json::value_to<std::string>(root.at("bytes"));
  Fixture fixture;
  fixture.values = boost::json::value_to<std::vector<double>>(root.at("values"));
  for (size_t i = 0; i < hex.size(); i += 2) {
    fixture.bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return fixture;
}

TEST(GgmlBlocksTest, EveryTypeEqualsTheGgufPackage) {
  for (DType dtype :
       {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4K, DType::kQ5K, DType::kQ6K}) {
    SCOPED_TRACE(std::string(DTypeName(dtype)));
    const Fixture fixture = ReadFixture(dtype);
    ASSERT_EQ(static_cast<int64_t>(fixture.bytes.size()), 3 * BlockBytes(dtype));
    std::vector<float> values(fixture.values.size(), -1e30f);
    Dequantize(dtype, fixture.bytes.data(), static_cast<int64_t>(values.size()), values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], fixture.values[i], 1e-6 * (1.0 + std::abs(fixture.values[i]))) << i;
    }
  }
}

TEST(GgmlRepackTest, BlocksOf32HoldTheValuesOfKTypes) {
  for (DType dtype : {DType::kQ4K, DType::kQ5K, DType::kQ6K}) {
    SCOPED_TRACE(std::string(DTypeName(dtype)));
    const Fixture fixture = ReadFixture(dtype);
    const DType small = TypeOf32(dtype).value();
    for (int64_t b = 0; b < 3; ++b) {
      std::vector<uint8_t> repacked(static_cast<size_t>(8 * BlockBytes(small)), 0xcc);
      RepackKBlock(dtype, fixture.bytes.data() + b * BlockBytes(dtype), repacked.data());
      std::vector<float> values(256);
      Dequantize(small, repacked.data(), 256, values.data());
      for (int64_t i = 0; i < 256; ++i) {
        const auto sub_block = fixture.values.begin() + b * 256 + i / 32 * 32;
        double largest = 0.0;
        for (auto it = sub_block; it != sub_block + 32; ++it) {
          largest = std::max(largest, std::abs(*it));
        }
        // Q4_1: scale and minimum rounded to 11 bits, each up to twice the largest value (they
        // cancel). Q8_0: half a step of 127, and the rounding of the scale.
        const double bound = small == DType::kQ4_1 ? largest * 4 / 2048 : largest / 250;
        EXPECT_NEAR(values[static_cast<size_t>(i)],
                    fixture.values[static_cast<size_t>(b * 256 + i)], bound)
            << "block " << b << ", value " << i;
      }
    }
  }
}

TEST(GgmlRepackTest, OnlyKTypesAreRepacked) {
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    EXPECT_FALSE(TypeOf32(dtype).has_value()) << DTypeName(dtype);
  }
}

}  // namespace
}  // namespace pingti::worker
