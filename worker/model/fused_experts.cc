#include "worker/model/fused_experts.h"

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

std::string_view WithoutLast(std::string_view module) {
  return module.substr(0, module.rfind('.'));
}

// By the name of a fused tensor: what it holds, one module after the other, and of how many
// experts.
struct FusedTensor {
  const std::vector<RowBlock>* parts = nullptr;
  int64_t experts = 0;
};

std::map<std::string, FusedTensor, std::less<>> FusedTensors(const DecoderSpec& spec) {
  std::map<std::string, FusedTensor, std::less<>> fused;
  const auto add = [&](const std::vector<RowBlock>& parts, int64_t experts, std::string_view last) {
    // "x.experts" of "x.experts.0.gate_proj".
    const std::string_view module = parts.front().module;
    const bool has_modules = parts.front().module != parts.back().module;
    if (!has_modules || parts.size() < static_cast<size_t>(experts)) return;
    fused[Concat(WithoutLast(WithoutLast(module)), ".", last)] = {&parts, experts};
  };
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.experts.has_value()) continue;
    add(layer.experts->gate_up, layer.experts->routing.num_experts, "gate_up_proj");
    add(layer.experts->down, layer.experts->routing.num_experts, "down_proj");
  }
  return fused;
}

bool Fits(const TensorView& tensor, const FusedTensor& fused) {
  int64_t rows = 0;
  for (const RowBlock& part : *fused.parts) rows += part.rows;
  return tensor.shape.size() == 3 && tensor.shape[0] == fused.experts &&
         tensor.shape[0] * tensor.shape[1] == rows;
}

void AddViews(const TensorView& tensor, const std::vector<RowBlock>& parts,
              std::vector<TensorView>* out) {
  const int64_t row_bytes = tensor.bytes / (tensor.shape[0] * tensor.shape[1]);
  const auto* data = static_cast<const char*>(tensor.data);
  for (const RowBlock& part : parts) {
    TensorView view{part.module + ".weight", tensor.dtype, {part.rows, tensor.shape[2]}, data, 0};
    view.bytes = part.rows * row_bytes;
    data += view.bytes;
    out->push_back(std::move(view));
  }
}

}  // namespace

void SplitFusedExperts(const DecoderSpec& spec, std::vector<TensorView>* tensors) {
  const auto fused = FusedTensors(spec);
  std::vector<TensorView> out;
  out.reserve(tensors->size());
  for (TensorView& tensor : *tensors) {
    const auto found = fused.find(tensor.name);
    if (found != fused.end() && Fits(tensor, found->second)) {
      AddViews(tensor, *found->second.parts, &out);
    } else {
      out.push_back(std::move(tensor));
    }
  }
  *tensors = std::move(out);
}

}  // namespace pingti::worker
