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
#include "worker/backend/cpu/cpu_experts.h"
#include "worker/backend/cpu/cpu_linear.h"

namespace pingti::worker::cpu {

class CpuLoraWeights;

// What an adapter adds to one product.
struct CpuLoraMatrices {
  // By expert and module; null: left as it is. Of an embedding: none.
  std::vector<std::unique_ptr<CpuLinearWeight>> a;
  std::vector<float> columns;  // of an embedding's A: [tokens, rank]; empty: left as it is
  std::vector<std::unique_ptr<CpuLinearWeight>> b;  // by expert and part, null as its module's A
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
  static constexpr int64_t kRows = 64;  // that are worked on at once, or fewer where they are wide

  // Enough for products of this shape too. Errors: ResourceExhausted.
  absl::Status Grow(const LoraShape& shape);

  // That are worked on at once of a product with so many columns in a part.
  static int64_t RowsOf(const LoraShape& shape);
  // [rows, cols] each. REQUIRES: a shape with such columns was announced, and rows <= RowsOf(it).
  MatrixView Shrunk(int64_t rows, int64_t cols);
  MatrixView Expanded(int64_t rows, int64_t cols);
  MatrixView Gathered(int64_t rows, int64_t cols);  // of a shape of experts
  ActivationStage* activations() { return &activations_; }

 private:
  int64_t max_depth_ = 0;
  int64_t max_rank_ = 0;
  int64_t max_expanded_ = 0;  // values
  int64_t max_gathered_ = 0;  // columns
  AlignedBuffer shrunk_;
  AlignedBuffer expanded_;
  AlignedBuffer gathered_;
  ActivationStage activations_;
};

// out += (x A^T) B^T for rows with adapters, see Backend::AdaptedLinear and AdaptedLogits: of the
// step's `tokens`, or, if that is empty, of all of them; `step` is the one in progress.
absl::Status RunLora(const CpuLoraWeights& weights, const StepInputs& step,
                     std::span<const int32_t> tokens, MatrixView x, MatrixView out,
                     const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage);
// The same of rows of experts, see Backend::AdaptedExpertLinear.
absl::Status RunExpertLora(const CpuLoraWeights& weights, const StepInputs& step,
                           const ExpertRows& rows, RowOrder order, MatrixView x, MatrixView out,
                           const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage);
// out += A[:, token]^T B^T for tokens whose sequences have adapters, see Backend::AdaptedEmbed;
// `first_token` is the first one of the table.
absl::Status EmbedLora(const CpuLoraWeights& weights, const StepInputs& step, int64_t first_token,
                       MatrixView out, const CpuKernels& kernels, ThreadPool* pool,
                       LoraStage* stage);

}  // namespace pingti::worker::cpu
