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
  // See LinearSource::experts; 1 where there are none. Parts of equal index have equally many rows
  // in every expert.
  int64_t experts() const { return experts_; }
  int64_t parts_per_expert() const { return static_cast<int64_t>(parts_.size()) / experts_; }
  const PackedMatrix& part(int64_t expert, int64_t index) const {
    return parts_[static_cast<size_t>(expert * parts_per_expert() + index)];
  }
  // See LinearSource::heads; each part is the matrix of one.
  int64_t heads() const { return heads_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  // The expert's from output `column` on; null: none.
  const float* expert_bias(int64_t expert, int64_t column) const {
    return bias_.empty() ? nullptr : bias_.data() + expert * (out_features_ / experts_) + column;
  }

 private:
  CpuLinearWeight() = default;

  std::vector<PackedMatrix> parts_;
  std::vector<float> bias_;
  int64_t experts_ = 1;  // stacks of parts
  int64_t heads_ = 0;
  int64_t out_features_ = 0;
  int64_t in_features_ = 0;
};

// Whether parts of two formats can share converted activations.
bool ShareActivations(const MatrixFormat& a, const MatrixFormat& b);
// From row `first` on.
ActivationRows RowsFrom(const ActivationRows& x, int64_t first);
// Several tasks a thread even out the load; larger ones keep a weight stream long.
int64_t PanelsPerTask(int64_t num_panels, int num_threads);

// Row `row` of an operand's quantized form from its values. REQUIRES: it has one.
void QuantizeOperandRow(const Operand& x, int64_t row, const CpuKernels& kernels);

// Converts activations that come in another form than a product reads; owns the scratch they are
// converted into. Confined to the engine thread.
class ActivationStage {
 public:
  // For the operands of Linear and, where there are experts, of ExpertLinear.
  absl::Status Allocate(const StepLimits& limits);
  static int64_t BytesFor(const StepLimits& limits);
  // Whether it also makes forms that an operand could have come in.
  bool quantizes() const { return quantizes_; }

  // Rows of x in the form that `format` needs, valid until the next call. What x has in that form
  // is used in place: f32 rows where they need no padding, and quantized rows.
  ActivationRows Convert(const Operand& x, int64_t padded_depth, const MatrixFormat& format,
                         const CpuKernels& kernels, ThreadPool* pool);

 private:
  // Quantized rows, with the sums that every panel would otherwise scale anew.
  ActivationRows WithScaledSums(const QuantizedView& view, int64_t num_rows);

  bool quantizes_ = false;
  int64_t max_values_ = 0;     // of rows that are padded
  AlignedBuffer values_;       // f32 or bf16 rows, or a quantized form
  AlignedBuffer scaled_sums_;  // f32 [rows, groups]
};

// out: f32 [x.values.rows, weight.out_features()].
absl::Status RunLinear(const CpuLinearWeight& weight, const Operand& x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, ActivationStage* stage);

}  // namespace pingti::worker::cpu
