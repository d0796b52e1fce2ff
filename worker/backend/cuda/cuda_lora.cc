#include "worker/backend/cuda/cuda_lora.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "pingti/kernels/add.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/step_arrays.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kValueBytes = 2;  // bf16
constexpr int64_t kRankBytes = 4;
// Up to so many rows adapters' products run beside the one that they are added to: as many as
// recorded steps have (step_graphs.h).
constexpr int64_t kBesideRows = 256;

}  // namespace

void CudaLora::Announce(const CudaLoraWeights& weights) {
  const LoraShape& shape = weights.shape();
  const int splits = shape.use == LoraUse::kEmbedding
                         ? 1
                         : kernels::LoraSplits(static_cast<int32_t>(shape.in_features));
  row_bytes_ =
      std::max(row_bytes_, splits * int64_t{shape.num_modules} * weights.padded_rank() * 4);
  if (shape.use == LoraUse::kRows) max_columns_ = std::max(max_columns_, shape.out_features());
}

int64_t CudaLora::ShrunkBytes(const StepLimits& limits) const {
  return StepArrays::MostTiles(limits, limits.max_tokens) * kernels::kLoraTileRows * row_bytes_;
}

int64_t CudaLora::BesideBytes(const StepLimits& limits) const {
  return std::min(limits.max_tokens, kBesideRows) * max_columns_ * kValueBytes;
}

int64_t CudaLora::TileBytes(const StepLimits& limits) {
  return StepArrays::MostTiles(limits, limits.max_tokens) * (kernels::kLoraTileRows + 1) * 4;
}

int64_t CudaLora::BytesFor(const StepLimits& limits) const {
  return ShrunkBytes(limits) + BesideBytes(limits) + TileBytes(limits);
}

absl::Status CudaLora::Allocate(const StepLimits& limits) {
  PINGTI_ASSIGN_OR_RETURN(shrunk_, CudaBuffer::Make(ShrunkBytes(limits)));
  PINGTI_ASSIGN_OR_RETURN(beside_, CudaBuffer::Make(BesideBytes(limits)));
  PINGTI_ASSIGN_OR_RETURN(tiles_, CudaBuffer::Make(TileBytes(limits)));
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
  PINGTI_CHECK(x.rows == out.rows && out.dtype == DType::kBf16);
  PINGTI_RETURN_IF_ERROR(Shrink(weights, tiles, x, stream));
  return Expand(weights, tiles, kernels::LoraSplits(static_cast<int32_t>(x.cols)),
                /*accumulate=*/false, out, stream);
}

absl::Status CudaLora::AddTo(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                             MatrixView x, MatrixView out, cudaStream_t stream) {
  PINGTI_CHECK(x.rows == out.rows && out.dtype == DType::kF32);
  PINGTI_RETURN_IF_ERROR(Shrink(weights, tiles, x, stream));
  return Expand(weights, tiles, kernels::LoraSplits(static_cast<int32_t>(x.cols)),
                /*accumulate=*/true, out, stream);
}

absl::Status CudaLora::AddToEmbedded(const CudaLoraWeights& weights,
                                     const kernels::LoraTiles& tiles, const int32_t* token_ids,
                                     int32_t first_token, MatrixView out, cudaStream_t stream) {
  PINGTI_CHECK(weights.shape().use == LoraUse::kEmbedding && out.dtype == DType::kBf16);
  kernels::LoraPickParams pick;
  pick.tiles = tiles;
  pick.token_ids = token_ids;
  pick.first_id = first_token;
  pick.a = weights.a();
  pick.a_slot_stride = weights.slot_bytes() / kValueBytes;
  pick.ranks = weights.ranks();
  pick.ranks_slot_stride = weights.slot_bytes() / kRankBytes;
  pick.shrunk = shrunk_->as<float>();
  pick.in_features = static_cast<int32_t>(weights.shape().in_features);
  pick.max_rank = static_cast<int32_t>(weights.padded_rank());
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLoraPick(pick, stream));
  return Expand(weights, tiles, /*num_splits=*/1, /*accumulate=*/true, out, stream);
}

absl::StatusOr<kernels::LoraTiles> CudaLora::TilesOf(std::span<const int32_t> tokens,
                                                     std::span<const int32_t> query_start,
                                                     std::span<const int32_t> adapter_slots,
                                                     cudaStream_t stream) {
  constexpr auto kRows = static_cast<size_t>(kernels::kLoraTileRows);
  std::vector<std::pair<int32_t, int32_t>> rows;  // by slot, of those with an adapter
  for (size_t row = 0; row < tokens.size(); ++row) {
    const auto after = std::upper_bound(query_start.begin(), query_start.end(), tokens[row]);
    const int32_t slot = adapter_slots[static_cast<size_t>(after - query_start.begin()) - 1];
    if (slot != kNoAdapterSlot) rows.emplace_back(slot, static_cast<int32_t>(row));
  }
  std::sort(rows.begin(), rows.end());
  std::vector<int32_t> slots;
  host_tiles_.clear();
  for (size_t i = 0, filled = 0; i < rows.size(); ++i, ++filled) {
    if (i == 0 || rows[i].first != rows[i - 1].first) filled = 0;
    if (filled % kRows == 0) {
      slots.push_back(rows[i].first);
      host_tiles_.resize(slots.size() * kRows, -1);
    }
    host_tiles_[(slots.size() - 1) * kRows + filled % kRows] = rows[i].second;
  }
  const size_t all_rows = host_tiles_.size();
  host_tiles_.insert(host_tiles_.end(), slots.begin(), slots.end());
  const auto bytes = static_cast<int64_t>(host_tiles_.size() * sizeof(int32_t));
  PINGTI_CHECK(bytes <= tiles_->bytes());
  if (bytes == 0) return kernels::LoraTiles{};
  // From pageable memory: the call returns when the list was taken.
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(tiles_->data(), host_tiles_.data(),
                                              static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                                              stream));
  const auto* at = tiles_->as<const int32_t>();
  return kernels::LoraTiles{at, at + all_rows, static_cast<int32_t>(slots.size())};
}

absl::Status CudaLora::Shrink(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                              MatrixView x, cudaStream_t stream) {
  const LoraShape& shape = weights.shape();
  PINGTI_CHECK(x.cols == shape.in_features && x.dtype == DType::kBf16);
  kernels::LoraShrinkParams shrink;
  shrink.tiles = tiles;
  shrink.x = x.data;
  shrink.x_stride = x.stride;
  shrink.a = weights.a();
  shrink.a_slot_stride = weights.slot_bytes() / kValueBytes;
  shrink.ranks = weights.ranks();
  shrink.ranks_slot_stride = weights.slot_bytes() / kRankBytes;
  shrink.shrunk = shrunk_->as<float>();
  shrink.in_features = static_cast<int32_t>(shape.in_features);
  shrink.num_modules = shape.num_modules;
  shrink.max_rank = static_cast<int32_t>(weights.padded_rank());
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLoraShrink(shrink, stream));
  return absl::OkStatus();
}

absl::Status CudaLora::Expand(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                              int num_splits, bool accumulate, MatrixView out,
                              cudaStream_t stream) {
  const LoraShape& shape = weights.shape();
  PINGTI_CHECK(out.cols == shape.out_features());
  kernels::LoraExpandParams expand;
  expand.tiles = tiles;
  expand.shrunk = shrunk_->as<float>();
  expand.num_splits = num_splits;
  expand.b = weights.b();
  expand.b_slot_stride = weights.slot_bytes() / kValueBytes;
  expand.ranks = weights.ranks();
  expand.ranks_slot_stride = weights.slot_bytes() / kRankBytes;
  expand.y = out.data;
  expand.y_stride = out.stride;
  expand.accumulate = accumulate;
  expand.y_dtype = out.dtype == DType::kF32 ? kernels::DType::kF32 : kernels::DType::kBf16;
  expand.out_features = static_cast<int32_t>(out.cols);
  expand.num_modules = shape.num_modules;
  expand.max_rank = static_cast<int32_t>(weights.padded_rank());
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
