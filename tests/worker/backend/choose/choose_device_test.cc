#include "worker/backend/choose/choose_device.h"

#include "gtest/gtest.h"

namespace pingti::worker {
namespace {

TEST(ChooseDevice, CpuIsThereEverywhere) {
  const auto device = ChooseDevice({DeviceChoice::kCpu, 0, 1});
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_FALSE(device->is_gpu);
  EXPECT_EQ(device->backend->name(), "cpu");
  EXPECT_EQ(device->name, "CPU");
  EXPECT_EQ(device->BestKvBlockTokens(), 16);
  EXPECT_TRUE(absl::IsInvalidArgument(ChooseDevice({DeviceChoice::kCpu, 0, -1}).status()));
}

// With a GPU or without, built with CUDA or not.
TEST(ChooseDevice, AutoTakesTheGpuWhereOneCanBeHad) {
  const auto gpu = ChooseDevice({DeviceChoice::kCuda, 0, 1});
  const auto taken = TakenGpuBytes(0);
  const auto chosen = ChooseDevice({DeviceChoice::kAuto, 0, 1});
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->is_gpu, gpu.ok());
  if (!gpu.ok()) {
    EXPECT_EQ(taken.status().code(), gpu.status().code());
    EXPECT_NE(gpu.status().message().find("CUDA"), absl::string_view::npos) << gpu.status();
    EXPECT_EQ(chosen->backend->name(), "cpu");
    return;
  }
  EXPECT_EQ(chosen->backend->name(), "cuda");
  EXPECT_EQ(chosen->BestKvBlockTokens(), 64);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_GT(*taken, 0);
  EXPECT_LT(*taken, chosen->memory_bytes);
}

// Whoever names a GPU means it: there is no other device in its place.
TEST(ChooseDevice, AGpuThatIsNotThereIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ChooseDevice({DeviceChoice::kCpu, 1, 1}).status()));
  const bool any_gpu = ChooseDevice({DeviceChoice::kCuda, 0, 1}).ok();
  for (const DeviceChoice choice : {DeviceChoice::kAuto, DeviceChoice::kCuda}) {
    const absl::Status status = ChooseDevice({choice, 127, 1}).status();
    EXPECT_FALSE(status.ok());
    if (!any_gpu) continue;
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_NE(status.message().find("gpu_index is 127"), absl::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace pingti::worker
