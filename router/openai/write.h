// Answers in OpenAI's shapes: whole bodies, stream chunks, errors, model lists.
//
// Written by hand into a string rather than through a JSON tree: a chunk is built for every token,
// and this is the router's hottest code. Sources: the OpenAI API reference and DeepSeek's for
// reasoning_content and the prompt_cache_* fields.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "router/api/choice_answer.h"
#include "router/api/request.h"

namespace pingti::router {

// What is the same in every message of one answer.
struct AnswerHead {
  GenerationRequest::Kind kind = GenerationRequest::Kind::kChat;
  std::string id;
  std::string model;
  int64_t created_unix_s = 0;
  bool logprobs = false;
};

// A body that is not streamed.
std::string WriteAnswer(const AnswerHead& head, const std::vector<ChoiceAnswer>& choices,
                        const UsageCounts& usage);

// Writes one answer's server-sent events. Thread-compatible.
class ChunkWriter {
 public:
  // `include_usage`: chunks carry "usage": null and Last adds one with the counts.
  ChunkWriter(const AnswerHead& head, size_t num_choices, bool include_usage);

  // The events for one delta, "data: ...\n\n" each, appended. A chat choice's first delta is
  // preceded by its role. One event carries one kind of text, as clients that test one field after
  // the other expect.
  void Delta(const ChoiceDelta& delta, std::string* out);
  // The usage event, if asked for, and the end mark.
  void Last(const UsageCounts& usage, std::string* out);

 private:
  void Begin(uint32_t choice, std::string* out) const;
  void End(FinishReason finish, const std::vector<TokenLogprob>* logprobs, std::string* out) const;
  void ChatDelta(const ChoiceDelta& delta, std::string* out);
  void CompletionDelta(const ChoiceDelta& delta, std::string* out);

  const AnswerHead head_;
  const bool include_usage_;
  std::string prefix_;  // up to "choices":[
  std::vector<bool> role_sent_;
};

// {"error": {...}}
std::string WriteError(const absl::Status& status);
std::string WriteError(std::string_view message, std::string_view type, std::string_view param,
                       std::string_view code);

struct ModelEntry {
  std::string id{};
  int64_t created_unix_s = 0;
  std::string owned_by = "pingti";
  uint32_t max_context_tokens = 0;  // 0: no worker has said yet, and it is left out
  std::string parent{};             // of an adapter: the model that it is for
};
std::string WriteModel(const ModelEntry& model);
std::string WriteModels(const std::vector<ModelEntry>& models);

// What became of a change of an adapter at each worker, by address: true if it changed something.
std::string WriteAdapterChange(std::string_view adapter, bool load,
                               const std::vector<std::pair<std::string, bool>>& workers);

std::string WriteTokens(const std::vector<uint32_t>& ids, uint32_t max_context_tokens);
std::string WriteText(std::string_view text);

}  // namespace pingti::router
