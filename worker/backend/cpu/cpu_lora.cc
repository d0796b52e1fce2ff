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
                                                          int64_t rows, int64_t cols,
                                                          ThreadPool* pool) {
  PINGTI_CHECK(static_cast<int64_t>(values.size()) == rows * cols);
  LinearSource source;
  source.format = WeightFormat::kF32;
  MatrixSource& matrix = source.parts.emplace_back();
  matrix.tensor = {"adapter",
                   DType::kF32,
                   {rows, cols},
                   values.data(),
                   static_cast<int64_t>(values.size() * sizeof(float))};
  return CpuLinearWeight::Make(source, pool);
}

absl::Status AddToRows(const CpuLoraWeights& weights, int32_t slot, MatrixView x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage) {
  const LoraShape& shape = weights.shape();
  const CpuLoraWeights::Slot& matrices = weights.slot(slot);
  for (int32_t module = 0; module < shape.num_modules; ++module) {
    const CpuLinearWeight* a = matrices.a[static_cast<size_t>(module)].get();
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
          RunLinear(*matrices.b[i], shrunk, expanded, kernels, pool, stage->activations()));
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

CpuLoraWeights::CpuLoraWeights(const LoraShape& shape)
    : LoraWeights(shape), slots_(static_cast<size_t>(shape.num_slots)) {
  for (Slot& slot : slots_) {
    slot.a.resize(static_cast<size_t>(shape.num_modules));
    slot.b.resize(shape.parts.size());
  }
}

absl::Status CpuLoraWeights::Set(int32_t index, const LoraMatrices& matrices, ThreadPool* pool) {
  PINGTI_CHECK(index >= 0 && index < shape().num_slots &&
               matrices.ranks.size() == static_cast<size_t>(shape().num_modules) &&
               matrices.b.size() == shape().parts.size());
  Slot slot;
  slot.a.resize(matrices.a.size());
  slot.b.resize(matrices.b.size());
  for (size_t m = 0; m < matrices.a.size(); ++m) {
    PINGTI_CHECK(matrices.ranks[m] <= shape().max_rank);
    if (matrices.ranks[m] == 0) continue;
    PINGTI_ASSIGN_OR_RETURN(slot.a[m],
                            PackLora(matrices.a[m], matrices.ranks[m], shape().in_features, pool));
  }
  for (size_t p = 0; p < matrices.b.size(); ++p) {
    const LoraShape::Part& part = shape().parts[p];
    const int64_t rank = matrices.ranks[static_cast<size_t>(part.module)];
    if (rank == 0) continue;
    PINGTI_ASSIGN_OR_RETURN(slot.b[p], PackLora(matrices.b[p], part.columns, rank, pool));
  }
  slots_[static_cast<size_t>(index)] = std::move(slot);
  return absl::OkStatus();
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
