// See prompt.h.
#include "router/pipeline/prompt.h"

#include <algorithm>
#include <span>
#include <utility>

#include "boost/json.hpp"
#include "common/base/block_hash.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/text/detokenizer.h"
#include "router/api/api_error.h"
#include "router/pipeline/harmony_turns.h"
#include "router/pipeline/output_grammar.h"
#include "router/pipeline/plain_text.h"

namespace pingti::router {
namespace {

// Normalizing may shrink a text before it is cut into tokens: at most to a third, as NFC makes one
// syllable of three bytes of three Hangul letters.
constexpr uint64_t kMaxShrinking = 3;

absl::Status TooLong(const ServedModel& model, size_t prompt_tokens, std::string_view param) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("This model's maximum context length is ", model.max_context_tokens,
                         " tokens. However, your prompt has ", prompt_tokens,
                         " tokens, which leave no room for an answer."),
                  param, "context_length_exceeded");
}

// Refuses what cannot fit the context before it costs the time to tokenize it.
absl::Status CheckTextLength(const ServedModel& model, std::string_view field, size_t bytes) {
  const uint64_t most = kMaxShrinking * model.max_context_tokens * model.max_token_bytes;
  if (bytes <= most) return absl::OkStatus();
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("This model's maximum context length is ", model.max_context_tokens,
                         " tokens. However, '", field, "' has ", bytes,
                         " bytes of text, which are more tokens than that however they are cut."),
                  field, "context_length_exceeded");
}

absl::Status CheckIds(const ServedModel& model, std::string_view field,
                      const std::vector<uint32_t>& ids) {
  for (const uint32_t id : ids) {
    if (id >= model.vocab_size) {
      return FieldError(field, Concat("token id ", id, " is outside the vocabulary of ",
                                      model.vocab_size, " tokens"));
    }
  }
  return absl::OkStatus();
}

bool EndsInside(std::string_view text, std::string_view marker) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  return !marker.empty() && last != std::string_view::npos &&
         text.substr(0, last + 1).ends_with(marker);
}

absl::Status ValidateCompletion(const ServedModel& model, const GenerationRequest& request) {
  const bool scores_only = request.params.max_tokens == 0u;
  if (scores_only && !request.echo) {
    return FieldError("max_tokens",
                      request.kind == GenerationRequest::Kind::kChat
                          ? "'max_tokens' is 0, expected at least 1"
                          : "'max_tokens' is 0, expected at least 1 (0 only with 'echo': true)");
  }
  if (!request.suffix.has_value()) return absl::OkStatus();
  if (!model.fim.has_value()) {
    return UnsupportedField("suffix",
                            Concat("model '", model.id, "' has no fill-in-the-middle tokens"));
  }
  if (request.echo) return UnsupportedField("suffix", "not together with 'echo'");
  return absl::OkStatus();
}

// The hash chain by which workers' caches know the full blocks of `ids`.
std::vector<uint64_t> BlockHashes(const std::vector<uint32_t>& ids, size_t block_tokens,
                                  std::string_view salt) {
  std::vector<uint64_t> hashes;
  if (block_tokens == 0) return hashes;
  hashes.reserve(ids.size() / block_tokens);
  uint64_t hash = BlockHashSeed(salt);
  // The same bits: token ids are below 2^31.
  const std::span<const int32_t> tokens(reinterpret_cast<const int32_t*>(ids.data()), ids.size());
  for (size_t at = 0; at + block_tokens <= tokens.size(); at += block_tokens) {
    hash = ChainBlockHash(hash, tokens.subspan(at, block_tokens));
    hashes.push_back(hash);
  }
  return hashes;
}

// Ids of a plain text with what the model puts around every text of its own accord.
absl::StatusOr<std::vector<uint32_t>> TokenizeText(const ServedModel& model, std::string_view field,
                                                   std::string_view text, bool add_special_tokens) {
  PINGTI_RETURN_IF_ERROR(CheckTextLength(model, field, text.size()));
  std::vector<text::TokenId> ids;
  const text::EncodeOptions options{.add_special_tokens = add_special_tokens,
                                    .parse_special_tokens = true};
  PINGTI_RETURN_IF_ERROR(model.tokenizer->Encode(text, options, &ids));
  const std::optional<text::TokenId> bos = model.tokenizer->bos_token_id();
  if (add_special_tokens && model.add_bos_token && bos.has_value() &&
      (ids.empty() || ids.front() != *bos)) {
    ids.insert(ids.begin(), *bos);
  }
  // A text that spells it out has it already.
  const bool has_two =
      add_special_tokens && bos.has_value() && ids.size() > 1 && ids[0] == *bos && ids[1] == *bos;
  if (has_two) ids.erase(ids.begin());
  return std::vector<uint32_t>(ids.begin(), ids.end());
}

// A text that stands within another: nothing around it and no special tokens in it, for code may
// well spell one.
absl::Status AppendPlainText(const ServedModel& model, std::string_view field,
                             std::string_view text, std::vector<uint32_t>* ids) {
  PINGTI_RETURN_IF_ERROR(CheckTextLength(model, field, text.size()));
  std::vector<text::TokenId> encoded;
  PINGTI_RETURN_IF_ERROR(model.tokenizer->Encode(
      text, {.add_special_tokens = false, .parse_special_tokens = false}, &encoded));
  ids->insert(ids->end(), encoded.begin(), encoded.end());
  return absl::OkStatus();
}

// Text behind other text, without the space that SentencePiece puts before every text: it is put
// before a stand-in, whose tokens are then left out (as CodeLlama's own encode_infilling does).
absl::Status AppendContinuedText(const ServedModel& model, std::string_view text,
                                 bool parse_special_tokens, std::vector<uint32_t>* ids) {
  const text::EncodeOptions options{.add_special_tokens = false,
                                    .parse_special_tokens = parse_special_tokens};
  const std::string_view stand_in = model.tokenizer->StripsLeadingSpace() ? "☺" : "";
  std::vector<text::TokenId> alone;
  std::vector<text::TokenId> together;
  PINGTI_RETURN_IF_ERROR(model.tokenizer->Encode(stand_in, options, &alone));
  PINGTI_RETURN_IF_ERROR(model.tokenizer->Encode(Concat(stand_in, text), options, &together));
  ids->insert(ids->end(), together.begin() + static_cast<ptrdiff_t>(alone.size()), together.end());
  return absl::OkStatus();
}

// prefix <prompt> suffix <suffix> middle, see FimTokens.
absl::StatusOr<std::vector<uint32_t>> FillInTheMiddle(const ServedModel& model,
                                                      const Prompt& prompt,
                                                      std::string_view suffix) {
  const FimTokens& fim = *model.fim;
  std::vector<uint32_t> ids;
  PINGTI_ASSIGN_OR_RETURN(ids, TokenizeText(model, "prompt", "", /*add_special_tokens=*/true));
  const std::optional<text::TokenId> bos = model.tokenizer->bos_token_id();
  const bool with_bos = bos.has_value() && !ids.empty() && ids[0] == static_cast<uint32_t>(*bos);
  ids.resize(with_bos ? 1 : 0);
  ids.push_back(static_cast<uint32_t>(fim.prefix));
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    PINGTI_RETURN_IF_ERROR(AppendPlainText(model, "prompt", *text, &ids));
  } else {
    const auto& tokens = std::get<std::vector<uint32_t>>(prompt);
    ids.insert(ids.end(), tokens.begin(), tokens.end());
  }
  ids.push_back(static_cast<uint32_t>(fim.suffix));
  PINGTI_RETURN_IF_ERROR(CheckTextLength(model, "suffix", suffix.size()));
  PINGTI_RETURN_IF_ERROR(AppendContinuedText(model, suffix, /*parse_special_tokens=*/false, &ids));
  ids.push_back(static_cast<uint32_t>(fim.middle));
  return ids;
}

// Clients send a call's arguments as JSON text. Templates expect the object and write it with
// tojson; DeepSeek's splice the text into theirs.
void UnpackToolArguments(const ServedModel& model, boost::json::array* messages) {
  if (model.tool_calls == ToolCallFormat::kDeepSeek) return;
  for (boost::json::value& message : *messages) {
    boost::json::value* calls = message.as_object().if_contains("tool_calls");
    if (calls == nullptr) continue;
    for (boost::json::value& call : calls->as_array()) {
      boost::json::value& arguments = call.as_object()["function"].as_object()["arguments"];
      boost::json::error_code error;
      boost::json::value unpacked = boost::json::parse(arguments.as_string(), error);
      if (!error && unpacked.is_object()) arguments = std::move(unpacked);
    }
  }
}

// Adds the words of later system turns to the first turn, which becomes one. False: there are none.
// REQUIRES: messages.
bool MoveSystemTurnsUp(boost::json::array* messages) {
  const auto is_system = [](const boost::json::value& message) {
    return message.as_object().at("role") == "system";
  };
  const auto later = std::find_if(messages->begin() + 1, messages->end(), is_system);
  if (later == messages->end()) return false;
  if (!is_system(messages->front())) {
    messages->insert(messages->begin(), boost::json::object{{"role", "system"}, {"content", ""}});
  }
  for (auto it = messages->begin() + 1; it != messages->end();) {
    if (!is_system(*it)) {
      ++it;
      continue;
    }
    boost::json::string& all = messages->front().as_object()["content"].as_string();
    if (!all.empty()) all.append("\n\n");
    all.append(it->as_object().at("content").as_string());
    it = messages->erase(it);
  }
  return true;
}

// The text a chat's template gives.
absl::StatusOr<std::string> RenderChat(const ServedModel& model, const GenerationRequest& request,
                                       std::chrono::system_clock::time_point now) {
  boost::json::object& context = *request.template_context;
  const bool with_tools = context.contains("tools");
  const text::ChatTemplate* chat_template = with_tools && model.tool_use_template != nullptr
                                                ? model.tool_use_template.get()
                                                : model.chat_template.get();
  if (chat_template == nullptr) {
    return FieldError("messages",
                      Concat("model '", model.id, "' has no chat template; use /v1/completions"));
  }
  UnpackToolArguments(model, &context["messages"].as_array());
  if (model.reasoning == ReasoningFormat::kHarmony) {
    // Its template leaves later system turns out without a word.
    MoveSystemTurnsUp(&context["messages"].as_array());
    FitHarmonyTemplate(&context);
  }
  MarkPlainText(model.special_tokens, &context["messages"].as_array());
  for (const auto& [name, spelling] : model.template_tokens) context[name] = spelling;
  context.emplace("add_generation_prompt", true);
  absl::StatusOr<std::string> rendered = chat_template->Render(context, now);
  if (rendered.ok()) return rendered;
  // Most templates take a system turn at the beginning alone.
  if (MoveSystemTurnsUp(&context["messages"].as_array())) {
    absl::StatusOr<std::string> again = chat_template->Render(context, now);
    if (again.ok()) return again;
  }
  return FieldError("messages", Concat("the model's chat template does not take these messages: ",
                                       std::string(rendered.status().message())));
}

// Without special tokens of its own: the template writes them (as apply_chat_template does).
absl::StatusOr<std::vector<uint32_t>> TokenizeRendered(const ServedModel& model,
                                                       std::string_view rendered) {
  PINGTI_RETURN_IF_ERROR(CheckTextLength(model, "messages", rendered.size()));
  std::vector<uint32_t> ids;
  for (const TextPart& part : SplitPlainText(rendered)) {
    if (ids.empty() && !part.is_plain) {
      PINGTI_ASSIGN_OR_RETURN(
          ids, TokenizeText(model, "messages", part.text, /*add_special_tokens=*/false));
    } else {
      PINGTI_RETURN_IF_ERROR(AppendContinuedText(model, part.text, !part.is_plain, &ids));
    }
  }
  return ids;
}

absl::Status ValidateBeams(const ServedModel& model, const GenerationRequest& request) {
  const GenerationParams& params = request.params;
  if (params.beams() <= 1) return absl::OkStatus();
  if (!model.beams) {
    return UnsupportedField(params.num_beams > 1 ? "num_beams" : "use_beam_search",
                            Concat("the workers of model '", model.id, "' have no beam search"));
  }
  if (params.stop.empty()) return absl::OkStatus();
  if (!model.beam_stop_texts) {
    return UnsupportedField("stop",
                            Concat("the workers of model '", model.id, "' end no beam at a text"));
  }
  // A stop string ends words, not thoughts, which a worker does not tell apart.
  if (request.kind == GenerationRequest::Kind::kChat && model.reasoning != ReasoningFormat::kNone) {
    return UnsupportedField(
        "stop",
        "not with beam search in a chat with a model that thinks aloud; 'stop_token_ids' "
        "end a beam");
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t PreparedPrompts::num_tokens() const {
  uint64_t total = 0;
  for (const std::vector<uint32_t>& ids : token_ids) total += ids.size();
  return total;
}

absl::Status ValidateRequest(const ServedModel& model, const GenerationRequest& request) {
  const GenerationParams& params = request.params;
  PINGTI_RETURN_IF_ERROR(ValidateCompletion(model, request));
  PINGTI_RETURN_IF_ERROR(ValidateBeams(model, request));
  if (request.is_constrained() && !model.grammars) {
    return UnsupportedField(
        request.require_tool_call ? "tool_choice" : request.grammar_field,
        Concat("the workers of model '", model.id, "' have no constrained decoding"));
  }
  PINGTI_RETURN_IF_ERROR(CheckIds(model, "stop_token_ids", params.stop_token_ids));
  for (const auto& [id, bias] : params.logit_bias) {
    if (id >= model.vocab_size) {
      return FieldError("logit_bias", Concat("token id ", id, " is outside the vocabulary of ",
                                             model.vocab_size, " tokens"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint32_t>> TokenizePrompt(const ServedModel& model,
                                                     const GenerationRequest& request,
                                                     bool add_special_tokens,
                                                     std::chrono::system_clock::time_point now) {
  if (request.kind == GenerationRequest::Kind::kCompletion) {
    return TokenizeText(model, "prompt", std::get<std::string>(request.prompts.front()),
                        add_special_tokens);
  }
  PINGTI_ASSIGN_OR_RETURN(const std::string rendered, RenderChat(model, request, now));
  return TokenizeRendered(model, rendered);
}

absl::StatusOr<std::string> DetokenizeIds(const ServedModel& model,
                                          const std::vector<uint32_t>& ids) {
  PINGTI_RETURN_IF_ERROR(CheckIds(model, "tokens", ids));
  text::Detokenizer detokenizer(model.tokenizer.get(), /*skip_special_tokens=*/false);
  std::string text;
  for (const uint32_t id : ids) text += detokenizer.Push(static_cast<text::TokenId>(id));
  return text + detokenizer.Finish();
}

absl::StatusOr<PreparedPrompts> PreparePrompts(const ServedModel& model,
                                               const GenerationRequest& request,
                                               std::chrono::system_clock::time_point now) {
  PreparedPrompts prepared;
  std::string_view field = "prompt";
  if (request.kind == GenerationRequest::Kind::kChat) {
    field = "messages";
    PINGTI_ASSIGN_OR_RETURN(const std::string rendered, RenderChat(model, request, now));
    PINGTI_ASSIGN_OR_RETURN(prepared.token_ids.emplace_back(), TokenizeRendered(model, rendered));
    prepared.reasoning_open = EndsInside(rendered, MarkersOf(model.reasoning).start);
  }
  PINGTI_ASSIGN_OR_RETURN(prepared.grammar, OutputGrammar(model, request, prepared.reasoning_open));
  for (const Prompt& prompt : request.prompts) {
    if (request.suffix.has_value()) {
      PINGTI_ASSIGN_OR_RETURN(prepared.token_ids.emplace_back(),
                              FillInTheMiddle(model, prompt, *request.suffix));
      PINGTI_RETURN_IF_ERROR(CheckIds(model, field, prepared.token_ids.back()));
    } else if (const auto* text = std::get_if<std::string>(&prompt)) {
      PINGTI_ASSIGN_OR_RETURN(prepared.token_ids.emplace_back(),
                              TokenizeText(model, field, *text, /*add_special_tokens=*/true));
    } else {
      prepared.token_ids.push_back(std::get<std::vector<uint32_t>>(prompt));
      PINGTI_RETURN_IF_ERROR(CheckIds(model, field, prepared.token_ids.back()));
    }
  }
  for (const std::vector<uint32_t>& ids : prepared.token_ids) {
    if (ids.empty()) return FieldError(field, Concat("'", field, "' has no tokens"));
    if (ids.size() >= model.max_context_tokens) return TooLong(model, ids.size(), field);
    prepared.block_hashes.push_back(
        BlockHashes(ids, model.kv_block_tokens, PrefixSalt(request.tenant, model.adapter)));
  }
  return prepared;
}

}  // namespace pingti::router
