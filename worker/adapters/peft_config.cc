#include "worker/adapters/peft_config.h"

#include <boost/json.hpp>
#include <cmath>
#include <optional>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr int64_t kMostRank = 65'536;

absl::Status Refuse(std::string_view field, std::string_view value, std::string_view expected) {
  return absl::UnimplementedError(Concat("'", field, "' is ", value, ": expected ", expected));
}

bool IsNothing(const json::value& value) {
  return value.is_null() || (value.is_bool() && !value.get_bool()) ||
         (value.is_array() && value.get_array().empty()) ||
         (value.is_object() && value.get_object().empty());
}

// Fields that make something other than y += scale * B (A x) of an adapter.
absl::Status CheckPlainLora(const JsonFields& fields) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.String("peft_type"));
  if (type.value_or("") != "LORA") {
    return Refuse("peft_type", type.has_value() ? Concat("\"", *type, "\"") : "missing",
                  "\"LORA\"");
  }
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> task, fields.String("task_type"));
  if (task.has_value() && *task != "CAUSAL_LM") {
    return Refuse("task_type", Concat("\"", *task, "\""), "\"CAUSAL_LM\"");
  }
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> bias, fields.String("bias"));
  if (bias.value_or("none") != "none") {
    return Refuse("bias", Concat("\"", *bias, "\""), "\"none\"");
  }
  for (const std::string_view field :
       {"use_dora", "modules_to_save", "fan_in_fan_out", "lora_bias", "layer_replication",
        "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora",
        "arrow_config", "kasa_config", "monteclora_config", "velora_config"}) {
    const json::value* value = fields.Find(field);
    if (value == nullptr || IsNothing(*value)) continue;
    return Refuse(field, json::serialize(*value), "it off: it is not supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadTargetParameters(const JsonFields& fields) {
  std::vector<std::string> targets;
  if (const json::value* value = fields.Find("target_parameters");
      value != nullptr && !IsNothing(*value)) {
    PINGTI_ASSIGN_OR_RETURN(targets, fields.StringList("target_parameters"));
  }
  for (const std::string& target : targets) {
    if (target.ends_with("experts.gate_up_proj") || target.ends_with("experts.down_proj")) continue;
    return Refuse("target_parameters", Concat("[..., \"", target, "\"]"),
                  "names that end in 'experts.gate_up_proj' or 'experts.down_proj'");
  }
  return targets;
}

absl::StatusOr<std::vector<std::pair<text::Regex, double>>> ReadPattern(const JsonFields& fields,
                                                                        std::string_view name) {
  std::vector<std::pair<text::Regex, double>> pattern;
  PINGTI_ASSIGN_OR_RETURN(const json::object* const object, fields.Object(name));
  if (object == nullptr) return pattern;
  for (const auto& [key, value] : *object) {
    json::error_code error;
    const auto number = value.to_number<double>(error);
    if (error || !(number > 0)) {
      return absl::InvalidArgumentError(Concat("'", name, "' has ", json::serialize(value),
                                               " for '", std::string(key),
                                               "': expected a number above 0"));
    }
    auto regex = text::Regex::Compile(Concat("^(?:.*\\.)?(?:", std::string(key), ")$"));
    if (!regex.ok()) {
      return absl::InvalidArgumentError(
          Concat("'", name, "': ", std::string(regex.status().message())));
    }
    pattern.emplace_back(*std::move(regex), number);
  }
  return pattern;
}

}  // namespace

absl::StatusOr<PeftConfig> PeftConfig::Parse(std::string_view text) {
  PINGTI_ASSIGN_OR_RETURN(const json::value root, ParseJsonObject(text));
  const JsonFields fields(root.get_object(), "");
  PINGTI_RETURN_IF_ERROR(CheckPlainLora(fields));
  PeftConfig config;
  PINGTI_ASSIGN_OR_RETURN(config.rank_, fields.RequiredInt("r", 1, kMostRank));
  PINGTI_ASSIGN_OR_RETURN(config.alpha_, fields.NumberOr("lora_alpha", 8.0, 1e-6, 1e6));
  PINGTI_ASSIGN_OR_RETURN(config.rank_stabilized_, fields.BoolOr("use_rslora", false));
  PINGTI_ASSIGN_OR_RETURN(config.ranks_, ReadPattern(fields, "rank_pattern"));
  PINGTI_ASSIGN_OR_RETURN(config.alphas_, ReadPattern(fields, "alpha_pattern"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> base,
                          fields.String("base_model_name_or_path"));
  config.base_model_ = base.value_or("");
  PINGTI_ASSIGN_OR_RETURN(config.target_parameters_, ReadTargetParameters(fields));
  const json::value* targets = fields.Find("target_modules");
  // An expression, or "all-linear": the tensors say which modules those are.
  if (targets != nullptr && !targets->is_string()) {
    PINGTI_ASSIGN_OR_RETURN(config.target_modules_, fields.StringList("target_modules"));
  }
  return config;
}

absl::StatusOr<double> PeftConfig::ValueOf(const Pattern& pattern, std::string_view module,
                                           double fallback) {
  for (const auto& [regex, value] : pattern) {
    bool matches = false;
    text::RegexScratch scratch;
    PINGTI_RETURN_IF_ERROR(regex.FindAll(module, &scratch, [&](text::Regex::Span) {
      matches = true;
      return absl::OkStatus();
    }));
    if (matches) return value;
  }
  return fallback;
}

absl::StatusOr<int64_t> PeftConfig::RankOf(std::string_view module) const {
  PINGTI_ASSIGN_OR_RETURN(const double rank, ValueOf(ranks_, module, static_cast<double>(rank_)));
  return static_cast<int64_t>(rank);
}

absl::StatusOr<double> PeftConfig::ScaleOf(std::string_view module) const {
  PINGTI_ASSIGN_OR_RETURN(const int64_t rank, RankOf(module));
  PINGTI_ASSIGN_OR_RETURN(const double alpha, ValueOf(alphas_, module, alpha_));
  const auto divisor = static_cast<double>(rank);
  // Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA" (2023).
  return alpha / (rank_stabilized_ ? std::sqrt(divisor) : divisor);
}

}  // namespace pingti::worker
