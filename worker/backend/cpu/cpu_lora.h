// out += (x A^T) B^T for the rows of a step whose sequences have adapters: neighbours with the same
// adapter are multiplied together, in f32, by the products of cpu_linear.h. Confined to the engine
// thread, but for images that are filled (see LoraSlots).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_linear.h"

namespace pingti::worker::cpu {

class CpuLoraWeights;

// What an adapter adds to one product.
struct CpuLoraMatrices {
  std::vector<std::unique_ptr<CpuLinearWeight>> a;  // by module; null: left as it is
  std::vector<std::unique_ptr<CpuLinearWeight>> b;  // by part, null as its module's A
};

// An adapter in packed panels, which products read where they are.
struct CpuLoraImage : LoraImage {
  std::vector<CpuLoraMatrices> products;
};

// Which images the slots of a model have. A slot keeps its image alive.
class CpuLoraSlots : public LoraSlots {
 public:
  explicit CpuLoraSlots(std::span<const LoraShape> products);

  const LoraWeights& product(size_t index) const override;
  absl::StatusOr<std::unique_ptr<LoraImage>> NewImage() const override;
  absl::Status Fill(size_t product, const LoraMatrices& matrices, LoraImage* image) const override;
  // See Backend::SetLora.
  void Set(int32_t slot, std::shared_ptr<const LoraImage> image);

 private:
  friend class CpuLoraWeights;

  std::vector<std::unique_ptr<CpuLoraWeights>> products_;
  std::vector<std::shared_ptr<const CpuLoraImage>> slots_;
};

class CpuLoraWeights : public LoraWeights {
 public:
  CpuLoraWeights(LoraShape shape, const CpuLoraSlots* slots, size_t index)
      : LoraWeights(std::move(shape)), slots_(slots), index_(index) {}

  // Null: no adapter is in the slot.
  const CpuLoraMatrices* matrices(int32_t slot) const;

 private:
  const CpuLoraSlots* const slots_;
  const size_t index_;
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
