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

constexpr DType kTypes[] = {
    DType::kQ8_0,   DType::kQ4_0,  DType::kQ4_1,  DType::kQ4K,    DType::kQ5K,  DType::kQ6K,
    DType::kQ5_0,   DType::kQ5_1,  DType::kQ2K,   DType::kQ3K,    DType::kIq1S, DType::kIq1M,
    DType::kIq2Xxs, DType::kIq2Xs, DType::kIq2S,  DType::kIq3Xxs, DType::kIq3S, DType::kIq4Nl,
    DType::kIq4Xs,  DType::kTq1_0, DType::kTq2_0, DType::kMxfp4};

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
  // Nine digits tell one f32 from every other.
  for (const boost::json::value& value : root.at("values").as_array()) {
    fixture.values.push_back(static_cast<double>(static_cast<float>(value.to_number<double>())));
  }
  for (size_t i = 0; i < hex.size(); i += 2) {
    fixture.bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return fixture;
}

TEST(GgmlBlocksTest, EveryTypeEqualsTheGgufPackage) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(std::string(DTypeName(dtype)));
    const Fixture fixture = ReadFixture(dtype);
    ASSERT_EQ(static_cast<int64_t>(fixture.bytes.size()), 3 * BlockBytes(dtype));
    std::vector<float> values(fixture.values.size(), -1e30f);
    Dequantize(dtype, fixture.bytes.data(), static_cast<int64_t>(values.size()), values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(static_cast<double>(values[i]), fixture.values[i]) << i;
    }
  }
}

// Half a step of what the type becomes, for values of 32 of which the largest is 1.
double Bound(DType dtype) {
  switch (dtype) {
    case DType::kQ5_0:
    case DType::kTq1_0:
    case DType::kTq2_0:
    case DType::kMxfp4:
      return 0.0;
    case DType::kQ4K:  // scale and minimum rounded to 11 bits, each up to twice the largest value
      return 4.0 / 2048;
    case DType::kIq4Xs:
    case DType::kIq1S:
    case DType::kIq2Xxs:
    case DType::kIq3Xxs:
    case DType::kIq3S:  // the scale rounded to 11 bits
      return 1.0 / 2048;
    default:  // half a step of 127, and the rounding of the scale
      return 1.0 / 250;
  }
}

TEST(GgmlRepackTest, BlocksOf32HoldTheValuesOfAllTypes) {
  for (const DType dtype : kTypes) {
    if (!TypeOf32(dtype).has_value()) continue;
    SCOPED_TRACE(std::string(DTypeName(dtype)));
    const Fixture fixture = ReadFixture(dtype);
    const DType small = *TypeOf32(dtype);
    const int64_t count = BlockElements(dtype);
    for (int64_t b = 0; b < 3; ++b) {
      std::vector<uint8_t> repacked(static_cast<size_t>(count / 32 * BlockBytes(small)), 0xcc);
      RepackBlock(dtype, fixture.bytes.data() + b * BlockBytes(dtype), repacked.data());
      std::vector<float> values(static_cast<size_t>(count));
      Dequantize(small, repacked.data(), count, values.data());
      for (int64_t i = 0; i < count; ++i) {
        const auto sub_block = fixture.values.begin() + b * count + i / 32 * 32;
        double largest = 0.0;
        for (auto it = sub_block; it != sub_block + 32; ++it) {
          largest = std::max(largest, std::abs(*it));
        }
        EXPECT_NEAR(values[static_cast<size_t>(i)],
                    fixture.values[static_cast<size_t>(b * count + i)], largest * Bound(dtype))
            << "block " << b << ", value " << i;
      }
    }
  }
}

TEST(GgmlRepackTest, BlocksOfQ3KWithoutTheLeastValueAreExact) {
  const Fixture fixture = ReadFixture(DType::kQ3K);
  int exact = 0;
  for (int64_t b = 0; b < 3; ++b) {
    uint8_t repacked[8 * 34];
    RepackBlock(DType::kQ3K, fixture.bytes.data() + b * BlockBytes(DType::kQ3K), repacked);
    float values[256];
    Dequantize(DType::kQ8_0, repacked, 256, values);
    for (int64_t i = 0; i < 256; ++i) {
      exact += values[i] == static_cast<float>(fixture.values[static_cast<size_t>(b * 256 + i)]);
    }
  }
  EXPECT_GE(exact, 768 - 32);
}

TEST(GgmlRepackTest, TypesThatAreMultipliedAsTheyAreStaySo) {
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                      DType::kIq4Nl, DType::kI8}) {
    EXPECT_FALSE(TypeOf32(dtype).has_value()) << DTypeName(dtype);
  }
}

}  // namespace
}  // namespace pingti::worker
