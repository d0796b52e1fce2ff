#include "worker/model/families/experts.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/weights/gguf_keys.h"

namespace pingti::worker {
namespace {

constexpr int64_t kMaxExperts = 1024;

ExpertsSpec MakeExperts(const ExpertsOptions& options, const ExpertsNames& names,
                        const std::string& layer, int64_t hidden) {
  const int64_t count = options.routing.num_experts;
  const int64_t inner = options.inner;
  ExpertsSpec experts;
  experts.routing = options.routing;
  experts.router = Concat(layer, names.router);
  if (!names.correction_bias.empty()) {
    experts.correction_bias = Concat(layer, names.correction_bias);
  }
  experts.inner = inner;
  for (int64_t e = 0; e < count; ++e) {
    const auto block = [&](std::string_view name, int64_t rows) -> RowBlock {
      if (names.experts.empty()) return {Concat(layer, name), rows, e * rows, count * rows};
      return WholeModule(Concat(layer, names.experts, e, ".", name), rows);
    };
    experts.gate_up.push_back(block(names.gate, inner));
    experts.gate_up.push_back(block(names.up, inner));
    experts.down.push_back(block(names.down, hidden));
  }
  if (options.shared_inner == 0) return experts;
  MlpSpec shared;
  shared.inner = options.shared_inner;
  shared.gate_up = {WholeModule(Concat(layer, names.shared_gate), shared.inner),
                    WholeModule(Concat(layer, names.shared_up), shared.inner)};
  shared.down = Concat(layer, names.shared_down);
  experts.shared = std::move(shared);
  if (options.shared_gate) experts.shared_gate = Concat(layer, names.shared_router);
  return experts;
}

}  // namespace

const ExpertsNames& GgufExpertsNames() {
  static constexpr ExpertsNames names = {.router = "ffn_gate_inp",
                                         .correction_bias = "",
                                         .experts = "",
                                         .gate = "ffn_gate_exps",
                                         .up = "ffn_up_exps",
                                         .down = "ffn_down_exps",
                                         .shared_router = "ffn_gate_inp_shexp",
                                         .shared_gate = "ffn_gate_shexp",
                                         .shared_up = "ffn_up_shexp",
                                         .shared_down = "ffn_down_shexp"};
  return names;
}

void AddExperts(const ExpertsOptions& options, const ExpertsNames& names, std::string_view layers,
                DecoderSpec* spec) {
  for (int64_t i = 0; i < spec->num_layers(); ++i) {
    if (!options.layers[static_cast<size_t>(i)]) continue;
    LayerSpec& layer = spec->layers[static_cast<size_t>(i)];
    layer.mlp = {};
    layer.experts = MakeExperts(options, names, Concat(layers, i, "."), spec->hidden_size);
  }
}

absl::Status ReadHfExperts(const JsonFields& config, int64_t num_layers, ExpertsOptions* options) {
  ExpertRouting& routing = options->routing;
  // Families say it in one of these ways.
  const char* count = "num_experts";
  for (const char* name : {"num_local_experts", "n_routed_experts"}) {
    if (config.Find(name) != nullptr) count = name;
  }
  PINGTI_ASSIGN_OR_RETURN(routing.num_experts, config.RequiredInt(count, 2, kMaxExperts));
  PINGTI_ASSIGN_OR_RETURN(routing.experts_per_token,
                          config.RequiredInt("num_experts_per_tok", 1, routing.num_experts));
  options->layers.assign(static_cast<size_t>(num_layers), true);
  return absl::OkStatus();
}

absl::Status ReadHfSparseLayers(const JsonFields& config, ExpertsOptions* options) {
  const auto num_layers = static_cast<int64_t>(options->layers.size());
  PINGTI_ASSIGN_OR_RETURN(const int64_t step, config.IntOr("decoder_sparse_step", 1, 1, kMaxSize));
  for (int64_t i = 0; i < num_layers; ++i) {
    options->layers[static_cast<size_t>(i)] = (i + 1) % step == 0;
  }
  PINGTI_ASSIGN_OR_RETURN(const std::vector<int64_t> dense, config.IntList("mlp_only_layers"));
  for (const int64_t layer : dense) {
    if (layer < 0 || layer >= num_layers) {
      return absl::InvalidArgumentError(
          Concat("'mlp_only_layers' names layer ", layer, "; expected 0 to ", num_layers - 1));
    }
    options->layers[static_cast<size_t>(layer)] = false;
  }
  return absl::OkStatus();
}

absl::Status ReadGgufExperts(const GgufFile& file, std::string_view architecture,
                             int64_t num_layers, ExpertsOptions* options) {
  const GgufKeys keys(file, Concat(architecture, "."));
  ExpertRouting& routing = options->routing;
  PINGTI_ASSIGN_OR_RETURN(routing.num_experts, keys.RequiredInt("expert_count", 2, kMaxExperts));
  PINGTI_ASSIGN_OR_RETURN(routing.experts_per_token,
                          keys.RequiredInt("expert_used_count", 1, routing.num_experts));
  for (int64_t i = 0; i < num_layers; ++i) {
    const auto name = [&](std::string_view module) {
      return Concat("blk.", i, ".", module, ".weight");
    };
    const std::string gate = name(GgufExpertsNames().gate);
    const TensorView* tensor = file.FindTensor(gate);
    options->layers.push_back(tensor != nullptr);
    if (tensor == nullptr) continue;
    if (tensor->shape.size() != 3) {
      return absl::InvalidArgumentError(
          Concat("tensor '", gate, "' ", tensor->ShapeString(), ": expected three dimensions"));
    }
    options->inner = tensor->shape[1];
    const TensorView* shared = file.FindTensor(name(GgufExpertsNames().shared_gate));
    if (shared != nullptr) options->shared_inner = shared->shape[0];
  }
  if (options->inner > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("expert_count is ", routing.num_experts,
                                           ", but no tensor is named blk.*.ffn_gate_exps.weight"));
}

}  // namespace pingti::worker
