// The main of test programs that run tools on a GPU: without one the program says so and exits with
// 77, which CTest counts as skipped.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "worker/backend/choose/choose_device.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const absl::Status device = pingti::worker::TakenGpuBytes(0).status();
  if (absl::IsNotFound(device)) {
    std::printf("SKIPPED: %s\n", std::string(device.message()).c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
