#include "worker/model/declared_tensors.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/quant/ggml_blocks.h"

namespace pingti::worker {
namespace {

absl::StatusOr<const TensorView*> Find(const Checkpoint& checkpoint, const std::string& name,
                                       std::vector<int64_t> shape) {
  const TensorView* tensor = checkpoint.Find(name);
  if (tensor == nullptr) {
    return absl::InvalidArgumentError(Concat("tensor '", name, "' is missing"));
  }
  if (tensor->shape != shape) {
    TensorView expected;
    expected.shape = std::move(shape);
    return absl::InvalidArgumentError(
        Concat(DescribeTensor(*tensor), ": expected shape ", expected.ShapeString()));
  }
  if (!CanDequantize(tensor->dtype)) {
    return absl::UnimplementedError(
        Concat("tensor '", name, "': dtype ", DTypeName(tensor->dtype)));
  }
  return tensor;
}

// Of bits that are no values by themselves.
absl::StatusOr<const TensorView*> FindBytes(const Checkpoint& checkpoint, const std::string& name,
                                            std::vector<int64_t> shape) {
  const TensorView* tensor = checkpoint.Find(name);
  if (tensor == nullptr) {
    return absl::InvalidArgumentError(Concat("tensor '", name, "' is missing"));
  }
  TensorView expected;
  expected.shape = std::move(shape);
  if (tensor->dtype == DType::kU8 && tensor->shape == expected.shape) return tensor;
  return absl::InvalidArgumentError(
      Concat(DescribeTensor(*tensor), ": expected U8 ", expected.ShapeString()));
}

bool IsPacked(const Checkpoint& checkpoint, const WeightSpec& weight, const RowBlock& part) {
  return checkpoint.packed().present && !weight.is_vector() &&
         checkpoint.Find(part.module + ".weight") == nullptr;
}

absl::StatusOr<const TensorView*> FindBlockScales(const Checkpoint& checkpoint,
                                                  const TensorView& values) {
  const Fp8Blocks& blocks = checkpoint.fp8();
  if (!blocks.present) {
    return absl::InvalidArgumentError(
        Concat(DescribeTensor(values), ", but config.json names no quantization of that kind"));
  }
  if (values.shape.size() != 2) {
    return absl::InvalidArgumentError(Concat(DescribeTensor(values), ": expected a matrix"));
  }
  const auto count = [](int64_t size, int64_t block) { return (size + block - 1) / block; };
  return Find(checkpoint, values.name + "_scale_inv",
              {count(values.shape[0], blocks.rows), count(values.shape[1], blocks.cols)});
}

// How many experts a tensor stacks, by its first dimension, where they divide `rows`; of which the
// weight may have but some. Otherwise the weight's.
int64_t StackedExperts(const TensorView& tensor, const WeightSpec& weight, int64_t rows) {
  const int64_t first = tensor.shape.empty() ? 0 : tensor.shape[0];
  return first > 0 && rows % first == 0 ? first : weight.experts;
}

// A stack of experts in a tensor without ".weight", or MXFP4 in two. Whether there is one.
absl::StatusOr<bool> FindStack(const Checkpoint& checkpoint, const WeightSpec& weight,
                               const RowBlock& part, ModuleTensors* found) {
  if (!weight.is_of_experts() || checkpoint.Find(part.module + ".weight") != nullptr) return false;
  const TensorView* blocks =
      checkpoint.mxfp4() ? checkpoint.Find(part.module + "_blocks") : nullptr;
  const TensorView* stack = blocks != nullptr ? blocks : checkpoint.Find(part.module);
  if (stack == nullptr) return false;
  const int64_t experts = StackedExperts(*stack, weight, part.module_rows);
  const int64_t rows = part.module_rows / experts;
  if (blocks != nullptr) {
    const int64_t group = BlockElements(DType::kMxfp4);
    const int64_t groups = weight.module_cols() / group;
    if (weight.module_cols() % group != 0) {
      return absl::InvalidArgumentError(Concat(DescribeTensor(*blocks), ": rows of ",
                                               weight.module_cols(), "; expected a multiple of ",
                                               group));
    }
    PINGTI_ASSIGN_OR_RETURN(
        found->values, FindBytes(checkpoint, part.module + "_blocks", {experts, rows, groups, 16}));
    PINGTI_ASSIGN_OR_RETURN(found->mxfp4_scales, FindBytes(checkpoint, part.module + "_scales",
                                                           {experts, rows, groups}));
    return true;
  }
  PINGTI_ASSIGN_OR_RETURN(found->values,
                          Find(checkpoint, part.module, {experts, weight.module_cols(), rows}));
  if (!IsBlockType(found->values->dtype) && found->values->dtype != DType::kI8) return true;
  return absl::UnimplementedError(
      Concat(DescribeTensor(*found->values), ": expected F32, F16 or BF16"));
}

absl::Status FindValues(const Checkpoint& checkpoint, const WeightSpec& weight,
                        const RowBlock& part, ModuleTensors* found) {
  if (IsPacked(checkpoint, weight, part)) {
    if (weight.role == WeightRole::kEmbedding && HasPackedModule(checkpoint, part.module)) {
      return absl::UnimplementedError(
          Concat("module '", part.module, "' is quantized; expected a 16-bit embedding"));
    }
    PINGTI_ASSIGN_OR_RETURN(
        found->packed,
        FindPackedModule(checkpoint, part.module, part.module_rows, weight.module_cols()));
    return absl::OkStatus();
  }
  PINGTI_ASSIGN_OR_RETURN(const bool stacked, FindStack(checkpoint, weight, part, found));
  if (stacked) return absl::OkStatus();
  std::vector<int64_t> shape = {part.module_rows};
  if (!weight.is_vector()) shape.push_back(weight.module_cols());
  const std::string name = Concat(part.module, weight.suffix);
  PINGTI_ASSIGN_OR_RETURN(found->values, Find(checkpoint, name, std::move(shape)));
  if (found->values->dtype == DType::kF8E4M3) {
    PINGTI_ASSIGN_OR_RETURN(found->block_scales, FindBlockScales(checkpoint, *found->values));
    return absl::OkStatus();
  }
  if (found->values->dtype != DType::kI8) return absl::OkStatus();
  // compressed-tensors keeps one scale per output channel beside an int8 weight, as [rows, 1].
  if (!checkpoint.compressed_int8().present) {
    return absl::InvalidArgumentError(
        Concat("tensor '", name, "' is I8, but config.json names no quantization"));
  }
  PINGTI_ASSIGN_OR_RETURN(found->row_scale,
                          Find(checkpoint, name + "_scale", {part.module_rows, 1}));
  return absl::OkStatus();
}

TensorView WithoutData(std::string name, std::vector<int64_t> shape) {
  TensorView tensor;
  tensor.name = std::move(name);
  tensor.dtype = DType::kBf16;
  tensor.shape = std::move(shape);
  tensor.bytes = tensor.NumElements() * 2;
  return tensor;
}

}  // namespace

std::vector<TensorView> TensorsWithoutData(const std::vector<WeightSpec>& weights) {
  std::vector<TensorView> tensors;
  std::set<std::string> names;
  const auto add = [&](std::string name, std::vector<int64_t> shape) {
    if (!names.insert(name).second) return;
    tensors.push_back(WithoutData(std::move(name), std::move(shape)));
  };
  for (const WeightSpec& weight : weights) {
    for (const RowBlock& part : weight.parts) {
      std::vector<int64_t> shape = {part.module_rows};
      if (!weight.is_vector()) shape.push_back(weight.cols);
      add(Concat(part.module, weight.suffix), std::move(shape));
      if (weight.bias) add(Concat(part.module, ".bias"), {part.module_rows});
    }
  }
  return tensors;
}

std::vector<const TensorView*> ModuleTensors::All() const {
  std::vector<const TensorView*> all;
  for (const TensorView* tensor : {values, mxfp4_scales, row_scale, block_scales, bias}) {
    if (tensor != nullptr) all.push_back(tensor);
  }
  if (packed.has_value()) all.insert(all.end(), packed->tensors.begin(), packed->tensors.end());
  return all;
}

absl::StatusOr<ModuleTensors> FindModuleTensors(const Checkpoint& checkpoint,
                                                const WeightSpec& weight, const RowBlock& part) {
  ModuleTensors found;
  PINGTI_RETURN_IF_ERROR(FindValues(checkpoint, weight, part, &found));
  const std::string bias = part.module + ".bias";
  // Added once, by the rank that has the first columns.
  const bool brings_bias = found.packed.has_value() && weight.columns.first == 0;
  const TensorView* stacked_bias = nullptr;
  if (weight.bias && weight.is_of_experts() && checkpoint.Find(bias) == nullptr) {
    stacked_bias = checkpoint.Find(part.module + "_bias");
  }
  if (stacked_bias != nullptr) {
    const int64_t experts = StackedExperts(*stacked_bias, weight, part.module_rows);
    PINGTI_ASSIGN_OR_RETURN(
        found.bias, Find(checkpoint, stacked_bias->name, {experts, part.module_rows / experts}));
  } else if (weight.bias || (brings_bias && checkpoint.Find(bias) != nullptr)) {
    PINGTI_ASSIGN_OR_RETURN(found.bias, Find(checkpoint, bias, {part.module_rows}));
  }
  return found;
}

bool IsKnownBesides(const DecoderSpec& spec, std::string_view name) {
  const std::vector<std::string>& repeated = spec.repeated_tensors;
  const auto begins_name = [name](const std::string& prefix) { return name.starts_with(prefix); };
  return std::find(repeated.begin(), repeated.end(), name) != repeated.end() ||
         std::any_of(spec.unread_prefixes.begin(), spec.unread_prefixes.end(), begins_name);
}

absl::Status CheckTensors(const Checkpoint& checkpoint, const std::vector<WeightSpec>& weights) {
  const DecoderSpec& spec = checkpoint.spec();
  std::set<std::string_view> known;
  for (const WeightSpec& weight : weights) {
    for (const RowBlock& part : JoinedParts(weight)) {
      PINGTI_ASSIGN_OR_RETURN(const ModuleTensors found,
                              FindModuleTensors(checkpoint, weight, part));
      for (const TensorView* tensor : found.All()) known.insert(tensor->name);
    }
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (known.count(tensor.name) != 0 || IsKnownBesides(spec, tensor.name)) continue;
    return absl::UnimplementedError(
        Concat(DescribeTensor(tensor), " has no place in a '", spec.architecture, "' model"));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
