#include "worker/model/families/gpt_oss.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/experts.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"
#include "worker/weights/gguf_keys.h"

namespace pingti::worker {
namespace {

constexpr int64_t kSlidingStep = 2;  // layers 0, 2, 4 and so on see a window, the others everything

// Modules of a layer, without its prefix. Gate and up are rows of one module in turn, or modules.
struct Names {
  std::string_view sinks;  // the tensor's name
  std::string_view router;
  // Not empty: an expert's modules are this, its number, a dot and gate, up or down. Empty: modules
  // stack those of all experts.
  std::string_view experts;
  std::string_view gate_up;
  std::string_view gate;
  std::string_view up;
  std::string_view down;
};

constexpr Names kHfNames = {.sinks = "self_attn.sinks",
                            .router = "mlp.router",
                            .experts = "",
                            .gate_up = "mlp.experts.gate_up_proj",
                            .gate = "",
                            .up = "",
                            .down = "mlp.experts.down_proj"};

// As compressed-tensors' writers have it, which quantize modules alone.
constexpr Names kHfModules = {.sinks = "self_attn.sinks",
                              .router = "mlp.router",
                              .experts = "mlp.experts.",
                              .gate_up = "",
                              .gate = "gate_proj",
                              .up = "up_proj",
                              .down = "down_proj"};

constexpr Names kGgufNames = {.sinks = "attn_sinks.weight",
                              .router = "ffn_gate_inp",
                              .experts = "",
                              .gate_up = "",
                              .gate = "ffn_gate_exps",
                              .up = "ffn_up_exps",
                              .down = "ffn_down_exps"};

void AddGateUp(const Names& names, const std::string& layer, int64_t expert, int64_t count,
               int64_t inner, std::vector<RowBlock>* rows) {
  if (names.gate_up.empty()) {
    for (const std::string_view name : {names.gate, names.up}) {
      rows->push_back({Concat(layer, name), inner, expert * inner, count * inner});
    }
    return;
  }
  for (const int64_t half : {0, 1}) {
    RowBlock block{Concat(layer, names.gate_up), inner, expert * 2 * inner + half,
                   count * 2 * inner};
    block.run = 1;
    block.stride = 2;
    rows->push_back(std::move(block));
  }
}

ExpertsSpec MakeExperts(const ExpertsOptions& options, const Names& names, const std::string& layer,
                        int64_t hidden) {
  const int64_t count = options.routing.num_experts;
  ExpertsSpec experts;
  experts.routing = options.routing;
  experts.router = Concat(layer, names.router);
  experts.router_bias = true;
  experts.inner = options.inner;
  experts.function = ActivationFunction::kClampedSwiglu;
  experts.bias = true;
  experts.gate_and_up_alternate = true;
  for (int64_t e = 0; e < count; ++e) {
    if (!names.experts.empty()) {
      const std::string expert = Concat(layer, names.experts, e, ".");
      for (const std::string_view name : {names.gate, names.up}) {
        experts.gate_up.push_back(WholeModule(Concat(expert, name), options.inner));
      }
      experts.down.push_back(WholeModule(Concat(expert, names.down), hidden));
      continue;
    }
    AddGateUp(names, layer, e, count, options.inner, &experts.gate_up);
    experts.down.push_back({Concat(layer, names.down), hidden, e * hidden, count * hidden});
  }
  return experts;
}

DecoderSpec MakeDecoder(const DenseOptions& options, const ExpertsOptions& experts,
                        const DenseNames& dense, const Names& names, DecoderSpec spec) {
  for (int64_t i = 0; i < spec.num_layers(); ++i) {
    const std::string prefix = Concat(dense.layers, i, ".");
    LayerSpec& layer = spec.layers[static_cast<size_t>(i)];
    layer.attention.sinks = {WholeModule(Concat(prefix, names.sinks), options.num_heads)};
    layer.mlp = {};
    layer.experts = MakeExperts(experts, names, prefix, spec.hidden_size);
  }
  return spec;
}

// Softmax over the chosen experts is that over all of them, normalized.
void SetRouting(ExpertRouting* routing) { routing->normalize = true; }

void SlideEverySecond(std::vector<int64_t>* windows) {
  for (size_t i = 0; i < windows->size(); ++i) {
    if (i % kSlidingStep != 0) (*windows)[i] = 0;
  }
}

absl::StatusOr<bool> HasExpertModules(const JsonFields& config) {
  PINGTI_ASSIGN_OR_RETURN(const auto* quantization, config.Object("quantization_config"));
  if (quantization == nullptr) return false;
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> method,
                          JsonFields(*quantization, "quantization_config.").String("quant_method"));
  return method == "compressed-tensors";
}

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "gpt-oss";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_RETURN_IF_ERROR(ExpectHfNumber(config, "swiglu_alpha", 1.702));
  PINGTI_RETURN_IF_ERROR(ExpectHfNumber(config, "swiglu_limit", 7.0));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("attention_bias", true));
  options.out_bias = options.qkv_bias;
  PINGTI_RETURN_IF_ERROR(ReadHfWindows(config, /*first_layer=*/0, &options));
  if (config.Find("layer_types") == nullptr) SlideEverySecond(&options.window);
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadHfExperts(config, options.num_layers, &experts));
  SetRouting(&experts.routing);
  experts.inner = options.inner_size;
  PINGTI_ASSIGN_OR_RETURN(const bool modules, HasExpertModules(config));
  return MakeDecoder(options, experts, HfDenseNames(), modules ? kHfModules : kHfNames,
                     MakeDenseDecoder(options, HfDenseNames()));
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(DenseOptions options,
                          ReadGgufDense(file, "gpt-oss", {.has_experts = true}));
  options.rope.truncate = false;  // of YaRN, which no key tells
  SlideEverySecond(&options.window);
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadGgufExperts(file, "gpt-oss", options.num_layers, &experts));
  SetRouting(&experts.routing);
  DenseNames names = GgufDenseNames();
  names.mlp_norm = "post_attention_norm";
  return MakeDecoder(options, experts, names, kGgufNames, MakeGgufDenseDecoder(options, names));
}

}  // namespace

Family GptOssFamily() {
  return {.hf_class = "GptOssForCausalLM",
          .gguf_architecture = "gpt-oss",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
