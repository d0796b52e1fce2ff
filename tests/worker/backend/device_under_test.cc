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

TestOperand::TestOperand(DeviceUnderTest* device, OperandType type, int64_t rows, int64_t cols)
    : device_(device),
      values_(device, rows, cols, device->backend()->activation_dtype()),
      quantized_(*device->backend()->Allocate(QuantizedBytes(type, rows, cols))),
      view_(values_.view(), PlaceQuantized(type, quantized_->data(), rows, cols)) {
  const std::vector<uint8_t> nonsense(static_cast<size_t>(quantized_->bytes()), 0x7f);
  device_->CopyIn(nonsense.data(), quantized_->data(), quantized_->bytes());
}

void TestOperand::PoisonValues() {
  values_.Write(std::vector<float>(static_cast<size_t>(view_.values.rows * view_.values.cols),
                                   std::nanf("")));
}

void TestOperand::ReadQuantized(std::vector<float>* values, std::vector<float>* scales) const {
  const QuantizedView& form = view_.quantized;
  const int64_t rows = view_.values.rows;
  const int64_t cols = view_.values.cols;
  std::vector<int8_t> q(static_cast<size_t>(rows * form.stride));
  std::vector<float> group_scales(static_cast<size_t>(rows * form.num_groups));
  device_->CopyOut(form.values, q.data(), static_cast<int64_t>(q.size()));
  device_->CopyOut(form.scales, group_scales.data(), static_cast<int64_t>(4 * group_scales.size()));
  const int64_t group = form.type.group_size == 0 ? cols : form.type.group_size;
  values->clear();
  scales->clear();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      scales->push_back(group_scales[static_cast<size_t>(r * form.num_groups + c / group)]);
      values->push_back(scales->back() * q[static_cast<size_t>(r * form.stride + c)]);
    }
  }
}

std::vector<float> RandomValues(int64_t count, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = Bf16ToFloat(FloatToBf16(normal(*rng)));
  return values;
}

}  // namespace pingti::worker::testing
