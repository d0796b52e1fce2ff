#include "worker/backend/cuda/cuda_lora.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "pingti/kernels/add.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/step_arrays.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kValueBytes = 2;  // bf16
// Up to so many rows adapters' products run beside the one that they are added to: as many as
// recorded steps have (step_graphs.h).
constexpr int64_t kBesideRows = 256;

}  // namespace

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
  shrink.a_slot_stride = weights.slot_bytes() / kValueBytes;
  shrink.ranks = weights.ranks();
  shrink.ranks_slot_stride = weights.slot_bytes() / int64_t{sizeof(int32_t)};
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
  expand.b_slot_stride = shrink.a_slot_stride;
  expand.ranks = shrink.ranks;
  expand.ranks_slot_stride = shrink.ranks_slot_stride;
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
