#include "worker/model/weight_loader.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/quant/stacked_rows.h"

namespace pingti::worker {
namespace {

// Rows [part.first, part.first + part.rows) of a tensor whose first dimension is the module's rows.
TensorView RowsOf(const TensorView& tensor, const RowBlock& part) {
  TensorView view = tensor;
  if (part.rows == part.module_rows) return view;
  const int64_t row_bytes = tensor.bytes / part.module_rows;
  view.shape[0] = part.rows;
  view.bytes = part.rows * row_bytes;
  if (tensor.data != nullptr) {
    view.data = static_cast<const char*>(tensor.data) + part.first * row_bytes;
  }
  return view;
}

bool HasSteps(const RowBlock& part) { return part.run != 0; }

// REQUIRES: all runs are single rows, or there are none.
RowSteps StepsOf(const RowBlock& part) {
  return {part.first, part.rows, HasSteps(part) ? part.stride : 1};
}

std::vector<float> Values(const TensorView& tensor, float without_data) {
  std::vector<float> values(static_cast<size_t>(tensor.NumElements()), without_data);
  if (tensor.data != nullptr) {
    Dequantize(tensor.dtype, tensor.data, tensor.NumElements(), values.data());
  }
  return values;
}

}  // namespace

WeightLoader::WeightLoader(const Checkpoint& checkpoint, Backend* backend,
                           const LoadOptions& options)
    : checkpoint_(checkpoint), backend_(backend), options_(options) {
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (IsKnownBesides(checkpoint.spec(), tensor.name)) MarkUsed({&tensor});
  }
}

absl::Status WeightLoader::Load(const Declarations& declarations) {
  if (options_.expert_split == ExpertSplit::kExperts) MarkOthersExperts(declarations);
  for (const DeclaredWeight& declared : declarations) {
    PINGTI_RETURN_IF_ERROR(LoadOne(declared));
  }
  return absl::OkStatus();
}

absl::Status WeightLoader::LoadOne(const DeclaredWeight& declared) {
  if (auto* const* linear = std::get_if<std::unique_ptr<LinearWeight>*>(&declared.place)) {
    PINGTI_ASSIGN_OR_RETURN(**linear, Linear(declared.spec));
  } else if (auto* const* table = std::get_if<std::unique_ptr<EmbeddingTable>*>(&declared.place)) {
    PINGTI_ASSIGN_OR_RETURN(**table, Embedding(declared.spec));
  } else {
    PINGTI_ASSIGN_OR_RETURN(*std::get<std::unique_ptr<DeviceBuffer>*>(declared.place),
                            Vector(declared.spec));
  }
  ReleaseSources();
  ReportProgress();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LinearWeight>> WeightLoader::Linear(const WeightSpec& weight) {
  LinearSource source;
  source.format = FormatOf(weight);
  source.f32_out = weight.role == WeightRole::kLogits || weight.role == WeightRole::kRouter;
  source.experts = weight.experts;
  source.heads = weight.heads;
  source.transposed = weight.transposed;
  for (const RowBlock& part : JoinedParts(weight)) {
    PINGTI_RETURN_IF_ERROR(AddPart(weight, part, &source));
  }
  if (!source.bias.empty()) source.bias.resize(static_cast<size_t>(weight.rows()));
  return backend_->PrepareLinear(source);
}

absl::StatusOr<std::unique_ptr<EmbeddingTable>> WeightLoader::Embedding(const WeightSpec& weight) {
  const RowBlock& part = weight.parts.front();
  LinearSource rows;
  PINGTI_RETURN_IF_ERROR(AddPart(weight, part, &rows));
  return backend_->PrepareEmbedding(
      {rows.parts.front(), FormatOf(weight), part.first, part.module_rows});
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> WeightLoader::Vector(const WeightSpec& weight) {
  if (!weight.constant.empty()) return backend_->UploadF32(weight.constant);
  const RowBlock& part = weight.parts.front();
  PINGTI_ASSIGN_OR_RETURN(const ModuleTensors tensors,
                          FindModuleTensors(checkpoint_, weight, part));
  MarkUsed(tensors.All());
  const float without_data = weight.suffix == ".bias" ? 0.0f : 1.0f;
  return backend_->UploadF32(Values(RowsOf(*tensors.values, part), without_data));
}

absl::Status WeightLoader::AddPart(const WeightSpec& weight, const RowBlock& part,
                                   LinearSource* source) {
  PINGTI_ASSIGN_OR_RETURN(const ModuleTensors tensors,
                          FindModuleTensors(checkpoint_, weight, part));
  MarkUsed(tensors.All());
  if (tensors.bias != nullptr) {
    int64_t rows_before = 0;
    for (const MatrixSource& before : source->parts) rows_before += before.tensor.shape[0];
    source->bias.resize(static_cast<size_t>(rows_before));
    TensorView bias = *tensors.bias;
    bias.shape = {part.module_rows};
    bias = HasSteps(part) ? GatherRows(bias, StepsOf(part), &slices_) : RowsOf(bias, part);
    const std::vector<float> values = Values(bias, /*without_data=*/0.0f);
    source->bias.insert(source->bias.end(), values.begin(), values.end());
  }
  PINGTI_ASSIGN_OR_RETURN(MatrixSource matrix, Matrix(tensors, weight, part));
  if (tensors.packed.has_value()) {
    for (const TensorView* tensor : tensors.packed->tensors) sources_.push_back(*tensor);
  } else if (tensors.values->shape.size() > 2 || HasSteps(part)) {
    AddStackToSources(tensors);
  } else {
    sources_.push_back(RowsOf(*tensors.values, part));
  }
  source->parts.push_back(std::move(matrix));
  return absl::OkStatus();
}

// Every part of a stack is read from the same tensors, which are released once.
void WeightLoader::AddStackToSources(const ModuleTensors& tensors) {
  if (!sources_.empty() && sources_.back().name == tensors.values->name) return;
  if (tensors.mxfp4_scales != nullptr) sources_.push_back(*tensors.mxfp4_scales);
  sources_.push_back(*tensors.values);
}

TensorView WeightLoader::StackedRows(const ModuleTensors& tensors, const RowBlock& part) {
  const RowSteps rows = StepsOf(part);
  if (tensors.mxfp4_scales != nullptr) {
    return GatherMxfp4Rows(*tensors.values, *tensors.mxfp4_scales, rows, &slices_);
  }
  if (tensors.transposed()) return GatherTransposedRows(*tensors.values, rows, &slices_);
  return GatherRows(*tensors.values, rows, &slices_);
}

absl::StatusOr<MatrixSource> WeightLoader::Matrix(const ModuleTensors& tensors,
                                                  const WeightSpec& weight, const RowBlock& part) {
  const MatrixRange range{part.first, part.rows, weight.columns.first, weight.cols};
  MatrixSource source;
  source.interleaved_heads = part.interleaved_heads;
  if (tensors.packed.has_value()) {
    const PackedWeights& whole = tensors.packed->weights;
    if (whole.has_group_index() && weight.cols != whole.cols) {
      // Such weights are multiplied in 16 bit anyway.
      source.tensor = SliceValues(whole, range, &slices_);
      return source;
    }
    PINGTI_ASSIGN_OR_RETURN(source.packed, SlicePacked(tensors.packed->weights, range, &slices_));
    source.tensor = source.packed->words;
    source.tensor.shape = {part.rows, weight.cols};
    return source;
  }
  if (tensors.values->shape.size() > 2 || HasSteps(part)) {
    if (tensors.row_scale != nullptr || tensors.block_scales != nullptr) {
      return absl::UnimplementedError(
          Concat(DescribeTensor(*tensors.values), ": scales beside rows that take turns"));
    }
    const TensorView rows = StackedRows(tensors, part);
    source.tensor = SliceTensor(rows, {0, part.rows, weight.columns.first, weight.cols}, &slices_);
    return source;
  }
  source.tensor = SliceTensor(*tensors.values, range, &slices_);
  if (tensors.block_scales != nullptr) {
    const Fp8Blocks& blocks = checkpoint_.fp8();
    source.block_scales = BlockScales{*tensors.block_scales, blocks.rows, blocks.cols,
                                      range.first_row, range.first_col};
  }
  if (tensors.row_scale != nullptr) {
    source.row_scale = Values(RowsOf(*tensors.row_scale, part), /*without_data=*/1.0f);
  }
  return source;
}

// Matrices of heads multiply activations as they are. Weights that a compressed checkpoint left in
// 16 bit stay so: that is its per-layer fallback. The embedding and the output projection, which
// decides between tokens, are never rounded with their activations.
WeightFormat WeightLoader::FormatOf(const WeightSpec& weight) const {
  if (weight.heads > 0) {
    return options_.format == WeightFormat::kF32 ? WeightFormat::kF32 : WeightFormat::kBf16;
  }
  if (weight.role == WeightRole::kRouter || weight.role == WeightRole::kStateIn) {
    // A score that is off by little chooses another expert; joined states have no quantized form.
    const bool f32 = backend_->activation_dtype() == DType::kF32;
    return f32 ? WeightFormat::kF32 : WeightFormat::kBf16;
  }
  if (options_.format == WeightFormat::kStored && checkpoint_.compressed_int8().weights_only) {
    return WeightFormat::kBf16;
  }
  if (options_.format != WeightFormat::kInt8) return options_.format;
  if (weight.role == WeightRole::kEmbedding || weight.role == WeightRole::kLogits) {
    return HasInt8Vocabulary(checkpoint_, options_) ? WeightFormat::kInt8Weights
                                                    : WeightFormat::kStored;
  }
  return checkpoint_.compressed_int8().present ? WeightFormat::kStored : WeightFormat::kInt8;
}

// What other ranks load must not keep this one's progress from its end.
void WeightLoader::MarkOthersExperts(const Declarations& declarations) {
  std::set<std::string_view> others;
  for (const LayerSpec& layer : checkpoint_.spec().layers) {
    if (!layer.experts.has_value()) continue;
    for (const RowBlock& part : layer.experts->gate_up) others.insert(part.module);
    for (const RowBlock& part : layer.experts->down) others.insert(part.module);
  }
  for (const DeclaredWeight& weight : declarations) {
    for (const RowBlock& part : weight.spec.parts) others.erase(part.module);
  }
  for (const TensorView& tensor : checkpoint_.tensors()) {
    const std::string_view name = tensor.name;
    if (others.contains(name.substr(0, name.rfind('.')))) MarkUsed({&tensor});
  }
}

void WeightLoader::MarkUsed(const std::vector<const TensorView*>& tensors) {
  for (const TensorView* tensor : tensors) {
    if (used_.insert(tensor->name).second) done_bytes_ += tensor->bytes;
  }
}

// The file must not stay in memory beside what was made of it. A page that is read brings its
// neighbours, so some of the last weight's are there again.
void WeightLoader::ReleaseSources() {
  slices_.Clear();
  for (const TensorView& tensor : released_) checkpoint_.Release(tensor);
  for (const TensorView& tensor : sources_) checkpoint_.Release(tensor);
  if (!sources_.empty()) released_ = std::exchange(sources_, {});
}

void WeightLoader::ReportProgress() const {
  if (options_.progress) options_.progress(done_bytes_, checkpoint_.weight_bytes());
}

}  // namespace pingti::worker
