#include "worker/backend/cpu/cpu_lora.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kMostExpanded = int64_t{1} << 20;  // values, of rows that are worked on at once

int64_t WidestPart(const LoraShape& shape) {
  int64_t columns = 0;
  for (const LoraShape::Part& part : shape.parts) columns = std::max(columns, part.columns);
  return columns;
}

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

std::vector<float> Turned(const std::vector<float>& values, int64_t rows, int64_t cols) {
  std::vector<float> turned(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      turned[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * cols + c)];
    }
  }
  return turned;
}

using PackedMatrices = std::span<const std::unique_ptr<CpuLinearWeight>>;

// out += shrunk B^T for the columns of one module. `b`: by part.
absl::Status Expand(const CpuLoraWeights& weights, PackedMatrices b, int32_t module,
                    MatrixView shrunk, MatrixView out, const CpuKernels& kernels, ThreadPool* pool,
                    LoraStage* stage) {
  const LoraShape& shape = weights.shape();
  int64_t column = 0;
  for (size_t i = 0; i < shape.parts.size(); ++i) {
    const LoraShape::Part& part = shape.parts[i];
    const int64_t first = std::exchange(column, column + part.columns);
    if (part.module != module) continue;
    const MatrixView expanded = stage->Expanded(out.rows, part.columns);
    PINGTI_RETURN_IF_ERROR(RunLinear(*b[i], shrunk, expanded, kernels, pool, stage->activations()));
    pool->RunRows(out.rows, [&](int64_t r) {
      kernels.add_in_place(static_cast<float*>(out.data) + r * out.stride + first,
                           static_cast<const float*>(expanded.data) + r * expanded.stride,
                           part.columns);
    });
  }
  return absl::OkStatus();
}

// out += (x A^T) B^T of one adapter and expert. `a`: by module; `b`: by part.
absl::Status AddProducts(const CpuLoraWeights& weights, PackedMatrices a, PackedMatrices b,
                         MatrixView x, MatrixView out, const CpuKernels& kernels, ThreadPool* pool,
                         LoraStage* stage) {
  for (int32_t module = 0; module < weights.shape().num_modules; ++module) {
    const CpuLinearWeight* down = a[static_cast<size_t>(module)].get();
    if (down == nullptr) continue;
    const MatrixView shrunk = stage->Shrunk(x.rows, down->out_features());
    PINGTI_RETURN_IF_ERROR(RunLinear(*down, x, shrunk, kernels, pool, stage->activations()));
    PINGTI_RETURN_IF_ERROR(Expand(weights, b, module, shrunk, out, kernels, pool, stage));
  }
  return absl::OkStatus();
}

// What the adapter of a token's sequence adds; null: nothing.
const CpuLoraMatrices* MatricesOf(const CpuLoraWeights& weights, const StepInputs& step,
                                  int64_t token) {
  const auto& starts = step.query_start;
  const auto after = std::upper_bound(starts.begin(), starts.end(), token);
  const int32_t slot = step.adapter_slots[static_cast<size_t>(after - starts.begin()) - 1];
  return slot == kNoAdapterSlot ? nullptr : weights.matrices(slot);
}

// Calls add(matrices, first, count) for neighbouring rows with the same adapter, RowsOf at a time.
template <typename Add>
absl::Status ForRuns(const CpuLoraWeights& weights, const StepInputs& step,
                     std::span<const int32_t> tokens, int64_t first_row, int64_t end_row,
                     const Add& add) {
  if (step.adapter_slots.empty()) return absl::OkStatus();
  const auto matrices_of = [&](int64_t row) {
    return MatricesOf(weights, step, tokens.empty() ? row : tokens[static_cast<size_t>(row)]);
  };
  const int64_t most = LoraStage::RowsOf(weights.shape());
  for (int64_t row = first_row; row < end_row;) {
    const CpuLoraMatrices* const matrices = matrices_of(row);
    int64_t end = row + 1;
    while (end < end_row && end - row < most && matrices_of(end) == matrices) ++end;
    if (matrices != nullptr) PINGTI_RETURN_IF_ERROR(add(*matrices, row, end - row));
    row = end;
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
    const auto experts = static_cast<size_t>(product->shape().experts);
    matrices.a.resize(experts * static_cast<size_t>(product->shape().num_modules));
    matrices.b.resize(experts * product->shape().parts.size());
  }
  return std::unique_ptr<LoraImage>(std::move(image));
}

absl::Status CpuLoraSlots::Fill(size_t product, const LoraMatrices& matrices,
                                LoraImage* image) const {
  const LoraShape& shape = products_[product]->shape();
  const auto experts = static_cast<size_t>(shape.experts);
  const auto modules = static_cast<size_t>(shape.num_modules);
  PINGTI_CHECK(matrices.ranks.size() == experts * modules &&
               matrices.b.size() == experts * shape.parts.size());
  CpuLoraMatrices& packed = static_cast<CpuLoraImage*>(image)->products[product];
  for (size_t m = 0; m < matrices.a.size(); ++m) {
    PINGTI_CHECK(matrices.ranks[m] <= shape.max_rank);
    if (matrices.ranks[m] == 0) continue;
    if (shape.use == LoraUse::kEmbedding) {
      packed.columns = Turned(matrices.a[m], matrices.ranks[m], shape.in_features);
      continue;
    }
    PINGTI_ASSIGN_OR_RETURN(packed.a[m],
                            PackLora(matrices.a[m], matrices.ranks[m], shape.in_features));
  }
  for (size_t p = 0; p < matrices.b.size(); ++p) {
    const LoraShape::Part& part = shape.parts[p % shape.parts.size()];
    const size_t first_module = p / shape.parts.size() * modules;
    const int64_t rank = matrices.ranks[first_module + static_cast<size_t>(part.module)];
    if (rank == 0) continue;
    PINGTI_ASSIGN_OR_RETURN(packed.b[p], PackLora(matrices.b[p], part.columns, rank));
  }
  return absl::OkStatus();
}

void CpuLoraSlots::Set(int32_t slot, std::shared_ptr<const LoraImage> image) {
  PINGTI_CHECK(slot >= 0 && static_cast<size_t>(slot) < slots_.size() && image != nullptr);
  slots_[static_cast<size_t>(slot)] = std::static_pointer_cast<const CpuLoraImage>(image);
}

int64_t LoraStage::RowsOf(const LoraShape& shape) {
  return std::clamp<int64_t>(kMostExpanded / WidestPart(shape), 1, kRows);
}

absl::Status LoraStage::Grow(const LoraShape& shape) {
  max_rank_ = std::max(max_rank_, shape.max_rank);
  max_depth_ = std::max(max_depth_, shape.max_rank);
  if (shape.use != LoraUse::kEmbedding) max_depth_ = std::max(max_depth_, shape.in_features);
  max_expanded_ = std::max(max_expanded_, RowsOf(shape) * WidestPart(shape));
  if (shape.use == LoraUse::kExperts) max_gathered_ = std::max(max_gathered_, shape.in_features);
  PINGTI_ASSIGN_OR_RETURN(shrunk_, AlignedBuffer::Make(kRows * max_rank_ * 4));
  PINGTI_ASSIGN_OR_RETURN(expanded_, AlignedBuffer::Make(max_expanded_ * 4));
  PINGTI_ASSIGN_OR_RETURN(gathered_, AlignedBuffer::Make(kRows * max_gathered_ * 4));
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
  PINGTI_CHECK(rows * cols <= max_expanded_);
  return {expanded_.as<void>(), DType::kF32, rows, cols, cols};
}

MatrixView LoraStage::Gathered(int64_t rows, int64_t cols) {
  PINGTI_CHECK(rows <= kRows && cols <= max_gathered_);
  return {gathered_.as<void>(), DType::kF32, rows, cols, cols};
}

absl::Status RunLora(const CpuLoraWeights& weights, const StepInputs& step,
                     std::span<const int32_t> tokens, MatrixView x, MatrixView out,
                     const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage) {
  const int64_t rows = static_cast<int64_t>(tokens.empty() ? step.token_ids.size() : tokens.size());
  return ForRuns(weights, step, tokens, 0, rows,
                 [&](const CpuLoraMatrices& matrices, int64_t first, int64_t count) {
                   return AddProducts(weights, matrices.a, matrices.b, x.Rows(first, count),
                                      out.Rows(first, count), kernels, pool, stage);
                 });
}

absl::Status RunExpertLora(const CpuLoraWeights& weights, const StepInputs& step,
                           const ExpertRows& rows, RowOrder order, MatrixView x, MatrixView out,
                           const CpuKernels& kernels, ThreadPool* pool, LoraStage* stage) {
  const LoraShape& shape = weights.shape();
  const auto modules = static_cast<size_t>(shape.num_modules);
  for (size_t e = 0; e + 1 < rows.first.size(); ++e) {
    PINGTI_RETURN_IF_ERROR(ForRuns(
        weights, step, rows.token_of, rows.first[e], rows.first[e + 1],
        [&](const CpuLoraMatrices& matrices, int64_t first, int64_t count) {
          const PackedMatrices a = PackedMatrices(matrices.a).subspan(e * modules, modules);
          if (std::all_of(a.begin(), a.end(), [](const auto& of) { return of == nullptr; })) {
            return absl::OkStatus();
          }
          MatrixView used =
              order == RowOrder::kByToken ? stage->Gathered(count, x.cols) : x.Rows(first, count);
          for (int64_t r = 0; order == RowOrder::kByToken && r < count; ++r) {
            const int64_t token = rows.token_of[static_cast<size_t>(first + r)];
            std::copy_n(static_cast<const float*>(x.data) + token * x.stride, x.cols,
                        static_cast<float*>(used.data) + r * used.stride);
          }
          return AddProducts(
              weights, a,
              PackedMatrices(matrices.b).subspan(e * shape.parts.size(), shape.parts.size()), used,
              out.Rows(first, count), kernels, pool, stage);
        }));
  }
  return absl::OkStatus();
}

absl::Status EmbedLora(const CpuLoraWeights& weights, const StepInputs& step, int64_t first_token,
                       MatrixView out, const CpuKernels& kernels, ThreadPool* pool,
                       LoraStage* stage) {
  const int64_t num_tokens = weights.shape().in_features;
  return ForRuns(
      weights, step, {}, 0, static_cast<int64_t>(step.token_ids.size()),
      [&](const CpuLoraMatrices& matrices, int64_t first, int64_t count) -> absl::Status {
        if (matrices.columns.empty()) return absl::OkStatus();
        const int64_t rank = static_cast<int64_t>(matrices.columns.size()) / num_tokens;
        const MatrixView shrunk = stage->Shrunk(count, rank);
        for (int64_t row = 0; row < count; ++row) {
          const int64_t token = step.token_ids[static_cast<size_t>(first + row)] - first_token;
          float* const values = static_cast<float*>(shrunk.data) + row * shrunk.stride;
          if (token < 0 || token >= num_tokens) {  // of another rank
            std::fill_n(values, rank, 0.0f);
          } else {
            std::copy_n(matrices.columns.data() + token * rank, rank, values);
          }
        }
        return Expand(weights, matrices.b, 0, shrunk, out.Rows(first, count), kernels, pool, stage);
      });
}

}  // namespace pingti::worker::cpu
