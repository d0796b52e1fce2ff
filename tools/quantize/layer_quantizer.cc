#include "tools/quantize/layer_quantizer.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "tools/quantize/int8_rows.h"
#include "tools/quantize/parallel_rows.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::tools {
namespace {

using worker::Checkpoint;
using worker::DType;
using worker::TensorView;

std::string LayerPrefix(int64_t layer) { return Concat("model.layers.", layer, "."); }

std::vector<std::string_view> ModulesOf(LinearGroup group) {
  switch (group) {
    case LinearGroup::kQkv:
      return {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    case LinearGroup::kO:
      return {"self_attn.o_proj"};
    case LinearGroup::kGateUp:
      return {"mlp.gate_proj", "mlp.up_proj"};
    case LinearGroup::kDown:
      break;
  }
  return {"mlp.down_proj"};
}

// `name`: without the layer's prefix.
std::optional<LinearGroup> GroupOfWeight(std::string_view name) {
  for (size_t g = 0; g < kNumGroups; ++g) {
    const auto group = static_cast<LinearGroup>(g);
    for (const std::string_view module : ModulesOf(group)) {
      if (name == Concat(module, ".weight")) return group;
    }
  }
  return std::nullopt;
}

const std::vector<float>& Smoothing(const LayerPlan& plan, LinearGroup group) {
  return plan.smoothing[static_cast<size_t>(group)];
}

// What the rows of a tensor are divided by, since a later product's weights are multiplied by it.
const std::vector<float>* RowDivisor(std::string_view name, const LayerPlan& plan) {
  const std::vector<float>* divisor = nullptr;
  if (name == "input_layernorm.weight") divisor = &Smoothing(plan, LinearGroup::kQkv);
  if (name == "post_attention_layernorm.weight") divisor = &Smoothing(plan, LinearGroup::kGateUp);
  if (name.rfind("mlp.up_proj.", 0) == 0) divisor = &Smoothing(plan, LinearGroup::kDown);
  return divisor == nullptr || divisor->empty() ? nullptr : divisor;
}

int64_t Columns(const TensorView& tensor) { return tensor.shape.size() == 2 ? tensor.shape[1] : 1; }

// Row `r` of a tensor with the plan applied; vectors have rows of one value.
class RowReader {
 public:
  RowReader(const TensorView& tensor, std::string_view name, const LayerPlan& plan)
      : tensor_(tensor), divisor_(RowDivisor(name, plan)) {
    if (const auto group = GroupOfWeight(name)) multiplier_ = &Smoothing(plan, *group);
    if (multiplier_ != nullptr && multiplier_->empty()) multiplier_ = nullptr;
    row_.resize(static_cast<size_t>(Columns(tensor)));
  }

  bool changes() const { return divisor_ != nullptr || multiplier_ != nullptr; }
  std::span<const float> Read(int64_t r) {
    const int64_t cols = Columns(tensor_);
    const auto* data = static_cast<const char*>(tensor_.data);
    worker::Dequantize(tensor_.dtype, data + r * cols * worker::BlockBytes(tensor_.dtype), cols,
                       row_.data());
    const float divisor = divisor_ == nullptr ? 1.0f : (*divisor_)[static_cast<size_t>(r)];
    for (size_t c = 0; c < row_.size(); ++c) {
      row_[c] = row_[c] / divisor * (multiplier_ == nullptr ? 1.0f : (*multiplier_)[c]);
    }
    return row_;
  }

 private:
  const TensorView& tensor_;
  const std::vector<float>* divisor_;
  const std::vector<float>* multiplier_ = nullptr;
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

OwnedTensor Keep(const TensorView& source, std::string_view name, const LayerPlan& plan) {
  OwnedTensor kept = MakeTensor(source.name, source.dtype, source.shape);
  RowReader reader(source, name, plan);
  if (!reader.changes()) {
    std::memcpy(kept.bytes.data(), source.data, kept.bytes.size());
    return kept;
  }
  char* out = kept.bytes.data();
  for (int64_t r = 0; r < source.shape[0]; ++r) {
    for (const float value : reader.Read(r)) {
      Store(value, source.dtype, out);
      out += worker::BlockBytes(source.dtype);
    }
  }
  return kept;
}

// The weight and its scales, which have the checkpoint's type where that has float's range.
void Quantize(const TensorView& source, std::string_view name, const LayerPlan& plan, int threads,
              std::vector<OwnedTensor>* out) {
  const bool bf16 = source.dtype == DType::kBf16;
  OwnedTensor weight = MakeTensor(source.name, DType::kI8, source.shape);
  OwnedTensor scale =
      MakeTensor(source.name + "_scale", bf16 ? DType::kBf16 : DType::kF32, {source.shape[0], 1});
  const auto cols = static_cast<size_t>(source.shape[1]);
  const std::span q(reinterpret_cast<int8_t*>(weight.bytes.data()), weight.bytes.size());
  ForRowRanges(source.shape[0], threads, [&](int64_t begin, int64_t end) {
    RowReader reader(source, name, plan);
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

}  // namespace

std::string_view GroupName(LinearGroup group) {
  static constexpr PerGroup<std::string_view> kNames = {"qkv", "o", "gate_up", "down"};
  return kNames[static_cast<size_t>(group)];
}

std::vector<std::string> GroupModules(int64_t layer, LinearGroup group) {
  std::vector<std::string> modules;
  for (const std::string_view module : ModulesOf(group)) {
    modules.push_back(Concat(LayerPrefix(layer), module));
  }
  return modules;
}

absl::StatusOr<std::vector<OwnedTensor>> QuantizeLayer(const Checkpoint& checkpoint, int64_t layer,
                                                       const LayerPlan& plan, int threads) {
  const std::string prefix = LayerPrefix(layer);
  std::vector<OwnedTensor> out;
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (tensor.name.rfind(prefix, 0) != 0) continue;
    if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 &&
        tensor.dtype != DType::kBf16) {
      return absl::UnimplementedError(Concat("tensor '", tensor.name, "' is ",
                                             worker::DTypeName(tensor.dtype),
                                             "; expected F32, F16 or BF16"));
    }
    const std::string_view name = std::string_view(tensor.name).substr(prefix.size());
    const std::optional<LinearGroup> group = GroupOfWeight(name);
    if (group.has_value() && !plan.keep[static_cast<size_t>(*group)]) {
      Quantize(tensor, name, plan, threads, &out);
    } else {
      out.push_back(Keep(tensor, name, plan));
    }
    checkpoint.Release(tensor);
  }
  std::stable_sort(out.begin(), out.end(), [](const OwnedTensor& a, const OwnedTensor& b) {
    return worker::BlockBytes(a.view.dtype) > worker::BlockBytes(b.view.dtype);
  });
  return out;
}

std::vector<float> LargestWeights(const Checkpoint& checkpoint, int64_t layer, LinearGroup group,
                                  const LayerPlan& plan, int threads) {
  std::mutex mutex;
  std::vector<float> largest;
  for (const std::string_view module : ModulesOf(group)) {
    const std::string name = Concat(module, ".weight");
    const TensorView* tensor = checkpoint.Find(LayerPrefix(layer) + name);
    PINGTI_CHECK(tensor != nullptr);
    largest.resize(static_cast<size_t>(tensor->shape[1]), 0.0f);
    ForRowRanges(tensor->shape[0], threads, [&](int64_t begin, int64_t end) {
      RowReader reader(*tensor, name, plan);
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
