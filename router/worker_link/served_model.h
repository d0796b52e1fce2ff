// What the router knows of one model: the worker's card with its tokenizer and chat template built.
//
// Immutable once made, shared by every worker of the same fingerprint and names, and by the
// requests that use it (shared_ptr: a request may outlive the last worker that served its model).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"
#include "router/api/answer_format.h"
#include "router/worker_link/fim_tokens.h"
#include "router/worker_link/messages.h"

namespace pingti::worker::v1 {
class ModelCard;
}

namespace pingti::router {

struct ServedModel {
  std::string id;
  std::string adapter;  // the id of the LoRA adapter that it is; empty: it is a model of its own
  std::string parent;   // the id of the model that the adapter is for
  std::vector<std::string> aliases;
  std::string fingerprint;
  int64_t created_unix_s = 0;
  std::string owned_by;
  uint32_t max_context_tokens = 0;
  uint32_t kv_block_tokens = 0;
  uint32_t vocab_size = 0;
  uint32_t max_token_bytes = 0;  // of the vocabulary's longest token

  std::shared_ptr<const text::Tokenizer> tokenizer;  // shared between fingerprints by sha256
  // Shared with the models of its adapters.
  std::shared_ptr<const text::ChatTemplate> chat_template;      // null: the model has none
  std::shared_ptr<const text::ChatTemplate> tool_use_template;  // null: use chat_template
  // What templates call bos_token, eos_token and so on, spelled out; a name that the checkpoint
  // says is none is not there.
  std::map<std::string, std::string> template_tokens;
  std::vector<std::string> special_tokens;  // spellings of all control tokens
  bool add_bos_token = false;
  std::optional<FimTokens> fim;  // empty: the model cannot fill in a middle

  ReasoningFormat reasoning = ReasoningFormat::kNone;  // kNone: it does not reason aloud
  ToolCallFormat tool_calls = ToolCallFormat::kNone;
  bool beams = false;             // its workers search with beams
  bool beam_stop_texts = false;   // which texts may end
  bool grammars = false;          // its workers decode under constraints
  bool framed_grammars = false;   // with thoughts, words and control tokens around what is held
  bool message_grammars = false;  // also with words in messages, as gpt-oss writes them

  // The checkpoint's own sampling defaults.
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<uint32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;

  bool Answers(std::string_view name) const;
};

// `tokenizer_config`: the contents of tokenizer_config.json; empty: the checkpoint has none.
// Errors: InvalidArgument or Unimplemented naming what in the card cannot be used.
absl::StatusOr<std::shared_ptr<const ServedModel>> MakeServedModel(
    const worker::v1::ModelCard& card, std::shared_ptr<const text::Tokenizer> tokenizer,
    std::string_view tokenizer_config);

// `base` with an adapter, as a model of its own: what tells texts and tokens is the same.
std::shared_ptr<const ServedModel> WithAdapter(const ServedModel& base, const AdapterInfo& adapter);

}  // namespace pingti::router
