// Limits of control groups, read from folders that look like those of the kernel.
#include "common/base/processors.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace pingti {
namespace {

class ProcessorLimitTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  ~ProcessorLimitTest() override { std::filesystem::remove_all(root); }

  const std::string root = ::testing::TempDir() + "cgroup_" +
                           ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(ProcessorLimitTest, ReadsVersionTwo) {
  Write("/cpu.max", "250000 100000\n");
  EXPECT_EQ(ProcessorLimit(root, "/"), 2.5);
  EXPECT_EQ(ProcessorLimit(root, ""), 2.5);
}

TEST_F(ProcessorLimitTest, ReadsVersionOne) {
  Write("/cpu.cfs_quota_us", "150000\n");
  Write("/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(ProcessorLimit(root, "/"), 1.5);
  Write("/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(ProcessorLimit(root, "/"), 0);
}

TEST_F(ProcessorLimitTest, TheTightestOfAGroupAndItsParentsCounts) {
  Write("/pods/cpu.max", "400000 100000");
  Write("/pods/one/cpu.max", "max 100000");
  Write("/pods/one/container/cpu.max", "800000 100000");
  EXPECT_EQ(ProcessorLimit(root, "/pods/one/container"), 4);
  EXPECT_EQ(ProcessorLimit(root, "/pods"), 4);
  EXPECT_EQ(ProcessorLimit(root, "/elsewhere"), 0);
}

TEST_F(ProcessorLimitTest, WithoutALimitThereIsNone) {
  EXPECT_EQ(ProcessorLimit(root, "/"), 0);
  Write("/cpu.max", "max 100000");
  EXPECT_EQ(ProcessorLimit(root, "/"), 0);
}

TEST(AvailableProcessorsTest, IsNoMoreThanTheMaskAllows) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(AvailableProcessors(), 1);
  EXPECT_LE(AvailableProcessors(), CPU_COUNT(&before));
}

}  // namespace
}  // namespace pingti
