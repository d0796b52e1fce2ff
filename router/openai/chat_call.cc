// See chat_call.h.
#include "router/openai/chat_call.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/net/sse.h"
#include "router/openai/parse.h"
#include "router/openai/write.h"

namespace pingti::router {
namespace {

class OpenAiWriter final : public AnswerWriter {
 public:
  OpenAiWriter(const AnswerHead& head, size_t num_choices, bool include_usage)
      : head_(head), chunks_(head, num_choices, include_usage) {}

  std::string Whole(const std::vector<ChoiceAnswer>& choices, const UsageCounts& usage) override {
    return WriteAnswer(head_, choices, usage);
  }
  void Delta(const ChoiceDelta& delta, std::string* out) override { chunks_.Delta(delta, out); }
  void Last(const UsageCounts& usage, std::string* out) override { chunks_.Last(usage, out); }
  void Error(const absl::Status& status, std::string* out) override {
    *out += net::SseData(WriteError(status));
  }
  void KeepAlive(std::string* out) override { *out += net::SseComment("keep-alive"); }

 private:
  const AnswerHead head_;
  ChunkWriter chunks_;
};

ParsedCall MakeCall(ParsedRequest parsed, CallInput input) {
  ParsedCall call;
  call.stream = parsed.stream;
  call.ignored = std::move(parsed.ignored);
  call.request = std::move(parsed.request);
  call.request.id = std::move(input.id);
  call.request.created_unix_s = input.created_unix_s;
  const AnswerHead head{call.request.kind, call.request.id, input.answer_name(call.request.model),
                        input.created_unix_s, call.request.params.logprobs};
  call.writer =
      std::make_unique<OpenAiWriter>(head, call.request.num_choices(), parsed.include_usage);
  return call;
}

}  // namespace

const ErrorShape kOpenAiErrors = {
    [](const absl::Status& status, std::string_view) { return WriteError(status); },
    "x-request-id"};

absl::StatusOr<ParsedCall> ParseChatCall(CallInput input) {
  PINGTI_ASSIGN_OR_RETURN(ParsedRequest parsed, ParseChatRequest(input.body));
  return MakeCall(std::move(parsed), std::move(input));
}

absl::StatusOr<ParsedCall> ParseCompletionCall(CallInput input) {
  PINGTI_ASSIGN_OR_RETURN(ParsedRequest parsed, ParseCompletionRequest(input.body));
  return MakeCall(std::move(parsed), std::move(input));
}

}  // namespace pingti::router
