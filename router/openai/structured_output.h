// response_format, structured_outputs and guided_*: the fields that say what an answer must look
// like. Each has the shape of a row's reader in parse_params.cc. Nothing is compiled here: see
// router/pipeline/output_grammar.h.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "router/api/request.h"

namespace pingti::router {

// OpenAI's: {"type": "text" | "json_object" | "json_schema", "json_schema": {"schema": ...}}.
absl::Status ReadResponseFormat(std::string_view field, const boost::json::value& value,
                                GenerationRequest* request);
// vLLM's: a schema or its text; a regular expression; texts of which the answer is one; a grammar.
absl::Status ReadGuidedJson(std::string_view field, const boost::json::value& value,
                            GenerationRequest* request);
absl::Status ReadGuidedRegex(std::string_view field, const boost::json::value& value,
                             GenerationRequest* request);
absl::Status ReadGuidedChoice(std::string_view field, const boost::json::value& value,
                              GenerationRequest* request);
absl::Status ReadGuidedGrammar(std::string_view field, const boost::json::value& value,
                               GenerationRequest* request);

// vLLM's newer form: {"json": ...} and so on.
absl::Status ReadStructuredOutputs(std::string_view field, const boost::json::value& value,
                                   GenerationRequest* request);

// Errors: InvalidArgument when another field said already what the answer must look like.
absl::Status SetGrammar(std::string_view field, grammar::GrammarSource source,
                        GenerationRequest* request);

}  // namespace pingti::router
