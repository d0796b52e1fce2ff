#include "worker/backend/cpu/cpu_lora.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {
namespace {

absl::StatusOr<std::unique_ptr<CpuLinearWeight>> PackLora(const std::vector<float>& values,
                                                          int64_t rows, int64_t cols) {
  PINGTI_CHECK(static_cast<int64_t>(values.size()) == rows * cols);
  LinearSource source;
  source.format = WeightFormat::kF32;
  MatrixSource& matrix = source.parts.emplace_back();
  matrix.tensor = {"adapter",
                   DType::kF32,
                   {rows, cols},
                   values.data(),
                   static_cast<int64_t>(values.size() * sizeof(float))};
  ThreadPool here(1);  // the backend's is the engine thread's
  return CpuLinearWeight::Make(source, &here);
}

absl::Status AddToRows(const CpuLoraWeights& weights, int32_t slot, MatrixView x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage) {
  const LoraShape& shape = weights.shape();
  const CpuLoraMatrices* const matrices = weights.matrices(slot);
  if (matrices == nullptr) return absl::OkStatus();
  for (int32_t module = 0; module < shape.num_modules; ++module) {
    const CpuLinearWeight* a = matrices->a[static_cast<size_t>(module)].get();
    if (a == nullptr) continue;
    const MatrixView shrunk = stage->Shrunk(x.rows, a->out_features());
    PINGTI_RETURN_IF_ERROR(RunLinear(*a, x, shrunk, kernels, pool, stage->activations()));
    int64_t column = 0;
    for (size_t i = 0; i < shape.parts.size(); ++i) {
      const LoraShape::Part& part = shape.parts[i];
      const int64_t first = std::exchange(column, column + part.columns);
      if (part.module != module) continue;
      const MatrixView expanded = stage->Expanded(x.rows, part.columns);
      PINGTI_RETURN_IF_ERROR(
          RunLinear(*matrices->b[i], shrunk, expanded, kernels, pool, stage->activations()));
      pool->RunRows(x.rows, [&](int64_t r) {
        kernels.add_in_place(static_cast<float*>(out.data) + r * out.stride + first,
                             static_cast<const float*>(expanded.data) + r * expanded.stride,
                             part.columns);
      });
    }
  }
  return absl::OkStatus();
}

}  // namespace

const CpuLoraMatrices* CpuLoraWeights::matrices(int32_t slot) const {
  const CpuLoraImage* image = slots_->slots_[static_cast<size_t>(slot)].get();
  return image == nullptr ? nullptr : &image->products[index_];
}

CpuLoraSlots::CpuLoraSlots(std::span<const LoraShape> products) {
  for (const LoraShape& shape : products) {
    slots_.resize(static_cast<size_t>(shape.num_slots));
    products_.push_back(std::make_unique<CpuLoraWeights>(shape, this, products_.size()));
  }
}

const LoraWeights& CpuLoraSlots::product(size_t index) const { return *products_[index]; }

absl::StatusOr<std::unique_ptr<LoraImage>> CpuLoraSlots::NewImage() const {
  auto image = std::make_unique<CpuLoraImage>();
  for (const auto& product : products_) {
    CpuLoraMatrices& matrices = image->products.emplace_back();
    matrices.a.resize(static_cast<size_t>(product->shape().num_modules));
    matrices.b.resize(product->shape().parts.size());
  }
  return std::unique_ptr<LoraImage>(std::move(image));
}

absl::Status CpuLoraSlots::Fill(size_t product, const LoraMatrices& matrices,
                                LoraImage* image) const {
  const LoraShape& shape = products_[product]->shape();
  PINGTI_CHECK(matrices.ranks.size() == static_cast<size_t>(shape.num_modules) &&
               matrices.b.size() == shape.parts.size());
  CpuLoraMatrices& packed = static_cast<CpuLoraImage*>(image)->products[product];
  for (size_t m = 0; m < matrices.a.size(); ++m) {
    PINGTI_CHECK(matrices.ranks[m] <= shape.max_rank);
    if (matrices.ranks[m] == 0) continue;
    PINGTI_ASSIGN_OR_RETURN(packed.a[m],
                            PackLora(matrices.a[m], matrices.ranks[m], shape.in_features));
  }
  for (size_t p = 0; p < matrices.b.size(); ++p) {
    const LoraShape::Part& part = shape.parts[p];
    const int64_t rank = matrices.ranks[static_cast<size_t>(part.module)];
    if (rank == 0) continue;
    PINGTI_ASSIGN_OR_RETURN(packed.b[p], PackLora(matrices.b[p], part.columns, rank));
  }
  return absl::OkStatus();
}

void CpuLoraSlots::Set(int32_t slot, std::shared_ptr<const LoraImage> image) {
  PINGTI_CHECK(slot >= 0 && static_cast<size_t>(slot) < slots_.size() && image != nullptr);
  slots_[static_cast<size_t>(slot)] = std::static_pointer_cast<const CpuLoraImage>(image);
}

absl::Status LoraStage::Grow(const LoraShape& shape) {
  max_rank_ = std::max(max_rank_, shape.max_rank);
  max_depth_ = std::max({max_depth_, shape.in_features, shape.max_rank});
  for (const LoraShape::Part& part : shape.parts) {
    max_columns_ = std::max(max_columns_, part.columns);
  }
  PINGTI_ASSIGN_OR_RETURN(shrunk_, AlignedBuffer::Make(kRows * max_rank_ * 4));
  PINGTI_ASSIGN_OR_RETURN(expanded_, AlignedBuffer::Make(kRows * max_columns_ * 4));
  StepLimits limits;
  limits.max_tokens = kRows;
  limits.max_in_features = max_depth_;
  return activations_.Allocate(limits);
}

MatrixView LoraStage::Shrunk(int64_t rows, int64_t cols) {
  PINGTI_CHECK(rows <= kRows && cols <= max_rank_);
  return {shrunk_.as<void>(), DType::kF32, rows, cols, cols};
}

MatrixView LoraStage::Expanded(int64_t rows, int64_t cols) {
  PINGTI_CHECK(rows <= kRows && cols <= max_columns_);
  return {expanded_.as<void>(), DType::kF32, rows, cols, cols};
}

absl::Status RunLora(const CpuLoraWeights& weights, const StepInputs& step, MatrixView x,
                     MatrixView out, const CpuKernels& kernels, ThreadPool* pool,
                     LoraStage* stage) {
  const auto& slots = step.adapter_slots;
  for (size_t s = 0; s < slots.size();) {
    size_t end = s + 1;
    while (end < slots.size() && slots[end] == slots[s]) ++end;
    const int32_t slot = slots[s];
    const int64_t last = step.query_start[end];
    for (int64_t row = step.query_start[s]; slot != kNoAdapterSlot && row < last;) {
      const int64_t count = std::min(LoraStage::kRows, last - row);
      PINGTI_RETURN_IF_ERROR(
          AddToRows(weights, slot, x.Rows(row, count), out.Rows(row, count), kernels, pool, stage));
      row += count;
    }
    s = end;
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cpu
