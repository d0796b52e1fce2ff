#include "worker/weights/hf_config.h"

#include <boost/json.hpp>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/json_fields.h"
#include "worker/weights/qwen1.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 30;

absl::StatusOr<double> NumberOr(const JsonFields& fields, std::string_view key, double fallback) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> value, fields.Number(key));
  return value.value_or(fallback);
}

absl::StatusOr<bool> BoolOr(const JsonFields& fields, std::string_view key, bool fallback) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> value, fields.Bool(key));
  return value.value_or(fallback);
}

// The families, by the class that transformers names in `architectures`.
absl::Status ReadFamily(const JsonFields& fields, ModelConfig* config) {
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> classes,
                          fields.StringList("architectures"));
  const std::string name = classes.empty() ? "" : classes[0];
  if (name == "LlamaForCausalLM") {
    config->architecture = "llama";
  } else if (name == "MistralForCausalLM") {
    config->architecture = "mistral";
  } else if (name == "Qwen2ForCausalLM") {
    config->architecture = "qwen2";
  } else if (name == "Qwen3ForCausalLM") {
    config->architecture = "qwen3";
  } else if (name == kQwen1Class) {
    config->architecture = "qwen";
  } else {
    return absl::UnimplementedError(
        Concat("'architectures' names '", name,
               "'; expected LlamaForCausalLM, MistralForCausalLM, QWenLMHeadModel, "
               "Qwen2ForCausalLM or Qwen3ForCausalLM"));
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonFields& fields, ModelConfig* config) {
  PINGTI_ASSIGN_OR_RETURN(config->num_layers, fields.RequiredInt("num_hidden_layers", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(config->hidden_size, fields.RequiredInt("hidden_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(config->intermediate_size,
                          fields.RequiredInt("intermediate_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(config->num_heads, fields.RequiredInt("num_attention_heads", 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(
      config->num_kv_heads,
      fields.IntOr("num_key_value_heads", config->num_heads, 1, config->num_heads));
  if (config->num_heads % config->num_kv_heads != 0) {
    return absl::InvalidArgumentError(Concat("'num_attention_heads' ", config->num_heads,
                                             " is not a multiple of 'num_key_value_heads' ",
                                             config->num_kv_heads));
  }
  PINGTI_ASSIGN_OR_RETURN(
      config->head_dim,
      fields.IntOr("head_dim", config->hidden_size / config->num_heads, 1, 1 << 16));
  if (config->head_dim < 2 || config->head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("heads of ", config->head_dim, " dimensions; expected an even number"));
  }
  PINGTI_ASSIGN_OR_RETURN(config->vocab_size, fields.RequiredInt("vocab_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(config->max_context,
                          fields.RequiredInt("max_position_embeddings", 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(config->rms_norm_eps, NumberOr(fields, "rms_norm_eps", 1e-6));
  PINGTI_ASSIGN_OR_RETURN(config->tie_embeddings, BoolOr(fields, "tie_word_embeddings", false));
  return absl::OkStatus();
}

absl::Status ReadOptions(const JsonFields& fields, ModelConfig* config) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> act, fields.String("hidden_act"));
  if (act.value_or("silu") != "silu") {
    return absl::UnimplementedError(Concat("'hidden_act' '", *act, "'; expected silu"));
  }
  PINGTI_ASSIGN_OR_RETURN(const double partial, NumberOr(fields, "partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    return absl::UnimplementedError(Concat("'partial_rotary_factor' ", partial, "; expected 1"));
  }
  // Qwen2 always has biases on q, k and v, and says so nowhere.
  PINGTI_ASSIGN_OR_RETURN(const bool attention_bias, BoolOr(fields, "attention_bias", false));
  config->qkv_bias = attention_bias || config->architecture == "qwen2";
  config->o_bias = attention_bias && config->architecture != "qwen2";
  PINGTI_ASSIGN_OR_RETURN(config->mlp_bias, BoolOr(fields, "mlp_bias", false));
  config->qk_norm = config->architecture == "qwen3";
  return absl::OkStatus();
}

// Which layers see a window: `layer_types` where it is given; else all of Mistral's, and Qwen's
// from max_window_layers on when use_sliding_window is set.
absl::Status ReadWindows(const JsonFields& fields, ModelConfig* config) {
  config->window.assign(static_cast<size_t>(config->num_layers), 0);
  if (config->architecture == "llama") return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const int64_t window, fields.IntOr("sliding_window", 0, 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(const bool use,
                          BoolOr(fields, "use_sliding_window", config->architecture == "mistral"));
  if (window == 0 || !use) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> types, fields.StringList("layer_types"));
  if (!types.empty() && types.size() != config->window.size()) {
    return absl::InvalidArgumentError(
        Concat("'layer_types' has ", types.size(), " entries; expected ", config->num_layers));
  }
  PINGTI_ASSIGN_OR_RETURN(
      const int64_t full_layers,
      fields.IntOr("max_window_layers", config->architecture == "mistral" ? 0 : config->num_layers,
                   0, kMaxSize));
  for (size_t i = 0; i < config->window.size(); ++i) {
    bool sliding = static_cast<int64_t>(i) >= full_layers;
    if (!types.empty()) {
      if (types[i] != "full_attention" && types[i] != "sliding_attention") {
        return absl::UnimplementedError(Concat("'layer_types' holds '", types[i],
                                               "'; expected full_attention or sliding_attention"));
      }
      sliding = types[i] == "sliding_attention";
    }
    config->window[i] = sliding ? window : 0;
  }
  return absl::OkStatus();
}

absl::Status ReadYarn(const JsonFields& fields, RopeConfig* rope) {
  PINGTI_ASSIGN_OR_RETURN(rope->beta_fast, NumberOr(fields, "beta_fast", 32.0));
  PINGTI_ASSIGN_OR_RETURN(rope->beta_slow, NumberOr(fields, "beta_slow", 1.0));
  PINGTI_ASSIGN_OR_RETURN(rope->truncate, BoolOr(fields, "truncate", true));
  PINGTI_ASSIGN_OR_RETURN(rope->attention_factor, fields.Number("attention_factor"));
  PINGTI_ASSIGN_OR_RETURN(rope->mscale, fields.Number("mscale"));
  PINGTI_ASSIGN_OR_RETURN(rope->mscale_all_dim, fields.Number("mscale_all_dim"));
  rope->scaling = RopeScaling::kYarn;
  return absl::OkStatus();
}

// `fields` is rope_scaling (transformers 4) or rope_parameters (transformers 5).
absl::Status ReadScaling(const JsonFields& fields, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> type, fields.String("rope_type"));
  if (!type.has_value()) {
    PINGTI_ASSIGN_OR_RETURN(type, fields.String("type"));
  }
  PINGTI_ASSIGN_OR_RETURN(rope.theta, NumberOr(fields, "rope_theta", rope.theta));
  if (!type.has_value() || *type == "default") return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(
      rope.original_max_position,
      fields.IntOr("original_max_position_embeddings", config->max_context, 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(std::optional<double> factor, fields.Number("factor"));
  if (!factor.has_value() && *type == "yarn") {
    factor =
        static_cast<double>(config->max_context) / static_cast<double>(rope.original_max_position);
  }
  if (!factor.has_value() || *factor < 1.0) {
    return absl::InvalidArgumentError(
        Concat("rotary scaling '", *type, "' needs a 'factor' of 1 or more"));
  }
  rope.factor = *factor;
  const auto stretched = [&](int64_t length) {
    return std::min(kMaxContext, static_cast<int64_t>(static_cast<double>(length) * *factor));
  };
  if (*type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    config->max_context = stretched(config->max_context);
  } else if (*type == "dynamic") {
    rope.scaling = RopeScaling::kDynamicNtk;
    rope.original_max_position = config->max_context;
    config->max_context = stretched(config->max_context);
  } else if (*type == "yarn") {
    config->max_context = std::max(config->max_context, stretched(rope.original_max_position));
    return ReadYarn(fields, &rope);
  } else if (*type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    PINGTI_ASSIGN_OR_RETURN(rope.low_freq_factor, NumberOr(fields, "low_freq_factor", 1.0));
    PINGTI_ASSIGN_OR_RETURN(rope.high_freq_factor, NumberOr(fields, "high_freq_factor", 4.0));
    if (rope.low_freq_factor <= 0.0 || rope.high_freq_factor <= rope.low_freq_factor) {
      return absl::InvalidArgumentError(
          "rotary scaling 'llama3' needs 0 < 'low_freq_factor' < "
          "'high_freq_factor'");
    }
  } else {
    return absl::UnimplementedError(
        Concat("rotary scaling '", *type, "'; expected default, linear, dynamic, yarn or llama3"));
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const JsonFields& fields, ModelConfig* config) {
  PINGTI_ASSIGN_OR_RETURN(config->rope.theta, NumberOr(fields, "rope_theta", 10000.0));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    PINGTI_ASSIGN_OR_RETURN(const json::object* scaling, fields.Object(key));
    if (scaling == nullptr) continue;
    PINGTI_RETURN_IF_ERROR(ReadScaling(JsonFields(*scaling, Concat(key, ".")), config));
    break;
  }
  if (!(config->rope.theta > 1.0)) {
    return absl::InvalidArgumentError(
        Concat("'rope_theta' is ", config->rope.theta, "; expected more than 1"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HfConfig> ParseHfConfig(std::string_view config_json) {
  PINGTI_ASSIGN_OR_RETURN(const json::value root, ParseJsonObject(config_json));
  const JsonFields fields(root.get_object(), "");
  HfConfig config;
  PINGTI_RETURN_IF_ERROR(ReadFamily(fields, &config.model));
  if (config.model.architecture == "qwen") {
    PINGTI_RETURN_IF_ERROR(ReadQwen1Config(fields, &config.model));
  } else {
    PINGTI_RETURN_IF_ERROR(ReadSizes(fields, &config.model));
    PINGTI_RETURN_IF_ERROR(ReadOptions(fields, &config.model));
    PINGTI_RETURN_IF_ERROR(ReadWindows(fields, &config.model));
    PINGTI_RETURN_IF_ERROR(ReadRope(fields, &config.model));
  }
  PINGTI_ASSIGN_OR_RETURN(config.quantization, ReadHfQuantization(fields));
  PINGTI_ASSIGN_OR_RETURN(config.bos_token_id, fields.Int("bos_token_id"));
  PINGTI_ASSIGN_OR_RETURN(config.eos_token_ids, fields.IntList("eos_token_id"));
  PINGTI_ASSIGN_OR_RETURN(config.pad_token_id, fields.Int("pad_token_id"));
  return config;
}

}  // namespace pingti::worker
