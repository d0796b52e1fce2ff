#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "tools/quantize/output_directory.h"
#include "tools/quantize/safetensors_writer.h"
#include "worker/weights/mapped_file.h"
#include "worker/weights/safetensors_file.h"

namespace pingti::tools {
namespace {

namespace fs = std::filesystem;
using worker::DType;

class OutputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("pingti_output_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  size_t NumEntries() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(OutputTest, DirectoryAppearsWithCommitOnly) {
  const std::string path = folder_ / "model";
  auto output = OutputDirectory::Create(path + "/", 1);
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_TRUE(WriteFile((*output)->partial_path() + "/a", "text").ok());
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE((*output)->Commit().ok());
  EXPECT_EQ(fs::file_size(path + "/a"), 4u);
  output->reset();
  EXPECT_TRUE(fs::exists(path));
  EXPECT_EQ(NumEntries(), 1u);
}

TEST_F(OutputTest, DirectoryWithoutCommitLeavesNothing) {
  {
    auto output = OutputDirectory::Create(folder_ / "model", 1);
    ASSERT_TRUE(output.ok()) << output.status();
    ASSERT_TRUE(WriteFile((*output)->partial_path() + "/a", "text").ok());
  }
  EXPECT_EQ(NumEntries(), 0u);
}

TEST_F(OutputTest, NothingIsOverwritten) {
  const std::string path = folder_ / "model";
  auto output = OutputDirectory::Create(path, 1);
  ASSERT_TRUE(output.ok()) << output.status();
  std::ofstream(path) << "appeared meanwhile";
  EXPECT_TRUE(absl::IsAlreadyExists((*output)->Commit()));
  EXPECT_TRUE(absl::IsAlreadyExists(OutputDirectory::Create(path, 1).status()));
  EXPECT_EQ(fs::file_size(path), 18u);
}

TEST_F(OutputTest, TooLittleSpaceIsFoundBeforeAnythingIsWritten) {
  const auto output = OutputDirectory::Create(folder_ / "model", int64_t{1} << 60);
  ASSERT_TRUE(absl::IsResourceExhausted(output.status())) << output.status();
  EXPECT_NE(output.status().message().find("MiB are free"), absl::string_view::npos);
  EXPECT_EQ(NumEntries(), 0u);
}

TEST_F(OutputTest, WriterSplitsIntoShardsWithAnIndex) {
  SafetensorsWriterOptions options;
  options.max_shard_bytes = 16;
  options.header_bytes = HeaderBytes(3, 3);
  SafetensorsWriter writer(folder_, options);
  ASSERT_TRUE(writer.Add("a", DType::kF32, {3}, std::string(12, 'a')).ok());
  ASSERT_TRUE(writer.Add("b", DType::kI8, {4, 1}, std::string(4, 'b')).ok());
  ASSERT_TRUE(writer.Add("c", DType::kBf16, {1}, std::string(2, 'c')).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(NumEntries(), 3u);  // two shards, the index
  const auto file = worker::MappedFile::Open(folder_ / "model-00001-of-00002.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tensors = worker::ParseSafetensors((*file)->bytes());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[1].name, "b");
  EXPECT_EQ((*tensors)[1].shape, (std::vector<int64_t>{4, 1}));
  EXPECT_EQ(std::string(static_cast<const char*>((*tensors)[1].data), 4), "bbbb");
  std::ifstream index(folder_ / "model.safetensors.index.json");
  const std::string text(std::istreambuf_iterator<char>(index), {});
  EXPECT_NE(text.find(R"("c":"model-00002-of-00002.safetensors")"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("total_size":18)"), std::string::npos) << text;
}

TEST_F(OutputTest, WriterRefusesAnAddressThatATypeCannotHave) {
  SafetensorsWriterOptions options;
  options.header_bytes = HeaderBytes(2, 2);
  SafetensorsWriter writer(folder_, options);
  ASSERT_TRUE(writer.Add("a", DType::kI8, {3}, "abc").ok());
  const absl::Status status = writer.Add("b", DType::kF32, {1}, "abcd");
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_NE(status.message().find("'b'"), absl::string_view::npos);
}

}  // namespace
}  // namespace pingti::tools
