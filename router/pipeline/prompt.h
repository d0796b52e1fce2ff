// From a request to token ids: renders the chat template, tokenizes, checks against the model's
// limits. Pure but for the time it takes; long requests run it on the task pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/grammar_source.h"
#include "router/api/request.h"
#include "router/worker_link/served_model.h"

namespace pingti::router {

struct PreparedPrompts {
  std::vector<std::vector<uint32_t>> token_ids;  // one per prompt; a chat has one
  // Per prompt, the hash chain of its full KV blocks, salted with the tenant as the worker does.
  std::vector<std::vector<uint64_t>> block_hashes;
  std::optional<grammar::GrammarSource> grammar;  // of the answer, checked
  bool reasoning_open = false;                    // the template ended inside a reasoning block

  uint64_t num_tokens() const;
};

// Errors: InvalidArgument with the field: a template that refuses the messages, a prompt that does
// not fit the context, a token id outside the vocabulary.
absl::StatusOr<PreparedPrompts> PreparePrompts(const ServedModel& model,
                                               const GenerationRequest& request,
                                               std::chrono::system_clock::time_point now);

// The ids of one prompt, without a look at the context's length: of a chat, as the model's template
// renders it, or of a completion's first text. `add_special_tokens`: what the model puts around
// every text of its own accord; a chat's template says that itself. Errors: as above.
absl::StatusOr<std::vector<uint32_t>> TokenizePrompt(const ServedModel& model,
                                                     const GenerationRequest& request,
                                                     bool add_special_tokens,
                                                     std::chrono::system_clock::time_point now);

// The text of `ids`, special tokens spelled out. Errors: InvalidArgument for an id out of range.
absl::StatusOr<std::string> DetokenizeIds(const ServedModel& model,
                                          const std::vector<uint32_t>& ids);

// What depends on the model: ids against its vocabulary, and fields that need something of it. The
// rest is router/api/limits.h. Errors: InvalidArgument naming the field as the HTTP API spells it.
absl::Status ValidateRequest(const ServedModel& model, const GenerationRequest& request);

}  // namespace pingti::router
