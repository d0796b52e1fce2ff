// Answers as response objects and as the reference's events.
#include "router/responses/writer.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "router/api/api_error.h"
#include "tests/router/server_sent_events.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

constexpr UsageCounts kUsage{
    .prompt_tokens = 10, .cached_prompt_tokens = 4, .completion_tokens = 3, .reasoning_tokens = 2};

ResponsesWriter Writer() { return {"resp_1", "m \"x\"", 7, R"("store":false)"}; }

ChoiceDelta Content(std::string text) { return {.content = std::move(text)}; }
ChoiceDelta Thought(std::string text) { return {.reasoning = std::move(text)}; }
ChoiceDelta Call(uint32_t index, std::string id, std::string name, std::string arguments) {
  ChoiceDelta delta;
  delta.tool_calls.push_back({index, std::move(id), std::move(name), std::move(arguments)});
  return delta;
}
ChoiceDelta End(FinishReason finish) { return {.finish = finish}; }
ChoiceDelta WithLogprob(ChoiceDelta delta, std::string bytes) {
  delta.logprobs.push_back({.bytes = std::move(bytes), .logprob = -1, .top = {}});
  return delta;
}

std::vector<SentEvent> Stream(const std::vector<ChoiceDelta>& deltas) {
  ResponsesWriter writer = Writer();
  std::string out;
  for (const ChoiceDelta& delta : deltas) writer.Delta(delta, &out);
  writer.Last(kUsage, &out);
  return ParseEvents(out);
}

json::value Whole(const std::vector<ChoiceDelta>& deltas) {
  ChoiceAnswer answer;
  for (const ChoiceDelta& delta : deltas) answer.Append(delta);
  return json::parse(Writer().Whole({answer}, kUsage));
}

using Deltas = std::vector<ChoiceDelta>;

Deltas ReasonedAnswer() {
  return {Thought("h"), Thought("m"), Content("a"), Content("\nb"), End(FinishReason::kStop)};
}

Deltas TwoCalls() {
  return {Content("I ask."),      Call(0, "call_1", "f", ""),   Call(0, "", "", "{\"a\""),
          Call(0, "", "", ":1}"), Call(1, "call_2", "g", "{}"), End(FinishReason::kToolCalls)};
}

TEST(ResponsesWriter, AWholeAnswerHasEveryMember) {
  const json::value response = Whole(ReasonedAnswer());
  EXPECT_EQ(response, json::parse(R"({"id":"resp_1","object":"response","created_at":7,
      "status":"completed","error":null,"incomplete_details":null,"model":"m \"x\"","store":false,
      "output":[
        {"id":"rs_1_0","type":"reasoning","summary":[],"status":"completed",
         "content":[{"type":"reasoning_text","text":"hm"}]},
        {"id":"msg_1_1","type":"message","role":"assistant","status":"completed",
         "content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"a\nb"}]}],
      "usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},
        "output_tokens":3,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":13}})"))
      << json::serialize(response);
}

TEST(ResponsesWriter, CallsAreItemsOfTheirOwn) {
  const json::value response = Whole(TwoCalls());
  const json::array& output = response.at("output").as_array();
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[0].at("content").at(0).at("text"), "I ask.");
  EXPECT_EQ(output[1], json::parse(R"({"id":"fc_1_1","type":"function_call","call_id":"call_1",
      "name":"f","arguments":"{\"a\":1}","status":"completed"})"));
  EXPECT_EQ(output[2].at("call_id"), "call_2");
  // Calls alone need no message.
  EXPECT_EQ(Whole({Call(0, "c", "f", "{}")}).at("output").as_array().size(), 1u);
}

TEST(ResponsesWriter, ACustomCallHasItsTextAsInput) {
  ChoiceDelta call = Call(0, "call_1", "c", "a \"b\"");
  call.tool_calls[0].is_custom = true;
  const json::value item = json::parse(R"({"id":"ctc_1_0","type":"custom_tool_call",
      "call_id":"call_1","name":"c","input":"a \"b\"","status":"completed"})");
  EXPECT_EQ(Whole({call}).at("output").at(0), item);
  const std::vector<SentEvent> events = Stream({call, End(FinishReason::kToolCalls)});
  EXPECT_EQ(NamesOf(events),
            (std::vector<std::string>{
                "response.created", "response.in_progress", "response.output_item.added",
                "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
                "response.output_item.done", "response.completed"}));
  EXPECT_EQ(events[3].data.at("delta"), "a \"b\"");
  EXPECT_FALSE(events[3].data.as_object().contains("content_index"));
  EXPECT_EQ(events[4].data.at("input"), "a \"b\"");
  EXPECT_EQ(events[5].data.at("item"), item);
}

TEST(ResponsesWriter, ACutOffAnswerIsIncompleteInItsLastItemOnly) {
  const json::value response = Whole({Thought("hm"), Content("a"), End(FinishReason::kLength)});
  EXPECT_EQ(response.at("status"), "incomplete");
  EXPECT_EQ(response.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(response.at("output").at(0).at("status"), "completed");
  EXPECT_EQ(response.at("output").at(1).at("status"), "incomplete");
}

TEST(ResponsesWriter, ACallThatIsWholeIsCompletedHoweverTheAnswerEnded) {
  struct Case {
    const char* arguments;
    bool is_custom;
    const char* status;
  };
  for (const Case& tested : {Case{"{\"a\": 1}", false, "completed"}, Case{"{}", false, "completed"},
                             Case{"{\"a\": ", false, "incomplete"}, Case{"", false, "incomplete"},
                             Case{"{ text", true, "completed"}}) {
    const ToolCallDelta call{.index = 0,
                             .id = "call_1",
                             .name = "f",
                             .arguments = tested.arguments,
                             .is_custom = tested.is_custom};
    const std::vector<ChoiceDelta> deltas = {Content("a"), ChoiceDelta{.tool_calls = {call}},
                                             End(FinishReason::kLength)};
    const json::value whole = Whole(deltas);
    EXPECT_EQ(whole.at("status"), "incomplete");
    EXPECT_EQ(whole.at("output").at(1).at("status"), tested.status) << tested.arguments;
    const std::vector<SentEvent> events = Stream(deltas);
    const json::value& streamed = events.back().data.at("response");
    EXPECT_EQ(streamed.at("status"), "incomplete");
    EXPECT_EQ(streamed.at("output").at(1).at("status"), tested.status) << tested.arguments;
  }
}

TEST(ResponsesWriter, EventsComeInTheReferencesOrder) {
  const std::vector<SentEvent> events = Stream(ReasonedAnswer());
  EXPECT_EQ(
      NamesOf(events),
      (std::vector<std::string>{
          "response.created", "response.in_progress", "response.output_item.added",
          "response.content_part.added", "response.reasoning_text.delta",
          "response.reasoning_text.delta", "response.reasoning_text.done",
          "response.content_part.done", "response.output_item.done", "response.output_item.added",
          "response.content_part.added", "response.output_text.delta", "response.output_text.delta",
          "response.output_text.done", "response.content_part.done", "response.output_item.done",
          "response.completed"}));
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].data.at("sequence_number"), i);
  EXPECT_EQ(events[0].data.at("response").at("status"), "in_progress");
  EXPECT_TRUE(events[0].data.at("response").at("usage").is_null());
  EXPECT_EQ(events[4].data, json::parse(R"({"type":"response.reasoning_text.delta",
      "sequence_number":4,"item_id":"rs_1_0","output_index":0,"content_index":0,"delta":"h"})"));
  EXPECT_EQ(events[11].data.at("item_id"), "msg_1_1");
  EXPECT_EQ(events[11].data.at("output_index"), 1);
  EXPECT_EQ(events[13].data.at("text"), "a\nb");
  EXPECT_EQ(events[14].data.at("part").at("text"), "a\nb");
}

TEST(ResponsesWriter, ACallsEventsHaveItsArgumentsPieceByPiece) {
  const std::vector<SentEvent> events = Stream(TwoCalls());
  std::vector<std::string> names = NamesOf(events);
  const std::vector<std::string> calls(names.begin() + 8, names.end());
  EXPECT_EQ(calls,
            (std::vector<std::string>{
                "response.output_item.added", "response.function_call_arguments.delta",
                "response.function_call_arguments.delta", "response.function_call_arguments.done",
                "response.output_item.done", "response.output_item.added",
                "response.function_call_arguments.delta", "response.function_call_arguments.done",
                "response.output_item.done", "response.completed"}));
  EXPECT_EQ(events[8].data.at("item").at("name"), "f");
  EXPECT_EQ(events[8].data.at("item").at("call_id"), "call_1");
  EXPECT_EQ(events[9].data.at("delta"), "{\"a\"");
  EXPECT_EQ(events[11].data.at("arguments"), "{\"a\":1}");
  EXPECT_EQ(events[11].data.at("name"), "f");
}

// The last event's response is the answer that is not streamed.
TEST(ResponsesWriter, AStreamEndsWithTheWholeAnswer) {
  const std::vector<Deltas> answers = {
      ReasonedAnswer(),
      TwoCalls(),
      {Content("a"), End(FinishReason::kStop)},
      {Thought("hm"), Content("a"), End(FinishReason::kLength)},
      {Thought("hm"), Call(0, "c", "f", "{}"), End(FinishReason::kToolCalls)},
      {End(FinishReason::kStop)},
      {WithLogprob(Content("a"), "a"), WithLogprob(Content(""), "\xe4"),
       WithLogprob(Content("b"), "b"), End(FinishReason::kStop)},
      {WithLogprob(Content(""), "\xe4"), WithLogprob(Content("b"), "b"), End(FinishReason::kStop)},
      {WithLogprob(Content(""), "\xe4"), End(FinishReason::kLength)},
      {WithLogprob(Call(0, "c", "f", "{}"), "{"), End(FinishReason::kToolCalls)},
      {WithLogprob(Content(""), "<"), Call(0, "c", "f", "{}"), End(FinishReason::kToolCalls)},
      {WithLogprob(Content(""), "<think>"), WithLogprob(Thought("h"), "h"),
       WithLogprob(Content(""), "</think>"), WithLogprob(Content("a"), "a"),
       WithLogprob(Content(""), "\xe4"), WithLogprob(Content("b"), "b"), End(FinishReason::kStop)},
      {WithLogprob(Content("a"), "a"), WithLogprob(Call(0, "c", "f", "{"), "{"),
       WithLogprob(Content(""), " "), WithLogprob(Call(0, "", "", "}"), "}"),
       End(FinishReason::kToolCalls)},
  };
  for (size_t i = 0; i < answers.size(); ++i) {
    const SentEvent last = Stream(answers[i]).back();
    const json::value whole = Whole(answers[i]);
    EXPECT_EQ(last.data.at("response"), whole) << "answer " << i << ":\n"
                                               << json::serialize(last.data) << "\n"
                                               << json::serialize(whole);
    EXPECT_EQ(last.name,
              whole.at("status") == "completed" ? "response.completed" : "response.incomplete");
  }
}

TEST(ResponsesWriter, LogprobsGoWithTheText) {
  const std::vector<SentEvent> events = Stream({WithLogprob(Content("a"), "a")});
  const json::value entry =
      json::parse(R"([{"token":"a","logprob":-1,"bytes":[97],"top_logprobs":[]}])");
  EXPECT_EQ(events[4].data.at("logprobs"), entry) << json::serialize(events[4].data);
  EXPECT_EQ(events[5].data.at("logprobs"), entry);
}

TEST(ResponsesWriter, AThoughtsLogprobsAreNotTheMessages) {
  const json::value response =
      Whole({WithLogprob(Thought("h"), "h"), WithLogprob(Content("a"), "a")});
  const json::array& entries =
      response.at("output").at(1).at("content").at(0).at("logprobs").as_array();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].at("token"), "a");
}

TEST(ResponsesWriter, AnErrorInTheStreamFailsTheResponse) {
  ResponsesWriter writer = Writer();
  std::string out;
  writer.Delta(Content("a"), &out);
  writer.Error(FieldError("max_tokens", "bad 'max_tokens'"), &out);
  const std::vector<SentEvent> events = ParseEvents(out);
  const json::value& error = events[events.size() - 2].data;
  EXPECT_EQ(events[events.size() - 2].name, "error");
  EXPECT_EQ(error.at("code"), "invalid_request_error");
  EXPECT_EQ(error.at("param"), "max_output_tokens");
  EXPECT_EQ(error.at("message"), "bad 'max_output_tokens'");
  EXPECT_EQ(events.back().name, "response.failed");
  EXPECT_EQ(events.back().data.at("response").at("status"), "failed");
  EXPECT_EQ(events.back().data.at("response").at("error").at("code"), "server_error");
}

TEST(ResponsesWriter, AKeepAliveIsACommentBehindTheOpening) {
  ResponsesWriter writer = Writer();
  std::string out;
  writer.KeepAlive(&out);
  writer.KeepAlive(&out);
  EXPECT_EQ(NamesOf(ParseEvents(out)),
            (std::vector<std::string>{"response.created", "response.in_progress"}));
  EXPECT_TRUE(out.ends_with(": keep-alive\n: keep-alive\n")) << out;
}

}  // namespace
}  // namespace pingti::router
