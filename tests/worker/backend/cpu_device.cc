// The CPU backend under the tests that every backend shares.
#include <cstring>

#include "tests/worker/backend/device_under_test.h"
#include "worker/backend/cpu/cpu_backend.h"

namespace pingti::worker::testing {
namespace {

class CpuDevice : public DeviceUnderTest {
 public:
  explicit CpuDevice(const std::string& kernels)
      : backend_(*MakeCpuBackend({.num_threads = 2, .kernels = kernels})) {}
  Backend* backend() override { return backend_.get(); }
  void CopyIn(const void* host, void* device, int64_t bytes) override {
    std::memcpy(device, host, static_cast<size_t>(bytes));
  }
  void CopyOut(const void* device, void* host, int64_t bytes) override {
    std::memcpy(host, device, static_cast<size_t>(bytes));
  }
  double tolerance() const override { return 2e-5; }

 private:
  const std::unique_ptr<Backend> backend_;
};

}  // namespace

std::vector<std::string> DeviceVariants() { return {"", "portable"}; }

std::unique_ptr<DeviceUnderTest> MakeDeviceUnderTest(const std::string& variant) {
  return std::make_unique<CpuDevice>(variant);
}

}  // namespace pingti::worker::testing
