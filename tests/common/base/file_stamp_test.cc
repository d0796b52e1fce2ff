#include "common/base/file_stamp.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "common/base/strings.h"

namespace pingti {
namespace {

TEST(FileStamp, ChangesWithTheFileHoweverItIsReplaced) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(::testing::TempDir()) / Concat("stamp-", ::getpid());
  fs::create_directories(folder / "one");
  fs::create_directories(folder / "two");
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(folder / name) << text;
  };
  write("one/keys", "a");
  write("two/keys", "b");
  // As kubelet mounts it: keys -> ..data/keys, and ..data -> a folder, which it swaps.
  fs::create_symlink("one", folder / "..data");
  fs::create_symlink("..data/keys", folder / "keys");
  const std::string path = folder / "keys";
  const std::string first = FileStamp(path);
  EXPECT_NE(first, "");
  EXPECT_EQ(FileStamp(path), first);
  fs::create_symlink("two", folder / "..data_tmp");
  fs::rename(folder / "..data_tmp", folder / "..data");
  const std::string swapped = FileStamp(path);
  EXPECT_NE(swapped, first);
  write("two/keys", "longer");
  const std::string written = FileStamp(path);
  EXPECT_NE(written, swapped);
  write("new", "longer");
  fs::rename(folder / "new", folder / "two/keys");
  EXPECT_NE(FileStamp(path), written);
  fs::remove(folder / "two/keys");
  EXPECT_EQ(FileStamp(path), "");
  EXPECT_EQ(FileStamp(""), "");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace pingti
