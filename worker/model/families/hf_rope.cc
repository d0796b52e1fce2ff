#include "worker/model/families/hf_rope.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr double kTiny = 1e-9;

absl::Status Missing(const JsonFields& fields, std::string_view key, std::string_view type) {
  return absl::InvalidArgumentError(
      Concat("'", fields.Name(key), "' is missing; rotary scaling '", type, "' needs it"));
}

absl::StatusOr<double> RequiredNumber(const JsonFields& fields, std::string_view key,
                                      std::string_view type, double min, double max) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> value, fields.NumberIn(key, min, max));
  if (!value.has_value()) return Missing(fields, key, type);
  return *value;
}

int64_t Stretched(int64_t length, double factor) {
  return static_cast<int64_t>(
      std::min(static_cast<double>(kMaxContext), static_cast<double>(length) * factor));
}

// What a checkpoint says about all of its layers. transformers 5 may give a set of parameters for
// each type of layer; all of them must then be the same.
absl::StatusOr<const json::object*> OneForAllLayers(const JsonFields& config, const char* key,
                                                    const json::object& given) {
  const bool by_type = std::any_of(given.begin(), given.end(),
                                   [](const auto& entry) { return entry.value().is_object(); });
  if (!by_type) return &given;
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> used, config.StringList("layer_types"));
  const json::object* first = nullptr;
  std::string first_type;
  for (const auto& entry : given) {
    const std::string type(entry.key().data(), entry.key().size());
    if (!entry.value().is_object()) {
      return absl::InvalidArgumentError(
          Concat("'", key, ".", type, "' is not an object, as the other entries are"));
    }
    if (!used.empty() && std::find(used.begin(), used.end(), type) == used.end()) continue;
    if (first == nullptr) {
      first = &entry.value().get_object();
      first_type = type;
    } else if (*first != entry.value().get_object()) {
      return absl::UnimplementedError(Concat("'", key, "' differs between '", first_type, "' and '",
                                             type, "'; expected the same for all layers"));
    }
  }
  if (first == nullptr) {
    return absl::InvalidArgumentError(
        Concat("'", key, "' has no entry of a type in 'layer_types'"));
  }
  return first;
}

absl::Status ReadYarn(const JsonFields& fields, RopeConfig* rope) {
  PINGTI_ASSIGN_OR_RETURN(rope->beta_fast, fields.NumberOr("beta_fast", 32.0, kTiny, 1e6));
  PINGTI_ASSIGN_OR_RETURN(rope->beta_slow, fields.NumberOr("beta_slow", 1.0, kTiny, 1e6));
  PINGTI_ASSIGN_OR_RETURN(rope->truncate, fields.BoolOr("truncate", true));
  PINGTI_ASSIGN_OR_RETURN(rope->mscale, fields.NumberIn("mscale", 0.0, 1e3));
  PINGTI_ASSIGN_OR_RETURN(rope->mscale_all_dim, fields.NumberIn("mscale_all_dim", 0.0, 1e3));
  rope->scaling = RopeScaling::kYarn;
  return absl::OkStatus();
}

absl::Status ReadLlama3(const JsonFields& fields, RopeConfig* rope) {
  PINGTI_ASSIGN_OR_RETURN(rope->low_freq_factor,
                          RequiredNumber(fields, "low_freq_factor", "llama3", kTiny, 1e6));
  PINGTI_ASSIGN_OR_RETURN(rope->high_freq_factor,
                          RequiredNumber(fields, "high_freq_factor", "llama3", kTiny, 1e6));
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    return absl::InvalidArgumentError(
        Concat("'", fields.Name("high_freq_factor"), "' is ", rope->high_freq_factor,
               "; expected more than 'low_freq_factor', ", rope->low_freq_factor));
  }
  rope->scaling = RopeScaling::kLlama3;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> ReadDivisors(const JsonFields& fields, std::string_view key,
                                                int64_t count) {
  const json::value* value = fields.Find(key);
  if (value == nullptr) return Missing(fields, key, "longrope");
  const auto wrong = [&] {
    return absl::InvalidArgumentError(Concat("'", fields.Name(key), "' is not an array of ", count,
                                             " positive numbers, one per pair of dimensions"));
  };
  if (!value->is_array() || static_cast<int64_t>(value->get_array().size()) != count) {
    return wrong();
  }
  std::vector<float> divisors;
  for (const json::value& item : value->get_array()) {
    json::error_code error;
    const double number = item.to_number<double>(error);
    if (error || !(number >= kTiny && number <= kMaxRopeFactor)) return wrong();
    divisors.push_back(static_cast<float>(number));
  }
  return divisors;
}

// Source: transformers' _compute_longrope_parameters; Ding et al., "LongRoPE" (2024).
absl::Status ReadLongRope(const JsonFields& fields, double factor, DenseOptions* options) {
  RopeConfig& rope = options->rope;
  const int64_t pairs = options->rotary_dim() / 2;
  PINGTI_ASSIGN_OR_RETURN(rope.freq_divisors, ReadDivisors(fields, "short_factor", pairs));
  PINGTI_ASSIGN_OR_RETURN(rope.long_divisors, ReadDivisors(fields, "long_factor", pairs));
  for (const char* key : {"short_mscale", "long_mscale"}) {
    if (fields.Find(key) != nullptr) {
      return absl::UnimplementedError(Concat("'", fields.Name(key), "'; expected none"));
    }
  }
  if (!rope.attention_factor.has_value() && factor > 1.0) {
    rope.attention_factor = std::sqrt(
        1.0 + std::log(factor) / std::log(static_cast<double>(rope.original_max_position)));
  }
  rope.scaling = RopeScaling::kLongRope;
  return absl::OkStatus();
}

// The stretching factor, where the file may leave it out: from the two context lengths.
absl::StatusOr<double> ReadFactor(const JsonFields& fields, std::string_view type,
                                  const DenseOptions& options) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> factor,
                          fields.NumberIn("factor", 1.0, kMaxRopeFactor));
  const double ratio = static_cast<double>(options.max_context) /
                       static_cast<double>(options.rope.original_max_position);
  if (type == "longrope") return std::max(1.0, ratio);
  if (factor.has_value()) return *factor;
  if (type == "yarn" && ratio >= 1.0) return ratio;
  return Missing(fields, "factor", type);
}

absl::Status ReadScaling(const JsonFields& config, const JsonFields& fields,
                         DenseOptions* options) {
  RopeConfig& rope = options->rope;
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> given, fields.String("rope_type"));
  if (!given.has_value()) {
    PINGTI_ASSIGN_OR_RETURN(given, fields.String("type"));
  }
  std::string type = given.value_or("default");
  if (type == "su") type = "longrope";  // as the first Phi-3 checkpoints call it
  // "mrope" rotates text by one position as every other model does; only images have three.
  if (type == "default" || type == "mrope") return absl::OkStatus();
  if (type != "linear" && type != "dynamic" && type != "yarn" && type != "llama3" &&
      type != "longrope") {
    return absl::UnimplementedError(
        Concat("rotary scaling '", type,
               "'; expected default, linear, dynamic, yarn, llama3, longrope or mrope"));
  }
  // Phi-3 has it beside the scaling, not in it.
  constexpr char kOriginal[] = "original_max_position_embeddings";
  PINGTI_ASSIGN_OR_RETURN(const int64_t beside,
                          config.IntOr(kOriginal, options->max_context, 2, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(rope.original_max_position,
                          fields.IntOr(kOriginal, beside, 2, kMaxContext));
  if (type == "llama3" && fields.Find(kOriginal) == nullptr) {
    return Missing(fields, kOriginal, type);
  }
  PINGTI_ASSIGN_OR_RETURN(rope.factor, ReadFactor(fields, type, *options));
  PINGTI_ASSIGN_OR_RETURN(rope.attention_factor, fields.NumberIn("attention_factor", kTiny, 1e3));
  if (type == "llama3") return ReadLlama3(fields, &rope);
  if (type == "longrope") return ReadLongRope(fields, rope.factor, options);
  if (type == "yarn") {
    options->max_context =
        std::max(options->max_context, Stretched(rope.original_max_position, rope.factor));
    return ReadYarn(fields, &rope);
  }
  rope.scaling = type == "linear" ? RopeScaling::kLinear : RopeScaling::kDynamicNtk;
  if (type == "dynamic") rope.original_max_position = options->max_context;
  options->max_context = Stretched(options->max_context, rope.factor);
  return absl::OkStatus();
}

// Either place may say which part of a head rotates.
absl::Status ReadPartial(const JsonFields& fields, DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> part,
                          fields.NumberIn("partial_rotary_factor", kTiny, 1.0));
  if (!part.has_value() || *part == 1.0) return absl::OkStatus();
  if (!options->may_rotate_partly) {
    return absl::UnimplementedError(
        Concat("'", fields.Name("partial_rotary_factor"), "' ", *part, "; expected 1"));
  }
  const auto dims = static_cast<int64_t>(static_cast<double>(options->head_dim) * *part);
  if (dims < 2 || dims % 2 != 0) {
    return absl::InvalidArgumentError(Concat("'", fields.Name("partial_rotary_factor"), "' ", *part,
                                             " makes ", dims, " of ", options->head_dim,
                                             " dimensions rotate; expected an even number"));
  }
  options->rope.rotary_dim = dims == options->head_dim ? 0 : dims;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadHfRope(const JsonFields& config, DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(options->rope.theta,
                          config.NumberOr("rope_theta", 10000.0, kMinRopeTheta, kMaxRopeTheta));
  PINGTI_RETURN_IF_ERROR(ReadPartial(config, options));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    PINGTI_ASSIGN_OR_RETURN(const json::object* given, config.Object(key));
    if (given == nullptr) continue;
    PINGTI_ASSIGN_OR_RETURN(const json::object* scaling, OneForAllLayers(config, key, *given));
    const JsonFields fields(*scaling, Concat(key, "."));
    PINGTI_ASSIGN_OR_RETURN(options->rope.theta, fields.NumberOr("rope_theta", options->rope.theta,
                                                                 kMinRopeTheta, kMaxRopeTheta));
    PINGTI_RETURN_IF_ERROR(ReadPartial(fields, options));
    return ReadScaling(config, fields, options);
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
