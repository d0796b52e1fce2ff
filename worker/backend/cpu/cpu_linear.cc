#include "worker/backend/cpu/cpu_linear.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/quant/source_rows.h"

namespace pingti::worker::cpu {
namespace {

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The most values of an operand, rows padded.
int64_t MaxValues(const StepLimits& limits) {
  return limits.max_tokens *
         std::max(RoundUp(limits.max_in_features, kGroup),
                  limits.experts_per_token * RoundUp(limits.max_expert_inner, kGroup));
}

ActivationRows QuantizedRows(const QuantizedView& view) {
  ActivationRows rows;
  rows.q = static_cast<const int8_t*>(view.values);
  rows.scale = view.scales;
  rows.sum = view.sums;
  rows.depth = view.stride;
  rows.groups = view.num_groups;
  return rows;
}

// A part of `source`, its rows made columns where the source says so.
absl::StatusOr<PackedMatrix> PackPart(const LinearSource& source, const MatrixSource& part,
                                      ThreadPool* pool) {
  if (!source.transposed) return PackedMatrix::Pack(part, source.format, pool);
  PINGTI_RETURN_IF_ERROR(CheckMatrixSource(part));
  const int64_t rows = part.tensor.shape[0];
  const int64_t cols = part.tensor.shape[1];
  MatrixSource turned;
  turned.tensor = {part.tensor.name, DType::kF32, {cols, rows}, nullptr, rows * cols * 4};
  std::vector<float> values(static_cast<size_t>(rows * cols));
  if (part.tensor.data != nullptr) {
    std::vector<float> row(static_cast<size_t>(cols));
    SourceRows source_rows(part);
    for (int64_t r = 0; r < rows; ++r) {
      source_rows.ReadF32(r, r + 1, row.data());
      for (int64_t c = 0; c < cols; ++c) {
        values[static_cast<size_t>(c * rows + r)] = row[static_cast<size_t>(c)];
      }
    }
    turned.tensor.data = values.data();
  }
  return PackedMatrix::Pack(turned, source.format, pool);
}

}  // namespace

bool ShareActivations(const MatrixFormat& a, const MatrixFormat& b) {
  return a.operand == b.operand && (a.operand.quant != QuantType::kNone || a.element == b.element);
}

ActivationRows RowsFrom(const ActivationRows& x, int64_t first) {
  ActivationRows rows = x;
  if (x.f32 != nullptr) rows.f32 += first * x.depth;
  if (x.bf16 != nullptr) rows.bf16 += first * x.depth;
  if (x.q != nullptr) rows.q += first * x.depth;
  if (x.scale != nullptr) rows.scale += first * x.groups;
  if (x.sum != nullptr) rows.sum += first * x.groups;
  if (x.scaled_sum != nullptr) rows.scaled_sum += first * x.groups;
  return rows;
}

int64_t PanelsPerTask(int64_t num_panels, int num_threads) {
  const int64_t tasks = int64_t{num_threads} * 4;
  return std::max<int64_t>(1, (num_panels + tasks - 1) / tasks);
}

absl::StatusOr<std::unique_ptr<CpuLinearWeight>> CpuLinearWeight::Make(const LinearSource& source,
                                                                       ThreadPool* pool) {
  PINGTI_CHECK(!source.parts.empty());
  std::unique_ptr<CpuLinearWeight> weight(new CpuLinearWeight);
  for (const MatrixSource& part : source.parts) {
    PINGTI_ASSIGN_OR_RETURN(PackedMatrix packed, PackPart(source, part, pool));
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
  weight->experts_ = std::max<int64_t>(source.experts, 1);
  PINGTI_CHECK(static_cast<int64_t>(source.parts.size()) % weight->experts_ == 0);
  for (int64_t e = 1; e < weight->experts_; ++e) {
    for (int64_t p = 0; p < weight->parts_per_expert(); ++p) {
      PINGTI_CHECK(weight->part(e, p).rows() == weight->part(0, p).rows());
    }
  }
  weight->heads_ = source.heads;
  if (source.heads > 0) {
    PINGTI_CHECK(static_cast<int64_t>(source.parts.size()) == source.heads && source.bias.empty());
    weight->out_features_ /= source.heads;
    for (const PackedMatrix& part : weight->parts_) {
      PINGTI_CHECK(part.rows() == weight->out_features_);
    }
  }
  weight->bias_ = source.bias;
  // Panels read whole vectors of the bias.
  if (!weight->bias_.empty()) weight->bias_.resize(weight->bias_.size() + kPanelCols, 0.0f);
  return weight;
}

MatrixFormat CpuLinearWeight::format() const {
  for (const PackedMatrix& part : parts_) {
    if (part.format().operand.quant != QuantType::kNone) return part.format();
  }
  return parts_.front().format();
}

int64_t CpuLinearWeight::bytes() const {
  int64_t bytes = static_cast<int64_t>(bias_.size()) * 4;
  for (const PackedMatrix& part : parts_) bytes += part.bytes();
  return bytes;
}

void QuantizeOperandRow(const Operand& x, int64_t row, const CpuKernels& kernels) {
  const QuantizedView& form = x.quantized;
  const int64_t first = row * form.num_groups;
  kernels.quantize_row(static_cast<const float*>(x.values.data) + row * x.values.stride,
                       x.values.cols, form.stride, form.type.group_size != 0,
                       static_cast<int8_t*>(form.values) + row * form.stride, form.scales + first,
                       form.sums + first);
}

int64_t ActivationStage::BytesFor(const StepLimits& limits) {
  // A quantized form takes less than its values, but for the ends of its parts.
  constexpr int64_t kEnds = 1024;
  return 4 * MaxValues(limits) + kEnds;
}

absl::Status ActivationStage::Allocate(const StepLimits& limits) {
  quantizes_ = limits.plain_operands;
  max_values_ = MaxValues(limits);
  PINGTI_ASSIGN_OR_RETURN(values_, AlignedBuffer::Make(BytesFor(limits)));
  PINGTI_ASSIGN_OR_RETURN(scaled_sums_, AlignedBuffer::Make(max_values_ / kGroup * 4));
  return absl::OkStatus();
}

ActivationRows ActivationStage::WithScaledSums(const QuantizedView& view, int64_t num_rows) {
  ActivationRows rows = QuantizedRows(view);
  if (view.type.group_size == 0) return rows;
  auto* const scaled = scaled_sums_.as<float>();
  for (int64_t i = 0; i < num_rows * rows.groups; ++i) {
    scaled[i] = rows.scale[i] * static_cast<float>(rows.sum[i]);
  }
  rows.scaled_sum = scaled;
  return rows;
}

ActivationRows ActivationStage::Convert(const Operand& x, int64_t padded_depth,
                                        const MatrixFormat& format, const CpuKernels& kernels,
                                        ThreadPool* pool) {
  const MatrixView& in = x.values;
  PINGTI_CHECK(in.rows * padded_depth <= max_values_);
  const OperandType type = format.operand;
  if (type.quant != QuantType::kNone) {
    if (x.quantized.type == type) return WithScaledSums(x.quantized, in.rows);
    const Operand converted{in, PlaceQuantized(type, values_.as<void>(), in.rows, in.cols)};
    pool->RunRows(in.rows, [&](int64_t r) { QuantizeOperandRow(converted, r, kernels); });
    return WithScaledSums(converted.quantized, in.rows);
  }
  ActivationRows rows;
  rows.depth = padded_depth;
  rows.groups = 1;
  const auto* input = static_cast<const float*>(in.data);
  const auto padding = static_cast<size_t>(padded_depth - in.cols);
  if (format.element == ElementType::kBf16) {
    rows.bf16 = values_.as<uint16_t>();
    pool->RunRows(in.rows, [&](int64_t r) {
      uint16_t* out = values_.as<uint16_t>() + r * padded_depth;
      kernels.float_to_bf16(input + r * in.stride, in.cols, out);
      std::fill_n(out + in.cols, padding, uint16_t{0});
    });
    return rows;
  }
  rows.f32 = input;
  if (in.stride == padded_depth && padding == 0) return rows;
  rows.f32 = values_.as<float>();
  pool->RunRows(in.rows, [&](int64_t r) {
    float* out = values_.as<float>() + r * padded_depth;
    std::copy_n(input + r * in.stride, in.cols, out);
    std::fill_n(out + in.cols, padding, 0.0f);
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

void RunPanels(const ProductJob& job, const CpuKernels& kernels, int64_t first, int64_t count) {
  constexpr int64_t kRowBlock = 192;
  for (int64_t row = 0; row < job.rows; row += kRowBlock) {
    const ActivationRows block = RowsFrom(*job.x, row);
    const int64_t rows = std::min(kRowBlock, job.rows - row);
    for (int64_t p = first; p < first + count; ++p) {
      const int64_t column = p * kPanelCols;
      kernels.panel_product(job.part->panel_format(), job.part->panel(p), block, rows,
                            std::min(kPanelCols, job.part->rows() - column),
                            job.part->column_scale(p),
                            job.bias == nullptr ? nullptr : job.bias + column,
                            job.out + row * job.out_stride + column, job.out_stride);
    }
  }
}

}  // namespace

absl::Status RunLinear(const CpuLinearWeight& weight, const Operand& x, MatrixView out,
                       const CpuKernels& kernels, ThreadPool* pool, ActivationStage* stage) {
  const MatrixView& in = x.values;
  PINGTI_CHECK(in.cols == weight.in_features() && out.cols == weight.out_features() &&
               in.rows == out.rows && in.dtype == DType::kF32 && out.dtype == DType::kF32);
  const OperandType type = weight.operand_type();
  if (type.quant != QuantType::kNone && x.quantized.type != type && !stage->quantizes()) {
    return MissingFormError(type, x);
  }
  ActivationRows rows;
  int64_t column = 0;
  const PackedMatrix* before = nullptr;
  for (const PackedMatrix& part : weight.parts()) {
    if (before == nullptr || !ShareActivations(before->format(), part.format())) {
      rows = stage->Convert(x, part.padded_depth(), part.format(), kernels, pool);
    }
    before = &part;
    const ProductJob job{&part,
                         &rows,
                         in.rows,
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
