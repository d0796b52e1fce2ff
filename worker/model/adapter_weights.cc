#include "worker/model/adapter_weights.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "worker/quant/ggml_blocks.h"

namespace pingti::worker {
namespace {

// A module's name in Hugging Face checkpoints, which adapters use; GGUF files of Llama and its kin
// have other ones ("blk.0.attn_q").
std::string HuggingFaceName(const std::string& module) {
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"attn_q", "self_attn.q_proj"}, {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"}, {"attn_output", "self_attn.o_proj"},
      {"ffn_gate", "mlp.gate_proj"},  {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  if (module == "token_embd") return "model.embed_tokens";
  constexpr std::string_view kBlock = "blk.";
  if (!module.starts_with(kBlock)) return module;
  const size_t dot = module.find('.', kBlock.size());
  if (dot == std::string::npos) return module;
  for (const auto& [gguf, name] : kNames) {
    if (std::string_view(module).substr(dot + 1) != gguf) continue;
    return Concat("model.layers.", module.substr(kBlock.size(), dot - kBlock.size()), ".", name);
  }
  return module;
}

// The module that adapters name for a part of a weight. An output projection that shares the
// embedding's table is one of its own to them.
std::string AdapterName(const WeightSpec& weight, const RowBlock& part) {
  return weight.role == WeightRole::kLogits ? "lm_head" : HuggingFaceName(part.module);
}

// Distinct modules of a weight, in order, and where each lies in the stack.
struct ModuleOrder {
  std::vector<std::string> names;
  std::vector<int32_t> of_part;  // by part of the weight
};

ModuleOrder OrderOf(const WeightSpec& weight) {
  ModuleOrder order;
  for (const RowBlock& part : weight.parts) {
    std::string name = AdapterName(weight, part);
    const auto known = std::find(order.names.begin(), order.names.end(), name);
    order.of_part.push_back(static_cast<int32_t>(known - order.names.begin()));
    if (known == order.names.end()) order.names.push_back(std::move(name));
  }
  return order;
}

const AdapterModule* FindModule(const Adapter& adapter, const std::string& name) {
  const auto found = adapter.modules.find(name);
  return found == adapter.modules.end() ? nullptr : &found->second;
}

std::vector<float> Values(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.NumElements()));
  Dequantize(tensor.dtype, tensor.data, tensor.NumElements(), values.data());
  return values;
}

// Columns [first, first + cols) of A.
std::vector<float> DownColumns(const AdapterModule& module, int64_t first, int64_t cols) {
  std::vector<float> values = Values(module.a);
  const int64_t width = module.a.shape[1];
  if (cols == width) return values;
  std::vector<float> columns;
  columns.reserve(static_cast<size_t>(module.rank() * cols));
  for (int64_t r = 0; r < module.rank(); ++r) {
    const auto row = values.begin() + r * width + first;
    columns.insert(columns.end(), row, row + cols);
  }
  return columns;
}

// Appends the block's rows of scale * B. (Rows of heads that a GGUF file keeps in another order are
// prepared in the order of B: see MatrixSource::interleaved_heads.)
void AppendUpRows(const AdapterModule& module, const std::vector<float>& b, const RowBlock& block,
                  std::vector<float>* out) {
  const int64_t rank = module.rank();
  const auto scale = static_cast<float>(module.scale);
  const int64_t run = block.run == 0 ? block.rows : block.run;
  for (int64_t done = 0; done < block.rows; done += run) {
    const int64_t first = block.first + done / run * block.stride;
    const auto begin = b.begin() + first * rank;
    std::transform(begin, begin + run * rank, std::back_inserter(*out),
                   [scale](float value) { return scale * value; });
  }
}

absl::Status CheckShapes(const std::string& name, const AdapterModule& module,
                         const WeightSpec& weight, const RowBlock& part) {
  const bool is_embedding = weight.role == WeightRole::kEmbedding;
  if (module.is_embedding != is_embedding) {
    return absl::InvalidArgumentError(
        Concat("tensor '", module.a.name, "': expected a name that ends in ",
               is_embedding ? "lora_embedding_A" : "lora_A.weight", ", for '", name, "'"));
  }
  const std::vector<int64_t> table = {part.module_rows, weight.module_cols()};
  if (!module.base_shape.empty() && module.base_shape != table) {
    return absl::InvalidArgumentError(Concat("the weight of '", name, "' beside its adapter has ",
                                             module.base_shape.front(), " rows: expected [",
                                             table[0], ", ", table[1], "], as the model has it"));
  }
  const int64_t inputs = is_embedding ? table[0] : table[1];
  const int64_t outputs = is_embedding ? table[1] : table[0];
  if (module.a.shape[1] != inputs) {
    return absl::InvalidArgumentError(Concat("tensor '", module.a.name, "' ",
                                             module.a.ShapeString(), ": expected ", inputs,
                                             " columns, the inputs of '", name, "'"));
  }
  if (module.b.shape[0] != outputs) {
    return absl::InvalidArgumentError(Concat("tensor '", module.b.name, "' ",
                                             module.b.ShapeString(), ": expected ", outputs,
                                             " rows, the outputs of '", name, "'"));
  }
  return absl::OkStatus();
}

// Of an embedding, whose rows are tokens: of A the columns of its tokens, of B everything.
LoraMatrices EmbeddingMatrices(const WeightSpec& weight, const Adapter& adapter) {
  const RowBlock& tokens = weight.parts.front();
  const AdapterModule* const module = FindModule(adapter, AdapterName(weight, tokens));
  LoraMatrices matrices = {{0}, {{}}, {{}}};
  if (module == nullptr) return matrices;
  matrices.ranks = {module->rank()};
  matrices.a = {DownColumns(*module, tokens.first, tokens.rows)};
  AppendUpRows(*module, Values(module->b), WholeModule("", weight.cols), &matrices.b.front());
  return matrices;
}

}  // namespace

bool TakesAdapters(const WeightSpec& weight) {
  switch (weight.role) {
    case WeightRole::kQkv:
    case WeightRole::kQueryUp:
    case WeightRole::kAttentionOut:
    case WeightRole::kMlpIn:
    case WeightRole::kMlpOut:
    case WeightRole::kEmbedding:
    case WeightRole::kLogits:
      return weight.split != Split::kExpert;
    default:
      return false;
  }
}

absl::Status CheckAdapter(const Adapter& adapter, const std::vector<WeightSpec>& declared,
                          const AdapterLimits& limits) {
  if (adapter.max_rank() > limits.max_rank) {
    return absl::InvalidArgumentError(Concat("the adapter has rank ", adapter.max_rank(),
                                             ": expected at most max_lora_rank, ",
                                             limits.max_rank));
  }
  std::map<std::string, std::pair<const WeightSpec*, const RowBlock*>> known;
  for (const WeightSpec& weight : declared) {
    if (!TakesAdapters(weight)) continue;
    for (const RowBlock& part : weight.parts) {
      known.emplace(AdapterName(weight, part), std::pair(&weight, &part));
    }
  }
  for (const auto& [name, module] : adapter.modules) {
    const auto found = known.find(name);
    if (found == known.end()) {
      return absl::InvalidArgumentError(
          Concat("module '", name, "' is none of the model's that take adapters: expected linear ",
                 "modules inside layers, the embedding or lm_head, such as '",
                 known.empty() ? std::string("none") : known.rbegin()->first, "'"));
    }
    const absl::Status fits =
        CheckShapes(name, module, *found->second.first, *found->second.second);
    if (!fits.ok()) return fits;
  }
  return absl::OkStatus();
}

LoraShape LoraShapeOf(const WeightSpec& weight, const AdapterLimits& limits) {
  const ModuleOrder order = OrderOf(weight);
  LoraShape shape;
  if (weight.role == WeightRole::kEmbedding) {
    shape.use = LoraUse::kEmbedding;
    shape.in_features = weight.rows();
    shape.num_modules = 1;
    shape.parts = {{0, weight.cols}};
    shape.max_rank = limits.max_rank;
    shape.num_slots = limits.max_adapters;
    return shape;
  }
  if (weight.role == WeightRole::kLogits) shape.use = LoraUse::kLogits;
  shape.in_features = weight.cols;
  shape.num_modules = static_cast<int32_t>(order.names.size());
  shape.max_rank = limits.max_rank;
  shape.num_slots = limits.max_adapters;
  for (size_t i = 0; i < weight.parts.size(); ++i) {
    if (shape.parts.empty() || shape.parts.back().module != order.of_part[i]) {
      shape.parts.push_back({order.of_part[i], 0});
    }
    shape.parts.back().columns += weight.parts[i].rows;
  }
  return shape;
}

LoraMatrices LoraMatricesOf(const WeightSpec& weight, const Adapter& adapter) {
  if (weight.role == WeightRole::kEmbedding) return EmbeddingMatrices(weight, adapter);
  const ModuleOrder order = OrderOf(weight);
  LoraMatrices matrices;
  std::vector<std::vector<float>> b;  // by module, whole
  for (const std::string& name : order.names) {
    const AdapterModule* module = FindModule(adapter, name);
    matrices.ranks.push_back(module == nullptr ? 0 : module->rank());
    matrices.a.push_back(module == nullptr
                             ? std::vector<float>()
                             : DownColumns(*module, weight.columns.first, weight.cols));
    b.push_back(module == nullptr ? std::vector<float>() : Values(module->b));
  }
  int32_t last = -1;
  for (size_t i = 0; i < weight.parts.size(); ++i) {
    const int32_t index = order.of_part[i];
    if (std::exchange(last, index) != index) matrices.b.emplace_back();
    const AdapterModule* module = FindModule(adapter, order.names[static_cast<size_t>(index)]);
    if (module == nullptr) continue;
    AppendUpRows(*module, b[static_cast<size_t>(index)], weight.parts[i], &matrices.b.back());
  }
  return matrices;
}

}  // namespace pingti::worker
