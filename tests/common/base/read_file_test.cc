#include "common/base/read_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "common/base/strings.h"

namespace pingti {
namespace {

class ReadFileTest : public ::testing::Test {
 protected:
  ReadFileTest()
      : path_(std::filesystem::temp_directory_path() / Concat("pingti-read-", ::getpid())) {}
  ~ReadFileTest() override { std::filesystem::remove(path_); }

  std::string Why() const { return std::string(ReadFile(path_).status().message()); }

  const std::filesystem::path path_;
};

TEST_F(ReadFileTest, GivesEveryByte) {
  for (const std::string& text :
       {std::string(), std::string("a\r\nb\0c\n", 7), std::string(100'000, 'x')}) {
    std::ofstream(path_, std::ios::binary) << text;
    const absl::StatusOr<std::string> read = ReadFile(path_);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, text);
  }
}

TEST_F(ReadFileTest, SaysWhyAPathCannotBeRead) {
  EXPECT_EQ(Why(), Concat("'", path_.string(), "' cannot be read: No such file or directory"));
  std::filesystem::create_directory(path_);
  EXPECT_EQ(Why(), Concat("'", path_.string(), "' cannot be read: Is a directory"));
}

TEST_F(ReadFileTest, AFileWithoutAnEndIsNotReadForEver) {
  const absl::Status endless = ReadFile("/dev/zero").status();
  EXPECT_TRUE(absl::IsOutOfRange(endless)) << endless;
  EXPECT_EQ(std::string(endless.message()),
            "'/dev/zero' has more than the 67108864 bytes that are read");
}

}  // namespace
}  // namespace pingti
