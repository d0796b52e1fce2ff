#include "worker/backend/cuda/cuda_lora.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/add.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/step_arrays.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kValueBytes = 2;  // bf16
// Up to so many rows adapters' products run beside the one that they are added to: as many as
// recorded steps have (step_graphs.h).
constexpr int64_t kBesideRows = 256;

int64_t FilledUp(int64_t rank) {
  constexpr int64_t kStep = kernels::kLoraRankStep;
  return (rank + kStep - 1) / kStep * kStep;
}

absl::Status CheckSizes(const LoraShape& shape) {
  const bool columns_fit =
      std::all_of(shape.parts.begin(), shape.parts.end(),
                  [](const LoraShape::Part& part) { return part.columns % 8 == 0; });
  if (shape.in_features % 8 == 0 && columns_fit &&
      shape.parts.size() <= static_cast<size_t>(kernels::kMaxLoraParts) &&
      shape.max_rank <= kernels::kMaxLoraRank) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(
      Concat("adapters of a product [", shape.out_features(), ", ", shape.in_features, "] in ",
             shape.parts.size(), " parts, of rank ", shape.max_rank,
             ": expected sizes that are multiples of 8, at most ", kernels::kMaxLoraParts,
             " parts and a rank of at most ", kernels::kMaxLoraRank));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaLoraWeights>> CudaLoraWeights::Make(const LoraShape& shape) {
  PINGTI_RETURN_IF_ERROR(CheckSizes(shape));
  const int64_t rank = FilledUp(shape.max_rank);
  std::unique_ptr<CudaLoraWeights> weights(new CudaLoraWeights(shape, rank));
  const int64_t modules = int64_t{shape.num_slots} * shape.num_modules;
  weights->host_ranks_.assign(static_cast<size_t>(modules), 0);
  PINGTI_ASSIGN_OR_RETURN(weights->a_,
                          CudaBuffer::MakeZeroed(modules * rank * shape.in_features * kValueBytes));
  PINGTI_ASSIGN_OR_RETURN(
      weights->b_,
      CudaBuffer::MakeZeroed(shape.num_slots * shape.out_features() * rank * kValueBytes));
  PINGTI_ASSIGN_OR_RETURN(weights->ranks_, CudaBuffer::MakeZeroed(modules * 4));
  return weights;
}

// Copies come from pageable memory: the calls return when the values were taken.
absl::Status CudaLoraWeights::CopyDown(int32_t slot, int32_t module, const LoraMatrices& matrices,
                                       cudaStream_t stream) {
  const auto index = static_cast<size_t>(module);
  const std::vector<float>& a = matrices.a[index];
  const int64_t rows = FilledUp(matrices.ranks[index]);
  std::vector<uint16_t> values(static_cast<size_t>(rows * shape().in_features), 0);
  std::transform(a.begin(), a.end(), values.begin(), FloatToBf16);
  const int64_t offset = (int64_t{slot} * shape().num_modules + module) * padded_rank_ *
                         shape().in_features * kValueBytes;
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(a_->as<uint8_t>() + offset, values.data(),
                                              values.size() * kValueBytes, cudaMemcpyHostToDevice,
                                              stream));
  return absl::OkStatus();
}

absl::Status CudaLoraWeights::CopyUp(int32_t slot, size_t part, int64_t first_column,
                                     const LoraMatrices& matrices, cudaStream_t stream) {
  const LoraShape::Part& columns = shape().parts[part];
  const int64_t rank = matrices.ranks[static_cast<size_t>(columns.module)];
  const int64_t width = FilledUp(rank);
  if (width == 0) return absl::OkStatus();
  std::vector<uint16_t> values(static_cast<size_t>(columns.columns * width), 0);
  for (int64_t n = 0; n < columns.columns; ++n) {
    const float* row = matrices.b[part].data() + n * rank;
    std::transform(row, row + rank, values.data() + n * width, FloatToBf16);
  }
  const int64_t offset =
      (int64_t{slot} * shape().out_features() + first_column) * padded_rank_ * kValueBytes;
  const auto row_bytes = static_cast<size_t>(width * kValueBytes);
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(
      b_->as<uint8_t>() + offset, static_cast<size_t>(padded_rank_ * kValueBytes), values.data(),
      row_bytes, row_bytes, static_cast<size_t>(columns.columns), cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

absl::Status CudaLoraWeights::Set(int32_t slot, const LoraMatrices& matrices, cudaStream_t stream) {
  const auto modules = static_cast<size_t>(shape().num_modules);
  PINGTI_CHECK(slot >= 0 && slot < shape().num_slots && matrices.ranks.size() == modules &&
               matrices.b.size() == shape().parts.size());
  int32_t* const ranks = host_ranks_.data() + static_cast<size_t>(slot) * modules;
  for (int32_t module = 0; module < shape().num_modules; ++module) {
    const int64_t rank = matrices.ranks[static_cast<size_t>(module)];
    PINGTI_CHECK(rank <= shape().max_rank);
    ranks[module] = static_cast<int32_t>(rank);
    if (rank > 0) PINGTI_RETURN_IF_ERROR(CopyDown(slot, module, matrices, stream));
  }
  int64_t column = 0;
  for (size_t part = 0; part < matrices.b.size(); ++part) {
    PINGTI_RETURN_IF_ERROR(CopyUp(slot, part, column, matrices, stream));
    column += shape().parts[part].columns;
  }
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(ranks_->as<int32_t>() + (ranks - host_ranks_.data()),
                                              ranks, modules * 4, cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

bool CudaLoraWeights::is_used() const {
  return std::any_of(host_ranks_.begin(), host_ranks_.end(), [](int32_t rank) { return rank > 0; });
}

void CudaLora::Announce(const CudaLoraWeights& weights) {
  const LoraShape& shape = weights.shape();
  row_bytes_ = std::max(row_bytes_, kernels::LoraSplits(static_cast<int32_t>(shape.in_features)) *
                                        int64_t{shape.num_modules} * weights.padded_rank() * 4);
  max_columns_ = std::max(max_columns_, shape.out_features());
}

int64_t CudaLora::ShrunkBytes(const StepLimits& limits) const {
  return StepArrays::MostTiles(limits, limits.max_tokens) * kernels::kLoraTileRows * row_bytes_;
}

int64_t CudaLora::BesideBytes(const StepLimits& limits) const {
  return std::min(limits.max_tokens, kBesideRows) * max_columns_ * kValueBytes;
}

int64_t CudaLora::BytesFor(const StepLimits& limits) const {
  return ShrunkBytes(limits) + BesideBytes(limits);
}

absl::Status CudaLora::Allocate(const StepLimits& limits) {
  PINGTI_ASSIGN_OR_RETURN(shrunk_, CudaBuffer::Make(ShrunkBytes(limits)));
  PINGTI_ASSIGN_OR_RETURN(beside_, CudaBuffer::Make(BesideBytes(limits)));
  return limits.max_adapters == 0 ? absl::OkStatus() : side_.Make();
}

absl::Status CudaLora::Run(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                           MatrixView x, MatrixView out, const Product& product,
                           cudaStream_t stream) {
  if (out.rows > kBesideRows) {
    PINGTI_RETURN_IF_ERROR(RunAlone(weights, tiles, x, out, stream));
    return product(/*accumulate=*/true);
  }
  const MatrixView beside = {beside_->data(), DType::kBf16, out.rows, out.cols, out.cols};
  PINGTI_RETURN_IF_ERROR(side_.Fork(stream));
  PINGTI_RETURN_IF_ERROR(RunAlone(weights, tiles, x, beside, side_.stream()));
  PINGTI_RETURN_IF_ERROR(product(/*accumulate=*/false));
  PINGTI_RETURN_IF_ERROR(side_.Join(stream));
  kernels::AddParams add;
  add.x = beside.data;
  add.x_stride = beside.stride;
  add.sum = out.data;
  add.sum_stride = out.stride;
  add.num_tokens = static_cast<int32_t>(out.rows);
  add.width = static_cast<int32_t>(out.cols);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchAdd(add, stream));
  return absl::OkStatus();
}

absl::Status CudaLora::RunAlone(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                                MatrixView x, MatrixView out, cudaStream_t stream) {
  const LoraShape& shape = weights.shape();
  PINGTI_CHECK(x.cols == shape.in_features && out.cols == shape.out_features() &&
               x.rows == out.rows && out.dtype == DType::kBf16);
  kernels::LoraShrinkParams shrink;
  shrink.tiles = tiles;
  shrink.x = x.data;
  shrink.x_stride = x.stride;
  shrink.a = weights.a();
  shrink.ranks = weights.ranks();
  shrink.shrunk = shrunk_->as<float>();
  shrink.in_features = static_cast<int32_t>(shape.in_features);
  shrink.num_modules = shape.num_modules;
  shrink.max_rank = static_cast<int32_t>(weights.padded_rank());
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLoraShrink(shrink, stream));
  kernels::LoraExpandParams expand;
  expand.tiles = tiles;
  expand.shrunk = shrink.shrunk;
  expand.num_splits = kernels::LoraSplits(shrink.in_features);
  expand.b = weights.b();
  expand.ranks = shrink.ranks;
  expand.y = out.data;
  expand.y_stride = out.stride;
  expand.out_features = static_cast<int32_t>(out.cols);
  expand.num_modules = shape.num_modules;
  expand.max_rank = shrink.max_rank;
  expand.num_parts = static_cast<int32_t>(shape.parts.size());
  int32_t column = 0;
  for (size_t part = 0; part < shape.parts.size(); ++part) {
    column += static_cast<int32_t>(shape.parts[part].columns);
    expand.part_end[part] = column;
    expand.part_module[part] = shape.parts[part].module;
  }
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLoraExpand(expand, stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
