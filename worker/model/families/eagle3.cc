#include "worker/model/families/eagle3.h"

#include <boost/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {
namespace {

DenseNames Names() {
  DenseNames names = HfDenseNames();
  names.embedding = "embed_tokens";
  names.final_norm = "norm";
  names.layers = "layers.";
  return names;
}

absl::Status CheckArchitecture(const JsonFields& config) {
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> classes,
                          config.StringList("architectures"));
  const std::string name = classes.empty() ? "" : classes[0];
  if (name == "LlamaForCausalLMEagle3" || name == "Eagle3LlamaForCausalLM") {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(Concat("'architectures' names '", name,
                                         "'; expected LlamaForCausalLMEagle3, an EAGLE-3 head"));
}

// Which layers' inputs the head reads. "eagle_config" counts as SGLang does, by the layer whose
// output that is; the field without it as vLLM does.
absl::StatusOr<std::vector<int64_t>> ReadLayers(const JsonFields& config, int64_t num_layers) {
  constexpr std::string_view kKey = "eagle_aux_hidden_state_layer_ids";
  PINGTI_ASSIGN_OR_RETURN(std::vector<int64_t> layers, config.IntList(kKey));
  PINGTI_ASSIGN_OR_RETURN(const boost::json::object* nested, config.Object("eagle_config"));
  if (layers.empty() && nested != nullptr) {
    PINGTI_ASSIGN_OR_RETURN(layers, JsonFields(*nested, "eagle_config.").IntList(kKey));
    for (int64_t& layer : layers) ++layer;
  }
  if (layers.empty()) layers = {2, num_layers / 2, num_layers - 3};
  std::set<int64_t> seen;
  for (const int64_t layer : layers) {
    if (!seen.insert(layer).second) {
      return absl::UnimplementedError(Concat("the head reads what layer ", layer,
                                             " begins with twice; expected layers that differ"));
    }
    if (layer >= 0 && layer < num_layers) continue;
    return absl::InvalidArgumentError(Concat("the head reads what layer ", layer,
                                             " begins with; the model has layers 0 to ",
                                             num_layers - 1));
  }
  return layers;
}

absl::Status ExpectSame(std::string_view what, int64_t heads, int64_t models) {
  if (heads == models) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat(std::string(what), " is ", heads, "; expected the model's, ", models));
}

absl::Status CheckFitsModel(const DenseOptions& options, const DecoderSpec& model) {
  const AttentionSpec& attention = model.layers.front().attention;
  PINGTI_RETURN_IF_ERROR(ExpectSame("'vocab_size'", options.vocab_size, model.vocab_size));
  PINGTI_RETURN_IF_ERROR(ExpectSame("'head_dim'", options.head_dim, attention.head_dim));
  // A GPU's attention takes so many rows of a key head at once.
  constexpr int64_t kMostHeadsPerGroup = 16;
  if (options.num_heads / options.num_kv_heads <= kMostHeadsPerGroup) return absl::OkStatus();
  return absl::UnimplementedError(Concat(options.num_heads / options.num_kv_heads,
                                         " heads per key and value head; expected at most ",
                                         kMostHeadsPerGroup));
}

}  // namespace

absl::StatusOr<DraftHeadSpec> ReadEagle3Config(const JsonFields& config, const DecoderSpec& model) {
  PINGTI_RETURN_IF_ERROR(CheckArchitecture(config));
  DenseOptions options;
  options.architecture = "eagle3";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  options.tied_embeddings = false;  // the head has its own output projection
  if (options.num_layers != 1) {
    return absl::UnimplementedError(
        Concat("'num_hidden_layers' is ", options.num_layers, "; expected 1 of an EAGLE-3 head"));
  }
  if (options.rope.rotary_dim != 0) {
    return absl::UnimplementedError("heads that rotate in part; expected all of an EAGLE-3 head");
  }
  PINGTI_RETURN_IF_ERROR(CheckFitsModel(options, model));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("attention_bias", false));
  options.out_bias = options.qkv_bias;
  PINGTI_ASSIGN_OR_RETURN(options.mlp_bias, config.BoolOr("mlp_bias", false));
  DraftHeadSpec spec;
  spec.decoder = MakeDenseDecoder(options, Names());
  spec.decoder.max_context = model.max_context;
  spec.decoder.repeated_tensors = {"d2t", "t2d"};
  PINGTI_ASSIGN_OR_RETURN(spec.own_vocabulary, config.IntOr("draft_vocab_size", options.vocab_size,
                                                            1, options.vocab_size));
  Eagle3Spec form;
  form.hidden_norm = {"layers.0.hidden_norm", options.norm_eps};
  PINGTI_ASSIGN_OR_RETURN(form.norm_before_residual, config.BoolOr("norm_before_residual", false));
  form.fc = "fc";
  PINGTI_ASSIGN_OR_RETURN(form.fc_bias, config.BoolOr("bias", false));
  spec.form = std::move(form);
  PINGTI_ASSIGN_OR_RETURN(spec.target_layers, ReadLayers(config, model.num_layers()));
  PINGTI_ASSIGN_OR_RETURN(spec.target_hidden,
                          config.IntOr("target_hidden_size", options.hidden_size, 1, kMaxSize));
  PINGTI_RETURN_IF_ERROR(
      ExpectSame("the hidden size that the head reads", spec.target_hidden, model.hidden_size));
  return spec;
}

std::string Eagle3TensorName(std::string_view name) {
  constexpr std::string_view kModel = "model.";
  constexpr std::string_view kLayer = "midlayer.";
  if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
  if (!name.starts_with(kLayer)) return std::string(name);
  return Concat("layers.0.", std::string(name.substr(kLayer.size())));
}

}  // namespace pingti::worker
