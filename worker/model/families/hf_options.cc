#include "worker/model/families/hf_options.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

absl::Status ReadSizes(const JsonFields& fields, DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(options->num_layers, fields.RequiredInt("num_hidden_layers", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(options->hidden_size, fields.RequiredInt("hidden_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(options->inner_size,
                          fields.RequiredInt("intermediate_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(options->num_heads,
                          fields.RequiredInt("num_attention_heads", 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(
      options->num_kv_heads,
      fields.IntOr("num_key_value_heads", options->num_heads, 1, options->num_heads));
  if (options->num_heads % options->num_kv_heads != 0) {
    return absl::InvalidArgumentError(Concat("'num_attention_heads' ", options->num_heads,
                                             " is not a multiple of 'num_key_value_heads' ",
                                             options->num_kv_heads));
  }
  PINGTI_ASSIGN_OR_RETURN(
      options->head_dim,
      fields.IntOr("head_dim", options->hidden_size / options->num_heads, 1, 1 << 16));
  if (options->head_dim < 2 || options->head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("heads of ", options->head_dim, " dimensions; expected an even number"));
  }
  PINGTI_ASSIGN_OR_RETURN(options->vocab_size, fields.RequiredInt("vocab_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(options->max_context,
                          fields.RequiredInt("max_position_embeddings", 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(options->norm_eps, fields.NumberOr("rms_norm_eps", 1e-6));
  PINGTI_ASSIGN_OR_RETURN(options->tied_embeddings, fields.BoolOr("tie_word_embeddings", false));
  return absl::OkStatus();
}

absl::Status ReadYarn(const JsonFields& fields, RopeConfig* rope) {
  PINGTI_ASSIGN_OR_RETURN(rope->beta_fast, fields.NumberOr("beta_fast", 32.0));
  PINGTI_ASSIGN_OR_RETURN(rope->beta_slow, fields.NumberOr("beta_slow", 1.0));
  PINGTI_ASSIGN_OR_RETURN(rope->truncate, fields.BoolOr("truncate", true));
  PINGTI_ASSIGN_OR_RETURN(rope->attention_factor, fields.Number("attention_factor"));
  PINGTI_ASSIGN_OR_RETURN(rope->mscale, fields.Number("mscale"));
  PINGTI_ASSIGN_OR_RETURN(rope->mscale_all_dim, fields.Number("mscale_all_dim"));
  rope->scaling = RopeScaling::kYarn;
  return absl::OkStatus();
}

// `fields` is rope_scaling (transformers 4) or rope_parameters (transformers 5).
absl::Status ReadScaling(const JsonFields& fields, DenseOptions* options) {
  RopeConfig& rope = options->rope;
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> type, fields.String("rope_type"));
  if (!type.has_value()) {
    PINGTI_ASSIGN_OR_RETURN(type, fields.String("type"));
  }
  PINGTI_ASSIGN_OR_RETURN(rope.theta, fields.NumberOr("rope_theta", rope.theta));
  PINGTI_RETURN_IF_ERROR(ExpectHfNumber(fields, "partial_rotary_factor", 1.0));
  if (!type.has_value() || *type == "default") return absl::OkStatus();
  if (*type != "linear" && *type != "dynamic" && *type != "yarn" && *type != "llama3") {
    return absl::UnimplementedError(
        Concat("rotary scaling '", *type, "'; expected default, linear, dynamic, yarn or llama3"));
  }
  PINGTI_ASSIGN_OR_RETURN(
      rope.original_max_position,
      fields.IntOr("original_max_position_embeddings", options->max_context, 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(std::optional<double> factor, fields.Number("factor"));
  if (!factor.has_value() && *type == "yarn") {
    factor =
        static_cast<double>(options->max_context) / static_cast<double>(rope.original_max_position);
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
    options->max_context = stretched(options->max_context);
  } else if (*type == "dynamic") {
    rope.scaling = RopeScaling::kDynamicNtk;
    rope.original_max_position = options->max_context;
    options->max_context = stretched(options->max_context);
  } else if (*type == "yarn") {
    options->max_context = std::max(options->max_context, stretched(rope.original_max_position));
    return ReadYarn(fields, &rope);
  } else if (*type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    PINGTI_ASSIGN_OR_RETURN(rope.low_freq_factor, fields.NumberOr("low_freq_factor", 1.0));
    PINGTI_ASSIGN_OR_RETURN(rope.high_freq_factor, fields.NumberOr("high_freq_factor", 4.0));
    if (rope.low_freq_factor <= 0.0 || rope.high_freq_factor <= rope.low_freq_factor) {
      return absl::InvalidArgumentError(
          "rotary scaling 'llama3' needs 0 < 'low_freq_factor' < "
          "'high_freq_factor'");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadHfDense(const JsonFields& fields, DenseOptions* options) {
  PINGTI_RETURN_IF_ERROR(ReadSizes(fields, options));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(fields, "hidden_act", "silu"));
  PINGTI_RETURN_IF_ERROR(ExpectHfNumber(fields, "partial_rotary_factor", 1.0));
  return ReadHfRope(fields, options);
}

absl::Status ReadHfRope(const JsonFields& fields, DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(options->rope.theta, fields.NumberOr("rope_theta", 10000.0));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    PINGTI_ASSIGN_OR_RETURN(const json::object* scaling, fields.Object(key));
    if (scaling == nullptr) continue;
    PINGTI_RETURN_IF_ERROR(ReadScaling(JsonFields(*scaling, Concat(key, ".")), options));
    break;
  }
  if (!(options->rope.theta > 1.0)) {
    return absl::InvalidArgumentError(
        Concat("'rope_theta' is ", options->rope.theta, "; expected more than 1"));
  }
  return absl::OkStatus();
}

absl::Status ReadHfWindows(const JsonFields& fields, int64_t first_layer, DenseOptions* options) {
  options->window.assign(static_cast<size_t>(options->num_layers), 0);
  PINGTI_ASSIGN_OR_RETURN(const int64_t window, fields.IntOr("sliding_window", 0, 1, kMaxContext));
  if (window == 0) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> types, fields.StringList("layer_types"));
  if (!types.empty() && types.size() != options->window.size()) {
    return absl::InvalidArgumentError(
        Concat("'layer_types' has ", types.size(), " entries; expected ", options->num_layers));
  }
  for (size_t i = 0; i < options->window.size(); ++i) {
    bool sliding = static_cast<int64_t>(i) >= first_layer;
    if (!types.empty()) {
      if (types[i] != "full_attention" && types[i] != "sliding_attention") {
        return absl::UnimplementedError(Concat("'layer_types' holds '", types[i],
                                               "'; expected full_attention or sliding_attention"));
      }
      sliding = types[i] == "sliding_attention";
    }
    options->window[i] = sliding ? window : 0;
  }
  return absl::OkStatus();
}

absl::Status ExpectHfNumber(const JsonFields& fields, std::string_view key, double expected) {
  PINGTI_ASSIGN_OR_RETURN(const double value, fields.NumberOr(key, expected));
  if (value == expected) return absl::OkStatus();
  return absl::UnimplementedError(
      Concat("'", fields.Name(key), "' ", value, "; expected ", expected));
}

absl::Status ExpectHfString(const JsonFields& fields, std::string_view key,
                            std::string_view expected) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> value, fields.String(key));
  if (!value.has_value() || *value == expected) return absl::OkStatus();
  return absl::UnimplementedError(
      Concat("'", fields.Name(key), "' '", *value, "'; expected ", expected));
}

}  // namespace pingti::worker
