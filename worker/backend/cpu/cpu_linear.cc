#include "worker/backend/cpu/cpu_linear.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker::cpu {
namespace {

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Formats of one kind can share converted activations.
enum class ActivationKind { kF32, kBf16, kInt8PerToken, kInt8PerGroup };

ActivationKind KindOf(PanelFormat format) {
  switch (format) {
    case PanelFormat::kF32:
      return ActivationKind::kF32;
    case PanelFormat::kBf16:
      return ActivationKind::kBf16;
    case PanelFormat::kI8:
      return ActivationKind::kInt8PerToken;
    default:
      return ActivationKind::kInt8PerGroup;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuLinearWeight>> CpuLinearWeight::Make(const LinearSource& source,
                                                                       const CpuKernels& kernels,
                                                                       ThreadPool* pool) {
  PINGTI_CHECK(!source.parts.empty());
  std::unique_ptr<CpuLinearWeight> weight(new CpuLinearWeight);
  for (const MatrixSource& part : source.parts) {
    PINGTI_ASSIGN_OR_RETURN(PackedMatrix packed,
                            PackedMatrix::Pack(part, source.format, kernels, pool));
    if (weight->parts_.empty()) weight->in_features_ = packed.depth();
    if (packed.depth() != weight->in_features_) {
      return absl::InvalidArgumentError(Concat("tensor '", part.tensor.name, "' ",
                                               part.tensor.ShapeString(), ": expected rows of ",
                                               weight->in_features_));
    }
    weight->out_features_ += packed.rows();
    weight->parts_.push_back(std::move(packed));
  }
  if (!source.bias.empty() && static_cast<int64_t>(source.bias.size()) != weight->out_features_) {
    return absl::InvalidArgumentError(
        Concat("bias of ", source.bias.size(), " values; expected ", weight->out_features_));
  }
  weight->bias_ = source.bias;
  // Panels read whole vectors of the bias.
  if (!weight->bias_.empty()) weight->bias_.resize(weight->bias_.size() + kPanelCols, 0.0f);
  return weight;
}

int64_t CpuLinearWeight::bytes() const {
  int64_t bytes = static_cast<int64_t>(bias_.size()) * 4;
  for (const PackedMatrix& part : parts_) bytes += part.bytes();
  return bytes;
}

absl::Status ActivationStage::Allocate(int64_t max_rows, int64_t max_depth) {
  max_rows_ = max_rows;
  max_depth_ = RoundUp(max_depth, kGroup);
  const int64_t groups = max_depth_ / kGroup;
  PINGTI_ASSIGN_OR_RETURN(values_, AlignedBuffer::Make(max_rows_ * max_depth_ * 4));
  PINGTI_ASSIGN_OR_RETURN(scales_, AlignedBuffer::Make(max_rows_ * groups * 4));
  PINGTI_ASSIGN_OR_RETURN(sums_, AlignedBuffer::Make(max_rows_ * groups * 4));
  PINGTI_ASSIGN_OR_RETURN(scaled_sums_, AlignedBuffer::Make(max_rows_ * groups * 4));
  return absl::OkStatus();
}

ActivationRows ActivationStage::Convert(MatrixView x, int64_t padded_depth, PanelFormat format,
                                        const CpuKernels& kernels, ThreadPool* pool) {
  PINGTI_CHECK(x.rows <= max_rows_ && padded_depth <= max_depth_);
  const ActivationKind kind = KindOf(format);
  const auto* input = static_cast<const float*>(x.data);
  ActivationRows rows;
  rows.depth = padded_depth;
  rows.groups = kind == ActivationKind::kInt8PerGroup ? padded_depth / kGroup : 1;
  if (kind == ActivationKind::kF32 && x.cols == padded_depth && x.stride == padded_depth) {
    rows.f32 = input;
    return rows;
  }
  rows.f32 = values_.as<float>();
  rows.bf16 = values_.as<uint16_t>();
  rows.q = values_.as<int8_t>();
  rows.scale = scales_.as<float>();
  rows.sum = sums_.as<int32_t>();
  rows.scaled_sum = scaled_sums_.as<float>();
  const auto convert_row = [&](int64_t r) {
    const float* source = input + r * x.stride;
    const int64_t padding = padded_depth - x.cols;
    if (kind == ActivationKind::kF32) {
      float* out = values_.as<float>() + r * padded_depth;
      std::memcpy(out, source, static_cast<size_t>(x.cols) * 4);
      std::fill_n(out + x.cols, padding, 0.0f);
    } else if (kind == ActivationKind::kBf16) {
      uint16_t* out = values_.as<uint16_t>() + r * padded_depth;
      kernels.float_to_bf16(source, x.cols, out);
      std::fill_n(out + x.cols, padding, uint16_t{0});
    } else {
      const int64_t first = r * rows.groups;
      kernels.quantize_row(source, x.cols, padded_depth, kind == ActivationKind::kInt8PerGroup,
                           values_.as<int8_t>() + r * padded_depth, scales_.as<float>() + first,
                           sums_.as<int32_t>() + first, scaled_sums_.as<float>() + first);
    }
  };
  constexpr int64_t kRowsPerTask = 8;  // below, starting threads costs more than the rows
  const int64_t tasks = (x.rows + kRowsPerTask - 1) / kRowsPerTask;
  pool->Run(tasks, [&](int64_t task, int) {
    const int64_t end = std::min(x.rows, (task + 1) * kRowsPerTask);
    for (int64_t r = task * kRowsPerTask; r < end; ++r) convert_row(r);
  });
  return rows;
}

namespace {

// Panels [first, first + count) of a part times all rows, rows in blocks that stay in the L2 cache.
struct ProductJob {
  const PackedMatrix* part;
  const ActivationRows* x;
  int64_t rows;
  const float* bias;  // of the part's first column, or null
  float* out;         // of the part's first column
  int64_t out_stride;
};

// `rows` of the activations from `first` on.
ActivationRows Slice(const ActivationRows& x, int64_t first) {
  ActivationRows slice = x;
  if (x.f32 != nullptr) slice.f32 += first * x.depth;
  if (x.bf16 != nullptr) slice.bf16 += first * x.depth;
  if (x.q != nullptr) slice.q += first * x.depth;
  if (x.scale != nullptr) slice.scale += first * x.groups;
  if (x.sum != nullptr) slice.sum += first * x.groups;
  if (x.scaled_sum != nullptr) slice.scaled_sum += first * x.groups;
  return slice;
}

void RunPanels(const ProductJob& job, const CpuKernels& kernels, int64_t first, int64_t count) {
  constexpr int64_t kRowBlock = 192;
  for (int64_t row = 0; row < job.rows; row += kRowBlock) {
    const ActivationRows block = Slice(*job.x, row);
    const int64_t rows = std::min(kRowBlock, job.rows - row);
    for (int64_t p = first; p < first + count; ++p) {
      const int64_t column = p * kPanelCols;
      kernels.panel_product(job.part->format(), job.part->panel(p), block, rows,
                            std::min(kPanelCols, job.part->rows() - column),
                            job.part->column_scale(p),
                            job.bias == nullptr ? nullptr : job.bias + column,
                            job.out + row * job.out_stride + column, job.out_stride);
    }
  }
}

// Several tasks a thread even out the load; larger ones keep a weight stream long.
int64_t PanelsPerTask(int64_t num_panels, int num_threads) {
  const int64_t tasks = int64_t{num_threads} * 4;
  return std::max<int64_t>(1, (num_panels + tasks - 1) / tasks);
}

}  // namespace

absl::Status RunLinear(const CpuLinearWeight& weight, MatrixView x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, ActivationStage* stage) {
  PINGTI_CHECK(x.cols == weight.in_features() && out.cols == weight.out_features() &&
               x.rows == out.rows && x.dtype == DType::kF32 && out.dtype == DType::kF32);
  ActivationRows rows;
  int64_t column = 0;
  const PackedMatrix* before = nullptr;
  for (const PackedMatrix& part : weight.parts()) {
    if (before == nullptr || KindOf(before->format()) != KindOf(part.format())) {
      rows = stage->Convert(x, part.padded_depth(), part.format(), kernels, pool);
    }
    before = &part;
    const ProductJob job{&part,
                         &rows,
                         x.rows,
                         weight.bias() == nullptr ? nullptr : weight.bias() + column,
                         static_cast<float*>(out.data) + column,
                         out.stride};
    const int64_t panels = part.num_panels();
    const int64_t per_task = PanelsPerTask(panels, pool->num_threads());
    pool->Run((panels + per_task - 1) / per_task, [&](int64_t task, int) {
      const int64_t first = task * per_task;
      RunPanels(job, kernels, first, std::min(per_task, panels - first));
    });
    column += part.rows();
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cpu
