#include "tests/worker/backend/device_under_test.h"

#include <gtest/gtest.h>

#include "worker/tensor/float16.h"

namespace pingti::worker::testing {

TestMatrix::TestMatrix(DeviceUnderTest* device, int64_t rows, int64_t cols, DType dtype)
    : device_(device),
      buffer_(*device->backend()->Allocate(rows * cols * BlockBytes(dtype))),
      view_{buffer_->data(), dtype, rows, cols, cols} {
  Write(std::vector<float>(static_cast<size_t>(rows * cols), std::nanf("")));
}

TestMatrix::TestMatrix(DeviceUnderTest* device, int64_t rows, int64_t cols,
                       const std::vector<float>& values)
    : TestMatrix(device, rows, cols, device->backend()->activation_dtype()) {
  EXPECT_EQ(static_cast<int64_t>(values.size()), rows * cols);
  Write(values);
}

void TestMatrix::Write(const std::vector<float>& values) {
  if (view_.dtype == DType::kF32) {
    return device_->CopyIn(values.data(), view_.data, static_cast<int64_t>(values.size() * 4));
  }
  std::vector<uint16_t> halves;
  for (const float value : values) halves.push_back(FloatToBf16(value));
  device_->CopyIn(halves.data(), view_.data, static_cast<int64_t>(halves.size() * 2));
}

std::vector<float> TestMatrix::Read() const {
  std::vector<float> values(static_cast<size_t>(view_.rows * view_.cols));
  if (view_.dtype == DType::kF32) {
    device_->CopyOut(view_.data, values.data(), static_cast<int64_t>(values.size() * 4));
    return values;
  }
  std::vector<uint16_t> halves(values.size());
  device_->CopyOut(view_.data, halves.data(), static_cast<int64_t>(halves.size() * 2));
  for (size_t i = 0; i < values.size(); ++i) values[i] = Bf16ToFloat(halves[i]);
  return values;
}

std::vector<uint8_t> TestMatrix::ReadRaw() const {
  std::vector<uint8_t> bytes(
      static_cast<size_t>(view_.rows * view_.cols * BlockBytes(view_.dtype)));
  device_->CopyOut(view_.data, bytes.data(), static_cast<int64_t>(bytes.size()));
  return bytes;
}

std::vector<float> RandomValues(int64_t count, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = Bf16ToFloat(FloatToBf16(normal(*rng)));
  return values;
}

}  // namespace pingti::worker::testing
