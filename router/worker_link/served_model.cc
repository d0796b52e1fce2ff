// See served_model.h.
#include "router/worker_link/served_model.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "boost/json.hpp"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::router {
namespace {

std::string Spelling(const text::Tokenizer& tokenizer, std::optional<text::TokenId> id) {
  return id.has_value() ? std::string(tokenizer.TokenBytes(*id)) : std::string();
}

// The card names markers and format when the checkpoint does; where it is silent, or says something
// that only a newer router knows, the template tells.
void SetFormats(const worker::v1::ModelCard& card, ServedModel* model) {
  const std::optional<ReasoningFormat> reasoning =
      FindReasoningFormat({card.reasoning_start(), card.reasoning_end()});
  model->reasoning = reasoning.value_or(ReasoningFormat::kNone);
  if (model->reasoning == ReasoningFormat::kNone) {
    model->reasoning = DetectReasoningFormat(card.chat_template());
  }
  const std::optional<ToolCallFormat> calls = FindToolCallFormat(card.tool_call_format());
  model->tool_calls = calls.value_or(ToolCallFormat::kNone);
  if (model->tool_calls == ToolCallFormat::kNone) {
    model->tool_calls = DetectToolCallFormat(card.chat_template());
  }
  if (!reasoning.has_value() || !calls.has_value()) {
    LogWarning("the model card names a format that is not known here",
               {{"model", model->id},
                {"reasoning_start", card.reasoning_start()},
                {"reasoning_end", card.reasoning_end()},
                {"tool_call_format", card.tool_call_format()}});
  }
}

void CopyFacts(const worker::v1::ModelCard& card, ServedModel* model) {
  model->id = card.model_id();
  model->aliases.assign(card.aliases().begin(), card.aliases().end());
  model->fingerprint = card.fingerprint();
  model->created_unix_s = card.created_unix_s();
  model->owned_by = card.owned_by();
  model->max_context_tokens = card.max_context_tokens();
  model->kv_block_tokens = card.kv_block_tokens();
  model->vocab_size = card.vocab_size();
  model->add_bos_token = card.add_bos_token();
  const auto has = [&card](std::string_view feature) {
    return std::find(card.features().begin(), card.features().end(), feature) !=
           card.features().end();
  };
  model->beams = has("beam_early_stopping");
  model->beam_stop_texts = has("beam_stop_texts");
  model->grammars = has("grammar");
  model->framed_grammars = has("grammar_frames");
  model->message_grammars = has("grammar_messages");
  const worker::v1::SamplingDefaults& defaults = card.sampling_defaults();
  if (defaults.has_temperature()) model->temperature = defaults.temperature();
  if (defaults.has_top_p()) model->top_p = defaults.top_p();
  if (defaults.has_top_k()) model->top_k = defaults.top_k();
  if (defaults.has_min_p()) model->min_p = defaults.min_p();
  if (defaults.has_repetition_penalty()) {
    model->repetition_penalty = defaults.repetition_penalty();
  }
}

void SetTokensOfCard(const worker::v1::ModelCard& card, const text::Tokenizer& tokenizer,
                     ServedModel* model) {
  std::optional<text::TokenId> bos = tokenizer.bos_token_id();
  if (card.has_bos_token_id()) bos = static_cast<text::TokenId>(card.bos_token_id());
  std::optional<text::TokenId> eos = tokenizer.eos_token_id();
  if (card.eos_token_ids_size() > 0) eos = static_cast<text::TokenId>(card.eos_token_ids(0));
  model->template_tokens["bos_token"] = Spelling(tokenizer, bos);
  model->template_tokens["eos_token"] = Spelling(tokenizer, eos);
}

// Members whose names end in "_token": a spelling, or an object that has one. Source: transformers'
// special_tokens_map, which apply_chat_template gives to templates.
absl::Status SetTokensOfConfig(std::string_view text, ServedModel* model) {
  boost::json::error_code error;
  const boost::json::value config =
      boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error || !config.is_object()) {
    return absl::InvalidArgumentError(
        Concat("model card of '", model->id, "': tokenizer_config is no JSON object"));
  }
  for (const auto& member : config.get_object()) {
    const std::string name(member.key());
    if (!name.ends_with("_token")) continue;
    const boost::json::value* token = &member.value();
    if (token->is_object()) token = token->get_object().if_contains("content");
    if (token == nullptr || !token->is_string()) continue;  // null: there is none
    model->template_tokens[name] = std::string(token->get_string());
  }
  return absl::OkStatus();
}

}  // namespace

bool ServedModel::Answers(std::string_view name) const {
  return id == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end();
}

absl::StatusOr<std::shared_ptr<const ServedModel>> MakeServedModel(
    const worker::v1::ModelCard& card, std::shared_ptr<const text::Tokenizer> tokenizer,
    std::string_view tokenizer_config) {
  auto model = std::make_shared<ServedModel>();
  CopyFacts(card, model.get());
  if (model->id.empty() || model->fingerprint.empty() || model->max_context_tokens == 0) {
    return absl::InvalidArgumentError(
        Concat("model card of '", model->id,
               "': model_id, fingerprint and max_context_tokens must all be set"));
  }
  if (tokenizer_config.empty()) {
    SetTokensOfCard(card, *tokenizer, model.get());
  } else {
    PINGTI_RETURN_IF_ERROR(SetTokensOfConfig(tokenizer_config, model.get()));
  }
  if (!card.chat_template().empty()) {
    PINGTI_ASSIGN_OR_RETURN(model->chat_template,
                            text::ChatTemplate::Parse(card.chat_template(), {}));
  }
  SetFormats(card, model.get());
  const auto tool_use = card.named_templates().find("tool_use");
  if (tool_use != card.named_templates().end()) {
    PINGTI_ASSIGN_OR_RETURN(model->tool_use_template,
                            text::ChatTemplate::Parse(tool_use->second, {}));
  }
  model->fim = FindFimTokens(*tokenizer);
  for (text::TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
    const std::string_view bytes = tokenizer->TokenBytes(id);
    model->max_token_bytes = std::max(model->max_token_bytes, static_cast<uint32_t>(bytes.size()));
    if (tokenizer->IsSpecial(id) && !bytes.empty()) model->special_tokens.emplace_back(bytes);
  }
  model->tokenizer = std::move(tokenizer);
  return std::shared_ptr<const ServedModel>(std::move(model));
}

std::shared_ptr<const ServedModel> WithAdapter(const ServedModel& base,
                                               const AdapterInfo& adapter) {
  auto model = std::make_shared<ServedModel>(base);
  model->id = adapter.name;
  model->aliases.clear();
  model->adapter = adapter.id;
  model->parent = base.id;
  model->fingerprint = Concat(base.fingerprint, ":", adapter.id);
  return model;
}

}  // namespace pingti::router
