#include "worker/model/adapter_weights.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
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

size_t PartsPerExpert(const WeightSpec& weight) {
  return weight.parts.size() / static_cast<size_t>(weight.experts);
}

// A block of rows of one expert's gate, up or down, as adapters have it: in a module of the expert,
// or in a stack of all experts' modules, in which gate and up are one.
struct ExpertPart {
  int64_t expert = 0;              // of the layer
  std::vector<std::string> names;  // that the expert's module may have
  RowBlock block;                  // of that module
  RowBlock of_stack;               // of the expert's module in a stack
};

// A module's layer, as Hugging Face checkpoints begin its name: "model.layers.0.".
std::string LayerPrefix(std::string_view module) {
  constexpr std::string_view kLayers = "layers.";
  constexpr std::string_view kBlock = "blk.";
  const bool is_gguf = module.starts_with(kBlock);
  const size_t number = is_gguf ? kBlock.size() : module.find(kLayers) + kLayers.size();
  const size_t end = module.find('.', number) + 1;
  if (is_gguf) return Concat("model.layers.", module.substr(number, end - number));
  return std::string(module.substr(0, end));
}

// Whether a module is of one expert: "mlp.experts.7.up_proj", not "ffn_up_exps".
bool IsOfOneExpert(std::string_view module) {
  constexpr std::string_view kExperts = ".experts.";
  const size_t at = module.find(kExperts);
  return at != std::string_view::npos &&
         absl::ascii_isdigit(static_cast<unsigned char>(module[at + kExperts.size()]));
}

// Part i of a weight of experts. Mixtral's modules have names of their own in its checkpoints and
// in adapters that were made of them.
ExpertPart ExpertPartOf(const WeightSpec& weight, size_t i) {
  struct Names {
    std::string_view usual, mixtral;
  };
  constexpr Names kIn[] = {{"gate_proj", "w1"}, {"up_proj", "w3"}};
  constexpr Names kOut = {"down_proj", "w2"};
  const size_t per_expert = PartsPerExpert(weight);
  PINGTI_CHECK(per_expert == (weight.role == WeightRole::kExpertsIn ? 2 : 1));
  const Names& names = weight.role == WeightRole::kExpertsIn ? kIn[i % per_expert] : kOut;
  const RowBlock& rows = weight.parts[i];
  const int64_t expert = weight.first_expert + static_cast<int64_t>(i / per_expert);
  const std::string layer = LayerPrefix(rows.module);
  ExpertPart part;
  part.names = {Concat(layer, "mlp.experts.", expert, ".", names.usual),
                Concat(layer, "block_sparse_moe.experts.", expert, ".", names.mixtral)};
  part.expert = expert;
  part.block = {part.names.front(), rows.rows, rows.first, rows.module_rows};
  if (!IsOfOneExpert(rows.module)) {
    // A module of all experts, which may have rows of gate and up in turn.
    const int64_t step = rows.run == 0 ? 1 : rows.stride;
    const int64_t stack = rows.module_rows / weight.layer_experts;
    part.block.first = (rows.first - expert * stack) / step;
    part.block.module_rows = stack / step;
  }
  part.of_stack = part.block;
  part.of_stack.module = Concat(layer, "mlp.experts.down_proj");
  if (weight.role == WeightRole::kExpertsOut) return part;
  part.of_stack.module = Concat(layer, "mlp.experts.gate_up_proj");
  part.of_stack.module_rows *= 2;
  const auto which = static_cast<int64_t>(i % per_expert);
  if (weight.gate_and_up_alternate) {
    part.of_stack.first = 2 * part.block.first + which;
    part.of_stack.run = 1;
    part.of_stack.stride = 2;
  } else {
    part.of_stack.first += which * part.block.module_rows;
  }
  return part;
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

const AdapterModule* FindModule(const Adapter& adapter, const ExpertPart& part) {
  for (const std::string& name : part.names) {
    if (const AdapterModule* module = FindModule(adapter, name); module != nullptr) return module;
  }
  return nullptr;
}

std::vector<float> Values(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.NumElements()));
  Dequantize(tensor.dtype, tensor.data, tensor.NumElements(), values.data());
  return values;
}

// Columns [first, first + cols) of rows of `width` values.
std::vector<float> Columns(const std::vector<float>& values, int64_t width, int64_t first,
                           int64_t cols) {
  if (cols == width) return values;
  const int64_t rows = static_cast<int64_t>(values.size()) / width;
  std::vector<float> columns;
  columns.reserve(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = values.begin() + r * width + first;
    columns.insert(columns.end(), row, row + cols);
  }
  return columns;
}

// Columns [first, first + cols) of A.
std::vector<float> DownColumns(const AdapterModule& module, int64_t first, int64_t cols) {
  return Columns(Values(module.a), module.a.shape[1], first, cols);
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
  const bool is_stack = weight.is_of_experts() && !IsOfOneExpert(name);
  const int64_t experts = is_stack ? weight.layer_experts : 1;
  if (module.experts != experts) {
    return absl::InvalidArgumentError(Concat("tensor '", module.a.name, "' ",
                                             module.a.ShapeString(), ": expected ",
                                             experts * module.rank(), " rows, a rank of ",
                                             module.rank(), " for each of ", experts, " experts"));
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

// One expert's B of a stack's, [out_features, rank].
std::vector<float> UpOfExpert(const AdapterModule& stack, const std::vector<float>& b,
                              int64_t expert) {
  std::vector<float> values;
  values.reserve(b.size() / static_cast<size_t>(stack.experts));
  for (size_t i = static_cast<size_t>(expert); i < b.size();
       i += static_cast<size_t>(stack.experts)) {
    values.push_back(b[i]);
  }
  return values;
}

// Of every expert's modules in turn.
LoraMatrices ExpertMatrices(const WeightSpec& weight, const Adapter& adapter) {
  const AdapterModule* const stack = FindModule(adapter, ExpertPartOf(weight, 0).of_stack.module);
  const std::vector<float> stack_a = stack == nullptr ? std::vector<float>() : Values(stack->a);
  const std::vector<float> stack_b = stack == nullptr ? std::vector<float>() : Values(stack->b);
  LoraMatrices matrices;
  for (size_t i = 0; i < weight.parts.size(); ++i) {
    const ExpertPart part = ExpertPartOf(weight, i);
    const AdapterModule* const module = stack != nullptr ? stack : FindModule(adapter, part);
    matrices.ranks.push_back(module == nullptr ? 0 : module->rank());
    std::vector<float>& a = matrices.a.emplace_back();
    std::vector<float>& b = matrices.b.emplace_back();
    if (module == nullptr) continue;
    if (stack == nullptr) {
      a = DownColumns(*module, weight.columns.first, weight.cols);
      AppendUpRows(*module, Values(module->b), part.block, &b);
      continue;
    }
    const int64_t width = stack->a.shape[1];
    const auto first = stack_a.begin() + part.expert * stack->rank() * width;
    a = Columns({first, first + stack->rank() * width}, width, weight.columns.first, weight.cols);
    AppendUpRows(*stack, UpOfExpert(*stack, stack_b, part.expert), part.of_stack, &b);
  }
  return matrices;
}

// The modules of a weight of experts, by the names that adapters may have for them. Errors:
// InvalidArgument where an adapter has one of them twice.
using KnownModules = std::map<std::string, std::pair<const WeightSpec*, RowBlock>>;
absl::Status AddExperts(const WeightSpec& weight, const Adapter& adapter, KnownModules* known) {
  for (size_t i = 0; i < weight.parts.size(); ++i) {
    const ExpertPart part = ExpertPartOf(weight, i);
    known->emplace(part.of_stack.module, std::pair(&weight, part.of_stack));
    const bool has_stack = FindModule(adapter, part.of_stack.module) != nullptr;
    std::string_view has = has_stack ? part.of_stack.module : std::string_view();
    for (const std::string& name : part.names) {
      known->emplace(name, std::pair(&weight, part.block));
      if (FindModule(adapter, name) == nullptr) continue;
      if (!has.empty()) {
        return absl::InvalidArgumentError(
            Concat("modules '", has, "' and '", name, "' are of one matrix of the model"));
      }
      has = name;
    }
  }
  return absl::OkStatus();
}

// Of a weight of experts, parts are those of one.
LoraShape ExpertShape(const WeightSpec& weight) {
  LoraShape shape;
  shape.use = LoraUse::kExperts;
  shape.experts = weight.experts;
  shape.in_features = weight.cols;
  shape.num_modules = static_cast<int32_t>(PartsPerExpert(weight));
  for (int32_t m = 0; m < shape.num_modules; ++m) {
    shape.parts.push_back({m, weight.parts[static_cast<size_t>(m)].rows});
  }
  return shape;
}

}  // namespace

bool TakesAdapters(const WeightSpec& weight) {
  switch (weight.role) {
    case WeightRole::kQkv:
    case WeightRole::kQueryUp:
    case WeightRole::kAttentionOut:
    case WeightRole::kMlpIn:
    case WeightRole::kMlpOut:
    case WeightRole::kExpertsIn:
    case WeightRole::kExpertsOut:
    case WeightRole::kEmbedding:
    case WeightRole::kLogits:
      return true;
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
  KnownModules known;
  for (const WeightSpec& weight : declared) {
    if (!TakesAdapters(weight)) continue;
    if (weight.is_of_experts()) {
      PINGTI_RETURN_IF_ERROR(AddExperts(weight, adapter, &known));
      continue;
    }
    for (const RowBlock& part : weight.parts) {
      known.emplace(AdapterName(weight, part), std::pair(&weight, part));
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
    PINGTI_RETURN_IF_ERROR(CheckShapes(name, module, *found->second.first, found->second.second));
  }
  return absl::OkStatus();
}

LoraShape LoraShapeOf(const WeightSpec& weight, const AdapterLimits& limits) {
  if (weight.is_of_experts()) {
    LoraShape shape = ExpertShape(weight);
    shape.max_rank = limits.max_rank;
    shape.num_slots = limits.max_adapters;
    return shape;
  }
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
  if (weight.is_of_experts()) return ExpertMatrices(weight, adapter);
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
