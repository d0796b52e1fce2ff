// Weight matrices on the device, and their products with activations.
//
// Three forms: bf16 (cuBLASLt); int8 with a scale per row, multiplied with activations quantized
// per token (kernels' gemm_s8.h); 4 or 8 bits with a scale, and perhaps a zero point, per group of
// values, multiplied with bf16 activations (gemm_w4a16.h): GGUF's Q4_0 and Q8_0 and packed
// checkpoints as they are, and 8-bit weights made here; for many tokens, as bf16 rows made of them
// for the one product. Experts have the same three forms, and of the third also 4-bit floats, MXFP4
// (cuda_experts.h). Confined to the engine thread. Next: weight_upload.h, prepare_linear.cc,
// prepare_grouped.cc, prepare_packed.cc.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/blas.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/kernel_params.h"
#include "worker/backend/cuda/weight_upload.h"

namespace pingti::worker::cuda {

// The families of kernels, each with its own layout of values and scales.
enum class GemmKind {
  kBf16,     // cuBLASLt
  kInt8,     // gemm_s8.h
  kGrouped,  // gemm_w4a16.h
};
GemmKind GemmKindOf(const MatrixFormat& format);

class CudaLinearWeight : public LinearWeight {
 public:
  int64_t out_features() const override {
    return heads == 0 ? rows : transposed ? cols : rows / heads;
  }
  int64_t in_features() const override { return transposed ? rows / heads : cols; }
  MatrixFormat format() const override { return matrix_format; }
  int64_t bytes() const override {
    return values->bytes() + (scales ? scales->bytes() : 0) + (zeros ? zeros->bytes() : 0) +
           (bias ? bias->bytes() : 0);
  }

  MatrixFormat matrix_format;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t experts = 0;                 // equal stacks among the rows; see cuda_experts.h
  int64_t heads = 0;                   // the same, of RunHeads; 0: there are none
  bool transposed = false;             // of heads: each is [in_features, out_features]
  std::unique_ptr<CudaBuffer> values;  // [rows, cols] bf16 or int8, or packed groups
  std::unique_ptr<CudaBuffer> scales;  // int8: f32 [rows]; grouped: 16 bit [groups, rows]
  std::unique_ptr<CudaBuffer> bias;    // bf16 [rows], f32 where products are; or null
  std::unique_ptr<CudaBuffer> zeros;   // u8 [groups, rows]; null: the middle of the range
};

// The format that `source` gets: the one asked for where shapes and types allow, else bf16.
MatrixFormat ChooseFormat(const LinearSource& source);

// Converts and copies. Returns when the copies are issued on `stream`. Errors as in
// Backend::PrepareLinear.
absl::StatusOr<std::unique_ptr<CudaLinearWeight>> MakeLinearWeight(const LinearSource& source,
                                                                   WeightUpload* upload,
                                                                   cudaStream_t stream);

// The quantized form of an operand's values, if it has one. For operations whose kernels do not
// write it themselves, as those of norm.h and activation.h do.
absl::Status WriteQuantized(const Operand& x, cudaStream_t stream);

// Runs products.
class CudaLinear {
 public:
  static absl::StatusOr<std::unique_ptr<CudaLinear>> Make();
  // A weight that will be multiplied; before BytesFor.
  void Expect(const CudaLinearWeight& weight);
  // Memory to quantize operands in, where the limits say that they come without that form, and for
  // bf16 rows of weights with scales per group.
  int64_t BytesFor(const StepLimits& limits) const;
  absl::Status Allocate(const StepLimits& limits);

  // See Backend::Linear. With `accumulate` the product is added to what is in `out`, which is bf16
  // then.
  absl::Status Run(const CudaLinearWeight& weight, const Operand& x, MatrixView out,
                   cudaStream_t stream, bool accumulate = false);
  // See Backend::HeadLinear; writes values alone.
  absl::Status RunHeads(const CudaLinearWeight& weight, const HeadsView& x, const HeadsView& out,
                        cudaStream_t stream);

 private:
  CudaLinear() = default;
  static int64_t QuantizedBytesFor(const StepLimits& limits);
  int64_t DenseBytesFor(const StepLimits& limits) const;
  absl::Status RunInt8(const CudaLinearWeight& weight, const Operand& x, MatrixView out,
                       cudaStream_t stream, bool accumulate);
  absl::Status RunGrouped(const CudaLinearWeight& weight, MatrixView x, MatrixView out,
                          cudaStream_t stream, bool accumulate);
  // RunGrouped for many tokens.
  absl::Status RunDense(const CudaLinearWeight& weight, MatrixView x, MatrixView out,
                        cudaStream_t stream, bool accumulate);

  int64_t dense_values_ = 0;  // the most of a slice of bf16 rows
  std::unique_ptr<Blas> blas_;
  std::unique_ptr<CudaBuffer> int8_workspace_;
  std::unique_ptr<CudaBuffer> grouped_workspace_;
  std::unique_ptr<CudaBuffer> scratch_;     // for one quantized operand
  std::unique_ptr<CudaBuffer> dense_rows_;  // bf16 [dense_values_]
};

}  // namespace pingti::worker::cuda
