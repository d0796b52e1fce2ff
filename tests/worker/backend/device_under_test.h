// What tests that run on every backend need of its device: the backend, a way to move numbers there
// and back, and how exact it is. cpu_device.cc and cuda/cuda_device.cc each make one; a test
// program links one of them. Used by the table of operations (ops_*_test.cc), by tests/worker/model
// and by tests/worker/engine.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "worker/backend/backend.h"

namespace pingti::worker::testing {

class DeviceUnderTest {
 public:
  virtual ~DeviceUnderTest() = default;
  virtual Backend* backend() = 0;
  virtual void CopyIn(const void* host, void* device, int64_t bytes) = 0;
  // After everything that was issued.
  virtual void CopyOut(const void* device, void* host, int64_t bytes) = 0;
  // Of values that went through activation_dtype() once, relative to their size.
  virtual double tolerance() const = 0;
  // Whether the backend can keep keys and values in int8.
  virtual bool has_int8_kv() const { return false; }
  // Whether it computes in f32 when asked; otherwise bf16 is the most exact it has.
  bool is_exact() { return backend()->activation_dtype() == DType::kF32; }
};

// Ways in which the backend can do its work: instruction sets, recorded steps. "" is its own
// choice.
std::vector<std::string> DeviceVariants();
// Of the backend that the program was linked for.
std::unique_ptr<DeviceUnderTest> MakeDeviceUnderTest(const std::string& variant = "");

// A matrix on the device; f32 or activation_dtype().
class TestMatrix {
 public:
  // Filled with NaN, so that what is not written shows.
  TestMatrix(DeviceUnderTest* device, int64_t rows, int64_t cols, DType dtype);
  // `values` rounded to activation_dtype().
  TestMatrix(DeviceUnderTest* device, int64_t rows, int64_t cols, const std::vector<float>& values);

  const MatrixView& view() const { return view_; }
  void Write(const std::vector<float>& values);
  std::vector<float> Read() const;
  std::vector<uint8_t> ReadRaw() const;

 private:
  DeviceUnderTest* const device_;
  std::unique_ptr<DeviceBuffer> buffer_;
  MatrixView view_;
};

// A matrix of activations with the quantized form that a weight reads, which starts as nonsense.
class TestOperand {
 public:
  TestOperand(DeviceUnderTest* device, OperandType type, int64_t rows, int64_t cols);

  const Operand& view() const { return view_; }
  // Overwrites the values alone, past all rules.
  void PoisonValues();
  std::vector<float> ReadValues() const { return values_.Read(); }
  // What the quantized form stands for, [rows, cols], and each value's scale.
  void ReadQuantized(std::vector<float>* values, std::vector<float>* scales) const;

 private:
  DeviceUnderTest* const device_;
  TestMatrix values_;
  std::unique_ptr<DeviceBuffer> quantized_;
  Operand view_;
};

// Normal values, rounded to bf16 so that every device holds the same.
std::vector<float> RandomValues(int64_t count, std::mt19937* rng);

}  // namespace pingti::worker::testing
