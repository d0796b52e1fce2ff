#include "worker/model/families/hf_options.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/hf_rope.h"

namespace pingti::worker {
namespace {

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
  PINGTI_ASSIGN_OR_RETURN(options->norm_eps, fields.NumberOr("rms_norm_eps", 1e-6, 0.0, 1.0));
  PINGTI_ASSIGN_OR_RETURN(options->tied_embeddings, fields.BoolOr("tie_word_embeddings", false));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadHfDense(const JsonFields& fields, DenseOptions* options) {
  PINGTI_RETURN_IF_ERROR(ReadSizes(fields, options));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(fields, "hidden_act", "silu"));
  return ReadHfRope(fields, options);
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
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> given, fields.Number(key));
  const double value = given.value_or(expected);
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
