// y = x W^T + bias over packed panels: activations are brought into the form that the weights'
// format multiplies with, once per product, then panels are shared out among threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/packed_matrix.h"

namespace pingti::worker::cpu {

class CpuLinearWeight : public LinearWeight {
 public:
  static absl::StatusOr<std::unique_ptr<CpuLinearWeight>> Make(const LinearSource& source,
                                                               ThreadPool* pool);

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  MatrixFormat format() const override;
  int64_t bytes() const override;

  const std::vector<PackedMatrix>& parts() const { return parts_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }

 private:
  CpuLinearWeight() = default;

  std::vector<PackedMatrix> parts_;
  std::vector<float> bias_;
  int64_t out_features_ = 0;
  int64_t in_features_ = 0;
};

// Row `row` of an operand's quantized form from its values. REQUIRES: it has one.
void QuantizeOperandRow(const Operand& x, int64_t row, const CpuKernels& kernels);

// Converts activations that come in another form than a product reads; owns the scratch they are
// converted into. Confined to the engine thread.
class ActivationStage {
 public:
  // `quantizes`: also where an operand could have come quantized.
  absl::Status Allocate(int64_t max_rows, int64_t max_depth, bool quantizes);
  bool quantizes() const { return quantizes_; }

  // Rows of x in the form that `format` needs, valid until the next call. What x has in that form
  // is used in place: f32 rows where they need no padding, and quantized rows.
  ActivationRows Convert(const Operand& x, int64_t padded_depth, const MatrixFormat& format,
                         const CpuKernels& kernels, ThreadPool* pool);

 private:
  // Quantized rows, with the sums that every panel would otherwise scale anew.
  ActivationRows WithScaledSums(const QuantizedView& view, int64_t num_rows);

  bool quantizes_ = false;
  int64_t max_rows_ = 0;
  int64_t max_depth_ = 0;
  AlignedBuffer values_;       // f32 or bf16 rows, or a quantized form
  AlignedBuffer scaled_sums_;  // f32 [max_rows, groups]
};

// out: f32 [x.values.rows, weight.out_features()].
absl::Status RunLinear(const CpuLinearWeight& weight, const Operand& x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, ActivationStage* stage);

}  // namespace pingti::worker::cpu
