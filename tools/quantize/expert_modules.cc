#include "tools/quantize/expert_modules.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/strings.h"
#include "worker/model/decoder_blocks.h"
#include "worker/quant/slice_matrix.h"
#include "worker/quant/stacked_rows.h"

namespace pingti::tools {
namespace {

using worker::Checkpoint;
using worker::RowBlock;
using worker::TensorView;

// "x.experts" of "x.experts.gate_up_proj".
std::string_view StackFolder(std::string_view module) {
  return module.substr(0, module.rfind('.'));
}

bool IsStacked(const Checkpoint& checkpoint, const RowBlock& part) {
  const TensorView* tensor = checkpoint.Find(part.module);
  return tensor != nullptr && tensor->shape.size() == 3;
}

// `parts`: as many for each expert as there are names.
void Unstack(const Checkpoint& checkpoint, const std::vector<std::string_view>& names,
             std::vector<RowBlock>* parts) {
  for (size_t i = 0; i < parts->size(); ++i) {
    RowBlock& part = (*parts)[i];
    if (!IsStacked(checkpoint, part)) continue;
    part = worker::WholeModule(
        Concat(StackFolder(part.module), ".", i / names.size(), ".", names[i % names.size()]),
        part.rows);
  }
}

// Rows of a stack and the module that they become.
struct StackedPart {
  RowBlock from;
  std::string module;
  bool bias = false;
};

std::vector<StackedPart> StackedParts(const Checkpoint& checkpoint, const worker::DecoderSpec& spec,
                                      int64_t layer) {
  const auto stored = worker::DeclaredLayerWeights(checkpoint.spec(), layer);
  const auto written = worker::DeclaredLayerWeights(spec, layer);
  std::vector<StackedPart> parts;
  for (size_t w = 0; w < stored.size(); ++w) {
    for (size_t p = 0; p < stored[w].parts.size(); ++p) {
      const RowBlock& from = stored[w].parts[p];
      const std::string& module = written[w].parts[p].module;
      if (from.module != module) parts.push_back({from, module, stored[w].bias});
    }
  }
  return parts;
}

worker::RowSteps StepsOf(const RowBlock& part) {
  return {part.first, part.rows, part.run == 0 ? 1 : part.stride};
}

}  // namespace

worker::DecoderSpec WithExpertModules(const Checkpoint& checkpoint) {
  worker::DecoderSpec spec = checkpoint.spec();
  for (worker::LayerSpec& layer : spec.layers) {
    if (!layer.experts.has_value()) continue;
    Unstack(checkpoint, {"gate_proj", "up_proj"}, &layer.experts->gate_up);
    Unstack(checkpoint, {"down_proj"}, &layer.experts->down);
  }
  return spec;
}

std::vector<const TensorView*> ExpertStacks(const Checkpoint& checkpoint,
                                            const worker::DecoderSpec& spec, int64_t layer) {
  std::vector<const TensorView*> stacks;
  const auto add = [&](const std::string& name) {
    const TensorView* tensor = checkpoint.Find(name);
    if (std::find(stacks.begin(), stacks.end(), tensor) == stacks.end()) stacks.push_back(tensor);
  };
  for (const StackedPart& part : StackedParts(checkpoint, spec, layer)) {
    add(part.from.module);
    if (part.bias) add(part.from.module + "_bias");
  }
  return stacks;
}

void ForEachOfStacks(const Checkpoint& checkpoint, const worker::DecoderSpec& spec, int64_t layer,
                     const std::function<void(const TensorView&)>& take) {
  worker::SliceMemory memory;
  for (const StackedPart& part : StackedParts(checkpoint, spec, layer)) {
    TensorView weight = worker::GatherTransposedRows(*checkpoint.Find(part.from.module),
                                                     StepsOf(part.from), &memory);
    weight.name = part.module + ".weight";
    take(weight);
    if (part.bias) {
      TensorView all = *checkpoint.Find(part.from.module + "_bias");
      all.shape = {part.from.module_rows};
      TensorView bias = worker::GatherRows(all, StepsOf(part.from), &memory);
      bias.name = part.module + ".bias";
      take(bias);
    }
    memory.Clear();
  }
}

}  // namespace pingti::tools
