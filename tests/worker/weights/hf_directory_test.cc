// What the files of a model directory say between them.
#include "worker/weights/hf_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace pingti::worker {
namespace {

namespace fs = std::filesystem;
using ::testing::UnorderedElementsAre;

class HfDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("pingti_hf_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& body) const {
    std::ofstream(folder_ / name, std::ios::binary) << body;
  }
  std::vector<int64_t> EndTokens() const {
    const absl::StatusOr<HfDirectory> read = ReadHfDirectory(folder_.string(), false);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? read->text.eos_token_ids : std::vector<int64_t>();
  }

  fs::path folder_;
};

TEST_F(HfDirectoryTest, EndTokensOfAllFilesEndASequence) {
  Write("config.json", R"({"eos_token_id":1})");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(1));
  Write("generation_config.json", R"({"eos_token_id":[2,1]})");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(1, 2));
  // Its spelling is a token of the tokenizer's own file.
  Write("tokenizer_config.json", R"({"eos_token":"<end>"})");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(1, 2));
  Write("tokenizer.json",
        R"({"added_tokens":[{"id":3,"content":"<end>"},{"id":9,"content":"x"}]})");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(1, 2, 3));
  // Or of its configuration, where both may name an object.
  Write("tokenizer_config.json", R"({"eos_token":{"content":"<fin>"},)"
                                 R"("added_tokens_decoder":{"4":{"content":"<fin>"}}})");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(1, 2, 4));
  Write("config.json", "{}");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(1, 2, 4));
  Write("generation_config.json", "{}");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre(4));
  Write("tokenizer_config.json", R"({"eos_token":null})");
  EXPECT_THAT(EndTokens(), UnorderedElementsAre());
}

}  // namespace
}  // namespace pingti::worker
