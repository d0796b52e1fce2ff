// What a GGUF file's structure may say: every placement of two tensors, every alignment, and the
// borders of counts and names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/weights/gguf_builder.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kF32 = 0;

struct Place {
  uint64_t offset, values;
  uint64_t end() const { return offset + 4 * values; }
};

std::string ErrorOf(const std::string& bytes) {
  return std::string(GgufFile::Parse(bytes).status().message());
}

// The structure padded to a multiple of `alignment`, then the data.
std::string FileOf(const GgufBuilder& builder, uint64_t alignment, uint64_t data_bytes) {
  std::string bytes = builder.BuildStructure();
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes + std::string(data_bytes, '\1');
}

TEST(GgufParserTest, TensorsLieWithinTheDataAndApart) {
  constexpr uint64_t kData = 128;
  std::vector<Place> places;
  for (const uint64_t offset : {0, 4, 16, 32, 64, 96, 120, 128, 160}) {
    for (const uint64_t values : {1, 8, 9, 16, 17, 32, 33}) places.push_back({offset, values});
  }
  for (const Place& a : places) {
    for (const Place& b : places) {
      GgufBuilder builder;
      builder.set_next_offset(a.offset);
      builder.AddTensor("a", {a.values}, kF32, 0);
      builder.set_next_offset(b.offset);
      builder.AddTensor("b", {b.values}, kF32, 0);
      const std::string bytes = FileOf(builder, 32, kData);
      const auto file = GgufFile::Parse(bytes);
      const bool aligned = a.offset % 32 == 0 && b.offset % 32 == 0;
      const bool within = a.end() <= kData && b.end() <= kData;
      const bool apart = a.end() <= b.offset || b.end() <= a.offset;
      ASSERT_EQ(file.ok(), aligned && within && apart)
          << a.offset << " + " << 4 * a.values << ", " << b.offset << " + " << 4 * b.values << ": "
          << file.status();
      if (!file.ok()) continue;
      const char* data = bytes.data() + bytes.size() - kData;
      EXPECT_EQ(file->FindTensor("a")->data, data + a.offset);
      EXPECT_EQ(file->FindTensor("b")->data, data + b.offset);
    }
  }
}

TEST(GgufParserTest, AnAlignmentIsAPowerOfTwoFromEight) {
  const auto with_alignment = [](uint32_t alignment, uint64_t offset) {
    GgufBuilder builder;
    builder.AddU32("general.alignment", alignment);
    builder.set_next_offset(offset);
    builder.AddTensor("a", {8}, kF32, 0);
    return FileOf(builder, std::clamp<uint64_t>(alignment, 1, 1 << 20), offset + 32);
  };
  std::vector<uint32_t> alignments = {1u << 19, 1u << 20, 1u << 21, 1u << 31, ~0u, (1u << 20) - 1};
  for (uint32_t i = 0; i <= 70; ++i) alignments.push_back(i);
  for (const uint32_t alignment : alignments) {
    const bool good = alignment >= 8 && alignment <= 1 << 20 && (alignment & (alignment - 1)) == 0;
    const std::string bytes = with_alignment(alignment, 0);
    EXPECT_EQ(GgufFile::Parse(bytes).ok(), good) << alignment;
    if (!good) {
      EXPECT_THAT(ErrorOf(bytes), HasSubstr("general.alignment is")) << alignment;
    }
  }
  for (const uint64_t offset : {8, 16, 24, 32, 48, 64, 96, 128}) {
    EXPECT_EQ(GgufFile::Parse(with_alignment(64, offset)).ok(), offset % 64 == 0) << offset;
    EXPECT_EQ(GgufFile::Parse(with_alignment(8, offset)).ok(), offset % 8 == 0) << offset;
  }
}

TEST(GgufParserTest, CountsThatCannotBeTrueAreRefusedBeforeAnythingIsRead) {
  const auto with_counts = [](uint64_t tensors, uint64_t keys, size_t rest) {
    std::string bytes("GGUF\3\0\0\0", 8);
    bytes.append(reinterpret_cast<const char*>(&tensors), 8);
    bytes.append(reinterpret_cast<const char*>(&keys), 8);
    return bytes + std::string(rest, '\0');
  };
  EXPECT_THAT(ErrorOf(with_counts(0, 3, 38)), HasSubstr("3 metadata keys do not fit"));
  EXPECT_THAT(ErrorOf(with_counts(0, 3, 39)), Not(HasSubstr("do not fit")));
  EXPECT_THAT(ErrorOf(with_counts(2, 0, 63)), HasSubstr("2 tensors do not fit"));
  EXPECT_THAT(ErrorOf(with_counts(2, 0, 64)), Not(HasSubstr("do not fit")));
  EXPECT_THAT(ErrorOf(with_counts(~uint64_t{0}, 0, 64)), HasSubstr("tensors do not fit"));
  EXPECT_THAT(ErrorOf(with_counts(0, ~uint64_t{0}, 64)), HasSubstr("metadata keys do not fit"));
  EXPECT_TRUE(GgufFile::Parse(with_counts(0, 0, 0)).ok());
}

TEST(GgufParserTest, TypesThatAreNotReadAreNamed) {
  const std::vector<std::pair<uint32_t, std::string>> types = {
      {4, "Q4_2"}, {31, "Q4_0_4_4"}, {40, "NVFP4"}, {41, "Q1_0"}, {42, "Q2_0"}, {43, "unknown"}};
  for (const auto& [type, name] : types) {
    GgufBuilder builder;
    builder.AddTensor("a", {256}, type, 256);
    EXPECT_THAT(ErrorOf(builder.Build()), HasSubstr("tensor 'a': type " + name + " (")) << type;
  }
}

TEST(GgufParserTest, NamesHaveOneToAThousandBytes) {
  for (const size_t length : {0, 1, 2, 1023, 1024, 1025}) {
    const bool good = length >= 1 && length <= 1024;
    GgufBuilder key;
    key.AddU32(std::string(length, 'k'), 1);
    EXPECT_EQ(GgufFile::Parse(key.Build()).ok(), good) << length;
    GgufBuilder tensor;
    tensor.AddTensor(std::string(length, 't'), {8}, kF32, 32);
    EXPECT_EQ(GgufFile::Parse(tensor.Build()).ok(), good) << length;
  }
}

TEST(GgufParserTest, TensorsHaveOneToFourDimensionsOfOneAndMore) {
  for (size_t dims = 0; dims <= 6; ++dims) {
    GgufBuilder builder;
    builder.AddTensor("a", std::vector<uint64_t>(dims, 2), kF32, 64);
    const std::string bytes = builder.Build();
    EXPECT_EQ(GgufFile::Parse(bytes).ok(), dims >= 1 && dims <= 4) << dims;
  }
  GgufBuilder none;
  none.AddTensor("a", {8, 0}, kF32, 32);
  EXPECT_THAT(ErrorOf(none.Build()), HasSubstr("dimension 1 is 0"));
}

}  // namespace
}  // namespace pingti::worker
