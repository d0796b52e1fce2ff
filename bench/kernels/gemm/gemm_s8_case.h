// One problem of the int8 GEMM benches: rotating random operands, outputs, verification and timing.
// Bench code: an error ends the program with a message. Single thread.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/kernels/gemm/cublaslt.h"
#include "bench/kernels/harness/timing.h"
#include "kernels/gemm/int8/table.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {

struct S8Shape {
  const char* name;
  int n, k;
};

// The layers of a 72B and of a 7B Qwen2.5, on one device.
inline constexpr S8Shape kS8Shapes72B[] = {
    {"qkv", 10240, 8192}, {"o", 8192, 8192}, {"gate_up", 59136, 8192}, {"down", 8192, 29568}};
inline constexpr S8Shape kS8Shapes7B[] = {{"qkv_7b", 4608, 3584},
                                          {"o_7b", 3584, 3584},
                                          {"gate_up_7b", 37888, 3584},
                                          {"down_7b", 3584, 18944}};

class S8Case {
 public:
  S8Case(const S8Shape& shape, int m);

  int sets() const { return static_cast<int>(w_.size()); }
  double Operations() const { return 2.0 * m_ * shape_.n * shape_.k; }
  double WeightBytes() const { return double(shape_.n) * shape_.k; }

  // Elements of the variant's accumulators and outputs that differ from cuBLASLt's accumulators and
  // from their float64 epilogue.
  unsigned long long CountWrong(const CublasLt& reference, const GemmS8Variant& variant);

  Timing Time(const GemmS8Variant& variant, const TimingOptions& options);

  // The fastest of the library's algorithms.
  int BestAlgorithm(const CublasLt& lt);
  Timing TimeBaseline(const CublasLt& lt, int algorithm, bool dequantize,
                      const TimingOptions& options);

 private:
  GemmS8Params Params(int set) const;

  S8Shape shape_;
  int m_;
  std::vector<testing::DeviceBuffer<int8_t>> a_, w_;
  std::vector<testing::DeviceBuffer<__nv_bfloat16>> y_;
  std::vector<testing::DeviceBuffer<int32_t>> s32_;
  testing::DeviceBuffer<float> token_scale_, channel_scale_;
  testing::DeviceBuffer<__nv_bfloat16> bias_;
  testing::DeviceBuffer<uint8_t> workspace_;
  testing::DeviceBuffer<unsigned long long> bad_;
};

}  // namespace pingti::kernels::bench
