// The CUDA backend under the tests that every backend shares, and the program's main: without a
// device the program says so and exits with 77, which CTest counts as skipped.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/worker/backend/device_under_test.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace pingti::worker::testing {
namespace {

constexpr char kNoGraphs[] = "no graphs";

class CudaDevice : public DeviceUnderTest {
 public:
  explicit CudaDevice(bool graphs) : backend_(*MakeCudaBackend({.device = 0, .graphs = graphs})) {}
  Backend* backend() override { return backend_.get(); }
  void CopyIn(const void* host, void* device, int64_t bytes) override {
    EXPECT_EQ(cudaMemcpy(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  void CopyOut(const void* device, void* host, int64_t bytes) override {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost),
              cudaSuccess);
  }
  // Half a unit in the last place of bf16, twice.
  double tolerance() const override { return 0x1p-8; }
  bool has_int8_kv() const override { return true; }

 private:
  const std::unique_ptr<Backend> backend_;
};

}  // namespace

std::vector<std::string> DeviceVariants() { return {"", kNoGraphs}; }

std::unique_ptr<DeviceUnderTest> MakeDeviceUnderTest(const std::string& variant) {
  return std::make_unique<CudaDevice>(variant != kNoGraphs);
}

}  // namespace pingti::worker::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const absl::Status device = pingti::worker::ReadCudaDevice(0).status();
  if (absl::IsNotFound(device)) {
    std::printf("SKIPPED: %s\n", std::string(device.message()).c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
