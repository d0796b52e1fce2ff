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
  for (const TensorView* tensor : {values, row_scale, block_scales, bias}) {
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
  if (weight.bias || (brings_bias && checkpoint.Find(bias) != nullptr)) {
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
