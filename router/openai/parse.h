// HTTP bodies to GenerationRequest. What becomes of each field, router/api/field_tables.cc says.
//
// Pure functions; thread-safe. Sources: the OpenAI API reference ("Create chat completion", "Create
// completion"), DeepSeek's API documents, and vLLM's names for sampling fields beyond OpenAI's.
// Read next: chat_messages.h, write.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/api/ignored_fields.h"
#include "router/api/request.h"

namespace pingti::router {

struct ParsedRequest {
  GenerationRequest request;  // id, tenant, deadline and times are left to the caller
  bool stream = false;
  bool include_usage = false;  // a last chunk with usage
  IgnoredFields ignored;
};

// Errors: InvalidArgument with OpenAI's param and code.
absl::StatusOr<ParsedRequest> ParseChatRequest(std::string_view body);
// The same for a body that another API's words were put into: it has fields that are used and no
// others, none of them null. `body_bytes`: its size as it came; `ignored`: of what it came as.
absl::StatusOr<ParsedRequest> ParseChatObject(boost::json::object body, size_t body_bytes,
                                              IgnoredFields ignored);
absl::StatusOr<ParsedRequest> ParseCompletionRequest(std::string_view body);

// POST /tokenize: {"model", "prompt", "add_special_tokens"}, or {"model", "messages", ...} as a
// chat.
struct ParsedTokenize {
  GenerationRequest request;  // kCompletion with one text prompt, or kChat
  bool add_special_tokens = true;
};
absl::StatusOr<ParsedTokenize> ParseTokenizeRequest(std::string_view body);

// POST /detokenize: {"model", "tokens"}.
struct ParsedDetokenize {
  std::string model;
  std::vector<uint32_t> tokens;
};
absl::StatusOr<ParsedDetokenize> ParseDetokenizeRequest(std::string_view body);

// POST /load_lora_adapter: {"lora_name", "lora_path", "base_model_name"}; without the path, POST
// /unload_lora_adapter. Source: vLLM's names.
struct ParsedAdapterChange {
  std::string name;
  std::string path;
  std::string model;  // empty: the only one
};
absl::StatusOr<ParsedAdapterChange> ParseAdapterChange(std::string_view body, bool load);

}  // namespace pingti::router
