#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/strings.h"
#include "worker/weights/safetensors_file.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

std::string File(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string out(reinterpret_cast<const char*>(&length), sizeof(length));
  return out + header + std::string(data_bytes, '\1');
}

std::string ErrorOf(const std::string& bytes) {
  return std::string(ParseSafetensors(bytes).status().message());
}

constexpr char kGood[] =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I8","shape":[3],"data_offsets":[8,11]},)"
    R"("a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}})";

TEST(SafetensorsTest, ReadsTensorsInDataOrder) {
  const std::string bytes = File(kGood, 11);
  const auto tensors = ParseSafetensors(bytes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ((*tensors)[1].dtype, DType::kI8);
  EXPECT_EQ((*tensors)[1].data, bytes.data() + bytes.size() - 3);
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string bytes = File(kGood, 11);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    EXPECT_FALSE(ParseSafetensors(part).ok()) << size;
  }
}

// Every placement of two tensors of bytes, also of none, in up to four bytes of data.
TEST(SafetensorsTest, TensorsCoverTheDataWithoutGapsAndOverlaps) {
  const auto entry = [](int begin, int end, int size) {
    return Concat(R"({"dtype":"U8","shape":[)", size, R"(],"data_offsets":[)", begin, ",", end,
                  "]}");
  };
  std::vector<std::pair<int, int>> places;
  for (int begin = 0; begin <= 4; ++begin) {
    for (int end = 0; end <= 5; ++end) places.emplace_back(begin, end);
  }
  for (const auto& [a_begin, a_end] : places) {
    for (const auto& [b_begin, b_end] : places) {
      for (int data = 0; data <= 4; ++data) {
        const std::string bytes =
            File(Concat("{\"a\":", entry(a_begin, a_end, std::max(0, a_end - a_begin)),
                        ",\"b\":", entry(b_begin, b_end, std::max(0, b_end - b_begin)), "}"),
                 static_cast<size_t>(data));
        const auto tensors = ParseSafetensors(bytes);
        const bool ascending = a_begin <= a_end && b_begin <= b_end;
        const bool a_first = a_begin == 0 && a_end == b_begin && b_end == data;
        const bool b_first = b_begin == 0 && b_end == a_begin && a_end == data;
        ASSERT_EQ(tensors.ok(), ascending && (a_first || b_first))
            << a_begin << "-" << a_end << ", " << b_begin << "-" << b_end << " of " << data << ": "
            << tensors.status();
        if (!tensors.ok()) continue;
        for (const TensorView& tensor : *tensors) {
          const int begin = tensor.name == "a" ? a_begin : b_begin;
          EXPECT_EQ(tensor.data, bytes.data() + bytes.size() - data + begin);
        }
      }
    }
  }
}

TEST(SafetensorsTest, AnEntryHasExactlyTheFieldsOfTheFormat) {
  const auto one = [](const std::string& entry) {
    return ErrorOf(File("{\"w\":" + entry + "}", 4));
  };
  EXPECT_THAT(one(R"({"shape":[4],"data_offsets":[0,4]})"), HasSubstr("'dtype' is missing"));
  EXPECT_THAT(one(R"({"dtype":7,"shape":[4],"data_offsets":[0,4]})"),
              HasSubstr("'dtype' is missing"));
  for (const char* offsets :
       {"", R"(,"data_offsets":0)", R"(,"data_offsets":[0])", R"(,"data_offsets":[0,4,4])",
        R"(,"data_offsets":["0",4])", R"(,"data_offsets":[0,4.5])", R"(,"data_offsets":[-1,4])",
        R"(,"data_offsets":[0,5])"}) {
    EXPECT_THAT(one(Concat(R"({"dtype":"U8","shape":[4])", offsets, "}")),
                HasSubstr("tensor 'w': 'data_offsets'"))
        << offsets;
  }
  EXPECT_THAT(one("4"), HasSubstr("entry is not an object"));
}

TEST(SafetensorsTest, HeaderOfTooManyValuesIsRefusedBeforeItIsParsed) {
  std::string shape = "[0";
  for (int i = 0; i < 2'000'000; ++i) shape += ",0";
  EXPECT_THAT(ErrorOf(File(R"({"w":{"dtype":"I8","shape":)" + shape + "]}}", 0)),
              HasSubstr("values; expected at most 2000000"));
  // Those in a text are none.
  const std::string text = R"(\"[{)" + std::string(2'500'000, ',');
  EXPECT_TRUE(ParseSafetensors(File(R"({"__metadata__":{"a":")" + text + R"("}})", 0)).ok());
}

TEST(SafetensorsTest, RefusalsNameTensorAndExpectation) {
  const auto one = [](const std::string& entry, size_t bytes) {
    return ErrorOf(File("{\"w\":" + entry + "}", bytes));
  };
  EXPECT_THAT(one(R"({"dtype":"F64","shape":[1],"data_offsets":[0,8]})", 8),
              HasSubstr("tensor 'w': dtype F64"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4),
              HasSubstr("tensor 'w' F32 [2]: 4 bytes; expected 8"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8),
              HasSubstr("begins at byte 4 of the data; expected 0"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 8),
              HasSubstr("tensors end at byte 4 of 8"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4),
              HasSubstr("shape [-1]"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]})", 4),
              HasSubstr("does not fit"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[8,4]})", 8),
              HasSubstr("'data_offsets' [8,4]"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1})", 4),
              HasSubstr("unknown field 'x'"));
  EXPECT_THAT(ErrorOf(File("[]", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf(File("{\"a\":", 0)), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(std::string(8, '\xff')), HasSubstr("header of"));
}

}  // namespace
}  // namespace pingti::worker
