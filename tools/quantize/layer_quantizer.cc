#include "tools/quantize/layer_quantizer.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "tools/quantize/expert_modules.h"
#include "tools/quantize/int4_groups.h"
#include "tools/quantize/int8_rows.h"
#include "tools/quantize/parallel_rows.h"
#include "worker/model/decoder_blocks.h"
#include "worker/quant/source_rows.h"
#include "worker/tensor/float16.h"

namespace pingti::tools {
namespace {

using worker::Checkpoint;
using worker::DType;
using worker::TensorView;

// A layer's tensors by what the plan does to them.
class LayerTensors {
 public:
  LayerTensors(const worker::DecoderSpec& spec, int64_t layer, const LayerPlan& plan)
      : spec_(spec.layers[static_cast<size_t>(layer)]), plan_(plan) {
    for (size_t g = 0; g < kNumGroups; ++g) {
      const auto group = static_cast<LinearGroup>(g);
      for (const std::string& module : GroupModules(spec, layer, group)) {
        group_of_[module + ".weight"] = group;
      }
    }
    names_ = LayerTensorNames(spec, layer);
  }

  bool Has(const std::string& name) const { return names_.count(name) != 0; }

  // Of a matrix that is multiplied; unset for everything else.
  std::optional<LinearGroup> GroupOf(const std::string& name) const {
    const auto found = group_of_.find(name);
    return found == group_of_.end() ? std::nullopt : std::optional(found->second);
  }

  // Row r of the tensor is divided by divisor[r - first], from `first` on.
  struct RowDivisor {
    const std::vector<float>* divisor = nullptr;
    int64_t first = 0;
  };
  // What a later product's weights are multiplied by, what makes its input is divided by.
  RowDivisor DivisorOf(const std::string& name) const {
    RowDivisor found;
    const auto is_of = [&name](const worker::NormSpec& norm) {
      return name == norm.module + ".weight" || name == norm.module + ".bias";
    };
    if (is_of(spec_.attention_norm)) found = {&Smoothing(LinearGroup::kQkv), 0};
    if (spec_.mlp_norm.has_value() && is_of(*spec_.mlp_norm)) {
      found = {&Smoothing(LinearGroup::kGateUp), 0};
    }
    if (CanSmooth(spec_, LinearGroup::kDown)) {
      const worker::RowBlock& up = spec_.mlp.gate_up.back();
      if (name == up.module + ".weight" || name == up.module + ".bias") {
        found = {&Smoothing(LinearGroup::kDown), up.first};
      }
    }
    return found.divisor == nullptr || found.divisor->empty() ? RowDivisor{} : found;
  }

  // Of the columns of a matrix; null: nothing.
  const std::vector<float>* MultiplierOf(const std::string& name) const {
    const std::optional<LinearGroup> group = GroupOf(name);
    if (!group.has_value() || Smoothing(*group).empty()) return nullptr;
    return &Smoothing(*group);
  }

 private:
  const std::vector<float>& Smoothing(LinearGroup group) const {
    return plan_.smoothing[static_cast<size_t>(group)];
  }

  const worker::LayerSpec& spec_;
  const LayerPlan& plan_;
  std::map<std::string, LinearGroup> group_of_;
  std::set<std::string> names_;
};

// The tensor as a matrix that can be read row by row; vectors have rows of one value.
worker::MatrixSource SourceOf(const Checkpoint& checkpoint, const TensorView& tensor) {
  worker::MatrixSource source;
  source.tensor = tensor;
  if (tensor.shape.size() == 1) source.tensor.shape.push_back(1);
  if (tensor.dtype != DType::kF8E4M3) return source;
  const TensorView* scales = checkpoint.Find(tensor.name + "_scale_inv");
  PINGTI_CHECK(scales != nullptr);  // CheckTensors
  source.block_scales =
      worker::BlockScales{*scales, checkpoint.fp8().rows, checkpoint.fp8().cols, 0, 0};
  return source;
}

// What a tensor that stays is written as: what has scales beside it widens.
DType KeptType(const TensorView& tensor) {
  return tensor.dtype == DType::kF8E4M3 ? DType::kBf16 : tensor.dtype;
}

int64_t Columns(const TensorView& tensor) { return tensor.shape.size() == 2 ? tensor.shape[1] : 1; }

// Row `r` of a tensor with the plan applied; vectors have rows of one value.
class RowReader {
 public:
  RowReader(const Checkpoint& checkpoint, const TensorView& tensor, const LayerTensors& layer)
      : source_(SourceOf(checkpoint, tensor)),
        rows_(source_),
        divisor_(layer.DivisorOf(tensor.name)),
        multiplier_(layer.MultiplierOf(tensor.name)),
        row_(static_cast<size_t>(Columns(tensor))) {}

  bool changes() const { return divisor_.divisor != nullptr || multiplier_ != nullptr; }
  std::span<const float> Read(int64_t r) {
    rows_.ReadF32(r, r + 1, row_.data());
    const bool divided = divisor_.divisor != nullptr && r >= divisor_.first;
    const float divisor =
        divided ? (*divisor_.divisor)[static_cast<size_t>(r - divisor_.first)] : 1.0f;
    for (size_t c = 0; c < row_.size(); ++c) {
      row_[c] = row_[c] / divisor * (multiplier_ == nullptr ? 1.0f : (*multiplier_)[c]);
    }
    return row_;
  }

 private:
  const worker::MatrixSource source_;
  worker::SourceRows rows_;
  const LayerTensors::RowDivisor divisor_;
  const std::vector<float>* multiplier_;
  std::vector<float> row_;
};

void Store(float value, DType dtype, char* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, &value, sizeof(value));
    return;
  }
  const uint16_t bits =
      dtype == DType::kF16 ? worker::FloatToF16(value) : worker::FloatToBf16(value);
  std::memcpy(out, &bits, sizeof(bits));
}

OwnedTensor MakeTensor(std::string name, DType dtype, std::vector<int64_t> shape) {
  OwnedTensor tensor;
  tensor.view.name = std::move(name);
  tensor.view.dtype = dtype;
  tensor.view.shape = std::move(shape);
  tensor.view.bytes = tensor.view.NumElements() * worker::BlockBytes(dtype);
  tensor.bytes.resize(static_cast<size_t>(tensor.view.bytes));
  tensor.view.data = tensor.bytes.data();  // stays where it is when the vector moves
  return tensor;
}

OwnedTensor Keep(const Checkpoint& checkpoint, const TensorView& source,
                 const LayerTensors& layer) {
  OwnedTensor kept = MakeTensor(source.name, KeptType(source), source.shape);
  RowReader reader(checkpoint, source, layer);
  if (!reader.changes() && kept.view.dtype == source.dtype) {
    std::memcpy(kept.bytes.data(), source.data, kept.bytes.size());
    return kept;
  }
  char* out = kept.bytes.data();
  for (int64_t r = 0; r < source.shape[0]; ++r) {
    for (const float value : reader.Read(r)) {
      Store(value, kept.view.dtype, out);
      out += worker::BlockBytes(kept.view.dtype);
    }
  }
  return kept;
}

// The weight and its scales, which have the checkpoint's type where that has float's range.
void QuantizeInt8(const Checkpoint& checkpoint, const TensorView& source, const LayerTensors& layer,
                  int threads, std::vector<OwnedTensor>* out) {
  const bool bf16 = KeptType(source) == DType::kBf16;
  OwnedTensor weight = MakeTensor(source.name, DType::kI8, source.shape);
  OwnedTensor scale =
      MakeTensor(source.name + "_scale", bf16 ? DType::kBf16 : DType::kF32, {source.shape[0], 1});
  const auto cols = static_cast<size_t>(source.shape[1]);
  const std::span q(reinterpret_cast<int8_t*>(weight.bytes.data()), weight.bytes.size());
  ForRowRanges(source.shape[0], threads, [&](int64_t begin, int64_t end) {
    RowReader reader(checkpoint, source, layer);
    for (int64_t r = begin; r < end; ++r) {
      const float row_scale =
          QuantizeRow(reader.Read(r), bf16, q.subspan(static_cast<size_t>(r) * cols, cols));
      Store(row_scale, scale.view.dtype,
            scale.bytes.data() + r * worker::BlockBytes(scale.view.dtype));
    }
  });
  out->push_back(std::move(weight));
  out->push_back(std::move(scale));
}

// The weight in words, its scales per group, and its shape, under the names of "pack-quantized".
// Scales have 16 bits, those of the checkpoint where it has 16.
void QuantizeInt4(const Checkpoint& checkpoint, const TensorView& source, const LayerTensors& layer,
                  int64_t group_size, int threads, std::vector<OwnedTensor>* out) {
  const int64_t rows = source.shape[0];
  const int64_t cols = source.shape[1];
  const int64_t groups = cols / group_size;
  PINGTI_CHECK(groups * group_size == cols);
  const int64_t row_words = (cols + 7) / 8;
  const DType scale_type = KeptType(source) == DType::kF16 ? DType::kF16 : DType::kBf16;
  OwnedTensor words = MakeTensor(source.name + "_packed", DType::kI32, {rows, row_words});
  OwnedTensor scales = MakeTensor(source.name + "_scale", scale_type, {rows, groups});
  OwnedTensor shape = MakeTensor(source.name + "_shape", DType::kI64, {2});
  std::memcpy(shape.bytes.data(), source.shape.data(), shape.bytes.size());
  ForRowRanges(rows, threads, [&](int64_t begin, int64_t end) {
    RowReader reader(checkpoint, source, layer);
    std::vector<int8_t> q(static_cast<size_t>(cols));
    std::vector<uint32_t> packed(static_cast<size_t>(row_words));
    for (int64_t r = begin; r < end; ++r) {
      const std::span<const float> row = reader.Read(r);
      for (int64_t g = 0; g < groups; ++g) {
        const auto first = static_cast<size_t>(g * group_size);
        const auto count = static_cast<size_t>(group_size);
        Store(QuantizeGroup(row.subspan(first, count), scale_type,
                            std::span(q).subspan(first, count)),
              scale_type, scales.bytes.data() + 2 * (r * groups + g));
      }
      PackInt4(q, packed);
      std::memcpy(words.bytes.data() + 4 * r * row_words, packed.data(), 4 * packed.size());
    }
  });
  out->push_back(std::move(shape));
  out->push_back(std::move(words));
  out->push_back(std::move(scales));
}

void Quantize(const Checkpoint& checkpoint, const TensorView& source, const LayerTensors& layer,
              const LayerPlan& plan, int threads, std::vector<OwnedTensor>* out) {
  switch (plan.scheme) {
    case WeightScheme::kInt8:
      return QuantizeInt8(checkpoint, source, layer, threads, out);
    case WeightScheme::kInt4:
      return QuantizeInt4(checkpoint, source, layer, plan.group_size, threads, out);
  }
}

}  // namespace

std::string_view GroupName(LinearGroup group) {
  static constexpr PerGroup<std::string_view> kNames = {
      "qkv", "q_up", "o", "gate_up", "down", "experts_in", "experts_out"};
  return kNames[static_cast<size_t>(group)];
}

worker::WeightRole RoleOf(LinearGroup group) {
  static constexpr PerGroup<worker::WeightRole> kRoles = {
      worker::WeightRole::kQkv,          worker::WeightRole::kQueryUp,
      worker::WeightRole::kAttentionOut, worker::WeightRole::kMlpIn,
      worker::WeightRole::kMlpOut,       worker::WeightRole::kExpertsIn,
      worker::WeightRole::kExpertsOut};
  return kRoles[static_cast<size_t>(group)];
}

std::vector<std::string> GroupModules(const worker::DecoderSpec& spec, int64_t layer,
                                      LinearGroup group) {
  std::vector<std::string> modules;
  for (const worker::WeightSpec& weight : worker::DeclaredLayerWeights(spec, layer)) {
    if (weight.role != RoleOf(group)) continue;
    for (const worker::RowBlock& part : weight.parts) {
      const bool again = !modules.empty() && modules.back() == part.module;
      if (!again) modules.push_back(part.module);
    }
  }
  return modules;
}

bool FillsGroups(const worker::DecoderSpec& spec, int64_t layer, LinearGroup group,
                 int64_t group_size) {
  for (const worker::WeightSpec& weight : worker::DeclaredLayerWeights(spec, layer)) {
    if (weight.role == RoleOf(group) && weight.module_cols() % group_size != 0) return false;
  }
  return true;
}

bool CanSmooth(const worker::LayerSpec& layer, LinearGroup group) {
  switch (group) {
    case LinearGroup::kQkv:
      return layer.mlp_norm.has_value();
    case LinearGroup::kGateUp:
      // What a shared feed-forward reads is the router's and the experts' input, too.
      return layer.mlp_norm.has_value() && !layer.experts.has_value();
    case LinearGroup::kDown:
      return layer.mlp.gated && !layer.experts.has_value();
    case LinearGroup::kQueryUp:
    case LinearGroup::kO:
    case LinearGroup::kExpertsIn:
    case LinearGroup::kExpertsOut:
      break;
  }
  return false;
}

std::set<std::string> LayerTensorNames(const worker::DecoderSpec& spec, int64_t layer) {
  std::set<std::string> names;
  for (const worker::WeightSpec& weight : worker::DeclaredLayerWeights(spec, layer)) {
    for (const worker::RowBlock& part : weight.parts) {
      names.insert(Concat(part.module, weight.suffix));
      if (weight.bias) names.insert(part.module + ".bias");
    }
  }
  return names;
}

std::vector<std::string> OtherModules(const worker::DecoderSpec& spec, int64_t layer) {
  std::vector<std::string> modules;
  for (const worker::WeightSpec& weight : worker::DeclaredLayerWeights(spec, layer)) {
    const bool other = weight.role == worker::WeightRole::kRouter ||
                       weight.role == worker::WeightRole::kLatentHeads;
    if (!other || weight.is_vector()) continue;
    for (const worker::RowBlock& part : weight.parts) {
      const auto known = std::find(modules.begin(), modules.end(), part.module);
      if (known == modules.end()) modules.push_back(part.module);
    }
  }
  return modules;
}

absl::Status CheckType(const TensorView& tensor) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kF8E4M3}) {
    if (tensor.dtype == dtype) return absl::OkStatus();
  }
  return absl::UnimplementedError(Concat("tensor '", tensor.name, "' is ",
                                         worker::DTypeName(tensor.dtype),
                                         "; expected F32, F16, BF16 or F8_E4M3"));
}

absl::StatusOr<OwnedTensor> Widened(const Checkpoint& checkpoint, const TensorView& tensor) {
  const worker::MatrixSource source = SourceOf(checkpoint, tensor);
  PINGTI_RETURN_IF_ERROR(worker::CheckMatrixSource(source));
  OwnedTensor widened = MakeTensor(tensor.name, KeptType(tensor), tensor.shape);
  worker::SourceRows rows(source);
  rows.ReadBf16(0, tensor.shape[0], reinterpret_cast<uint16_t*>(widened.bytes.data()));
  return widened;
}

absl::StatusOr<std::vector<OwnedTensor>> QuantizeLayer(const Checkpoint& checkpoint,
                                                       const worker::DecoderSpec& spec,
                                                       int64_t layer, const LayerPlan& plan,
                                                       int threads) {
  const LayerTensors tensors(spec, layer, plan);
  std::vector<OwnedTensor> out;
  const auto add = [&](const TensorView& tensor) {
    const std::optional<LinearGroup> group = tensors.GroupOf(tensor.name);
    if (group.has_value() && !plan.keep[static_cast<size_t>(*group)]) {
      Quantize(checkpoint, tensor, tensors, plan, threads, &out);
    } else {
      out.push_back(Keep(checkpoint, tensor, tensors));
    }
  };
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (!tensors.Has(tensor.name)) continue;
    PINGTI_RETURN_IF_ERROR(CheckType(tensor));
    add(tensor);
    checkpoint.Release(tensor);
  }
  const std::vector<const TensorView*> stacks = ExpertStacks(checkpoint, spec, layer);
  for (const TensorView* stack : stacks) PINGTI_RETURN_IF_ERROR(CheckType(*stack));
  ForEachOfStacks(checkpoint, spec, layer, add);
  for (const TensorView* stack : stacks) checkpoint.Release(*stack);
  std::stable_sort(out.begin(), out.end(), [](const OwnedTensor& a, const OwnedTensor& b) {
    return worker::BlockBytes(a.view.dtype) > worker::BlockBytes(b.view.dtype);
  });
  return out;
}

std::vector<float> LargestWeights(const Checkpoint& checkpoint, int64_t layer, LinearGroup group,
                                  const LayerPlan& plan, int threads) {
  const LayerTensors tensors(checkpoint.spec(), layer, plan);
  std::mutex mutex;
  std::vector<float> largest;
  for (const std::string& module : GroupModules(checkpoint.spec(), layer, group)) {
    const TensorView* tensor = checkpoint.Find(module + ".weight");
    PINGTI_CHECK(tensor != nullptr);
    largest.resize(static_cast<size_t>(tensor->shape[1]), 0.0f);
    ForRowRanges(tensor->shape[0], threads, [&](int64_t begin, int64_t end) {
      RowReader reader(checkpoint, *tensor, tensors);
      std::vector<float> of_range(largest.size(), 0.0f);
      for (int64_t r = begin; r < end; ++r) UpdateLargest(reader.Read(r), of_range);
      const std::lock_guard lock(mutex);
      UpdateLargest(of_range, largest);
    });
    checkpoint.Release(*tensor);
  }
  return largest;
}

}  // namespace pingti::tools
