// What an HTTP API is to the router: a body that becomes a GenerationRequest, and a writer that
// puts the answer into that API's words. Each API folder (openai, responses, anthropic) has one of
// each; router/http knows only these.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "router/api/choice_answer.h"
#include "router/api/ignored_fields.h"
#include "router/api/request.h"

namespace pingti::router {

// Writes one answer, whole or as server-sent events. Used by one thread at a time.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  // The body of an answer that is not streamed.
  virtual std::string Whole(const std::vector<ChoiceAnswer>& choices, const UsageCounts& usage) = 0;

  // Events of a stream, appended to `out`. What opens the stream comes before the first of them;
  // Last or Error ends it.
  virtual void Delta(const ChoiceDelta& delta, std::string* out) = 0;
  virtual void Last(const UsageCounts& usage, std::string* out) = 0;
  virtual void Error(const absl::Status& status, std::string* out) = 0;
  virtual void KeepAlive(std::string* out) = 0;
};

struct CallInput {
  std::string_view body;
  std::string_view api_version;  // the header "anthropic-version"; empty: none
  std::string id;                // of the answer
  int64_t created_unix_s = 0;
  // How the answer names the model that the client asks for by some name.
  std::function<std::string(std::string_view name)> answer_name;
};

struct ParsedCall {
  GenerationRequest request;
  bool stream = false;
  IgnoredFields ignored;
  std::unique_ptr<AnswerWriter> writer;
};

// Errors: InvalidArgument naming the field in the API's own words.
using CallParser = absl::StatusOr<ParsedCall> (*)(CallInput input);

// How an API tells an error before the stream has begun.
struct ErrorShape {
  std::string (*body)(const absl::Status& status, std::string_view request_id);
  std::string_view request_id_header;
};

}  // namespace pingti::router
