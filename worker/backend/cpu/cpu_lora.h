// out += (x A^T) B^T for the rows of a step whose sequences have adapters: neighbours with the same
// adapter are multiplied together, in f32, by the products of cpu_linear.h. Confined to the engine
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_linear.h"

namespace pingti::worker::cpu {

class CpuLoraWeights : public LoraWeights {
 public:
  struct Slot {
    std::vector<std::unique_ptr<CpuLinearWeight>> a;  // by module; null: left as it is
    std::vector<std::unique_ptr<CpuLinearWeight>> b;  // by part, null as its module's A
  };

  explicit CpuLoraWeights(const LoraShape& shape);

  // See Backend::SetLora.
  absl::Status Set(int32_t slot, const LoraMatrices& matrices, ThreadPool* pool);
  const Slot& slot(int32_t index) const { return slots_[static_cast<size_t>(index)]; }

 private:
  std::vector<Slot> slots_;
};

// What products with adapters write in between. Its size follows from the shapes alone.
class LoraStage {
 public:
  static constexpr int64_t kRows = 64;  // that are worked on at once

  // Enough for products of this shape too. Errors: ResourceExhausted.
  absl::Status Grow(const LoraShape& shape);

  // [kRows, cols] each. REQUIRES: a shape with such columns was announced.
  MatrixView Shrunk(int64_t rows, int64_t cols);
  MatrixView Expanded(int64_t rows, int64_t cols);
  ActivationStage* activations() { return &activations_; }

 private:
  int64_t max_depth_ = 0;
  int64_t max_rank_ = 0;
  int64_t max_columns_ = 0;
  AlignedBuffer shrunk_;
  AlignedBuffer expanded_;
  ActivationStage activations_;
};

// out += (x A^T) B^T for rows with adapters, see Backend::AdaptedLinear; `step` is the one in
// progress.
absl::Status RunLora(const CpuLoraWeights& weights, const StepInputs& step, MatrixView x,
                     MatrixView out, const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage);

}  // namespace pingti::worker::cpu
