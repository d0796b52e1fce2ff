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
                                                               const CpuKernels& kernels,
                                                               ThreadPool* pool);

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
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

// Converts activations; owns the scratch they are converted into. Confined to the engine thread.
class ActivationStage {
 public:
  absl::Status Allocate(int64_t max_rows, int64_t max_depth);

  // Rows of x in the form that `format` needs, valid until the next call. f32 rows are used in
  // place where they need no padding.
  ActivationRows Convert(MatrixView x, int64_t padded_depth, PanelFormat format,
                         const CpuKernels& kernels, ThreadPool* pool);

 private:
  int64_t max_rows_ = 0;
  int64_t max_depth_ = 0;
  AlignedBuffer values_;  // f32, bf16 or int8 rows
  AlignedBuffer scales_;
  AlignedBuffer sums_;
  AlignedBuffer scaled_sums_;
};

// out: f32 [x.rows, weight.out_features()].
absl::Status RunLinear(const CpuLinearWeight& weight, MatrixView x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, ActivationStage* stage);

}  // namespace pingti::worker::cpu
