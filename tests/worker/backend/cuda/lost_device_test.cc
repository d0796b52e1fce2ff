// A real sticky error: a kernel that reads an address which is none. What the backend says of it,
// then and ever after. One test, since the process's device is lost with it; main is in
// cuda_device.cc.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/backend/cuda/bad_address.h"
#include "tests/worker/backend/device_under_test.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

TEST(LostDevice, IsNamedAndStaysLost) {
  const auto device = testing::MakeDeviceUnderTest();
  Backend* backend = device->backend();
  const auto weight = backend->UploadF32(std::vector<float>(64, 1.0f));
  ASSERT_TRUE(weight.ok()) << weight.status();
  const testing::TestMatrix out(device.get(), 1, 64, backend->activation_dtype());
  EXPECT_TRUE(backend->RmsNorm(out.view(), **weight, 1e-6f, out.view()).ok());

  testing::BadAddress(backend, **weight);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  const absl::Status status = backend->RmsNorm(out.view(), **weight, 1e-6f, out.view());
  EXPECT_TRUE(IsDeviceLost(status)) << status;
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("CUDA error cudaErrorIllegalAddress ("));
  EXPECT_THAT(message, HasSubstr("; the device is unusable until the process restarts"));

  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(IsDeviceLost(backend->Allocate(1 << 20).status()));
    EXPECT_TRUE(IsDeviceLost(backend->UploadF32(std::vector<float>(8)).status()));
    EXPECT_TRUE(IsDeviceLost(backend->RmsNorm(out.view(), **weight, 1e-6f, out.view())));
  }
}

}  // namespace
}  // namespace pingti::worker
