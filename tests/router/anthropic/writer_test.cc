// Answers as messages and as the reference's events.
#include "router/anthropic/writer.h"

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
    .prompt_tokens = 10, .cached_prompt_tokens = 4, .completion_tokens = 3};

ChoiceDelta Content(std::string text) { return {.content = std::move(text)}; }
ChoiceDelta Thought(std::string text) { return {.reasoning = std::move(text)}; }
ChoiceDelta Call(uint32_t index, std::string id, std::string name, std::string arguments) {
  ChoiceDelta delta;
  delta.tool_calls.push_back({index, std::move(id), std::move(name), std::move(arguments)});
  return delta;
}
ChoiceDelta End(FinishReason finish, std::string matched_stop = "") {
  return {.finish = finish, .matched_stop = std::move(matched_stop)};
}

using Deltas = std::vector<ChoiceDelta>;
using Names = std::vector<std::string>;

std::vector<SentEvent> Stream(const Deltas& deltas) {
  MessagesWriter writer("msg_1", "m \"x\"");
  std::string out;
  for (const ChoiceDelta& delta : deltas) writer.Delta(delta, &out);
  writer.Last(kUsage, &out);
  return ParseEvents(out);
}

json::value Whole(const Deltas& deltas) {
  ChoiceAnswer answer;
  for (const ChoiceDelta& delta : deltas) answer.Append(delta);
  return json::parse(MessagesWriter("msg_1", "m \"x\"").Whole({answer}, kUsage));
}

// What a client makes of the events.
json::value Assembled(const std::vector<SentEvent>& events) {
  json::object message;
  std::string input;
  for (const SentEvent& event : events) {
    if (event.name == "message_start") message = event.data.at("message").as_object();
    if (event.name == "content_block_start") {
      json::array& content = message["content"].as_array();
      EXPECT_EQ(event.data.at("index"), content.size());
      content.push_back(event.data.at("content_block"));
      input.clear();
    }
    if (event.name == "content_block_delta") {
      json::object& block = message["content"].as_array().back().as_object();
      const json::object& delta = event.data.at("delta").as_object();
      EXPECT_EQ(event.data.at("index"), message["content"].as_array().size() - 1);
      if (delta.at("type") == "input_json_delta") {
        input += std::string(delta.at("partial_json").as_string());
        block["input"] = json::parse(input.ends_with("}") ? input : "{}");
      } else {
        const char* name = delta.at("type") == "text_delta"       ? "text"
                           : delta.at("type") == "thinking_delta" ? "thinking"
                                                                  : "signature";
        block[name].as_string() += delta.at(name).as_string();
      }
    }
    if (event.name != "message_delta") continue;
    for (const auto& member : event.data.at("delta").as_object()) {
      message[member.key()] = member.value();
    }
    message["usage"] = event.data.at("usage");
  }
  return message;
}

Deltas ThoughtfulCalls() {
  return {Thought("h"),
          Thought("m"),
          Content("I "),
          Content("ask."),
          Call(0, "call_1", "f", ""),
          Call(0, "", "", "{\"a\":"),
          Call(0, "", "", "1}"),
          Call(1, "call_2", "g", "{}"),
          End(FinishReason::kToolCalls)};
}

TEST(MessagesWriter, AWholeAnswerHasEveryMember) {
  const json::value message = Whole(ThoughtfulCalls());
  EXPECT_EQ(message, json::parse(R"({"id":"msg_1","type":"message","role":"assistant",
      "model":"m \"x\"","content":[
        {"type":"thinking","thinking":"hm","signature":""},
        {"type":"text","text":"I ask.","citations":null},
        {"type":"tool_use","id":"call_1","name":"f","input":{"a":1}},
        {"type":"tool_use","id":"call_2","name":"g","input":{}}],
      "stop_reason":"tool_use","stop_sequence":null,
      "usage":{"input_tokens":6,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,
        "output_tokens":3}})"))
      << json::serialize(message);
}

TEST(MessagesWriter, EveryEndHasItsReason) {
  const auto stop_of = [](const ChoiceDelta& end) {
    const json::value message = Whole({Content("a"), end});
    return json::serialize(message.at("stop_reason")) +
           json::serialize(message.at("stop_sequence"));
  };
  EXPECT_EQ(stop_of(End(FinishReason::kStop)), R"("end_turn"null)");
  EXPECT_EQ(stop_of(End(FinishReason::kStop, "\n\"")), R"("stop_sequence""\n\"")");
  EXPECT_EQ(stop_of(End(FinishReason::kLength)), R"("max_tokens"null)");
  EXPECT_EQ(stop_of(End(FinishReason::kToolCalls)), R"("tool_use"null)");
}

TEST(MessagesWriter, ArgumentsThatAreNoObjectAreKeptAsTheyAre) {
  const auto input_of = [](std::string arguments) {
    return Whole({Call(0, "c", "f", std::move(arguments))}).at("content").at(0).at("input");
  };
  EXPECT_EQ(input_of(""), json::parse("{}"));
  EXPECT_EQ(input_of("[1]"), json::parse(R"({"INVALID_JSON":"[1]"})"));
  EXPECT_EQ(input_of("{\"a\""), json::parse(R"({"INVALID_JSON":"{\"a\""})"));
}

TEST(MessagesWriter, EventsComeInTheReferencesOrder) {
  const std::vector<SentEvent> events = Stream(ThoughtfulCalls());
  EXPECT_EQ(NamesOf(events), (Names{"message_start",       "ping",
                                    "content_block_start", "content_block_delta",
                                    "content_block_delta", "content_block_delta",  // the signature
                                    "content_block_stop",  "content_block_start",
                                    "content_block_delta", "content_block_delta",
                                    "content_block_stop",  "content_block_start",
                                    "content_block_delta", "content_block_delta",
                                    "content_block_stop",  "content_block_start",
                                    "content_block_delta", "content_block_stop",
                                    "message_delta",       "message_stop"}));
  EXPECT_EQ(events[5].data.at("delta").at("type"), "signature_delta");
  EXPECT_EQ(events[11].data, json::parse(R"({"type":"content_block_start","index":2,
      "content_block":{"type":"tool_use","id":"call_1","name":"f","input":{}}})"));
  EXPECT_EQ(events[12].data, json::parse(R"({"type":"content_block_delta","index":2,
      "delta":{"type":"input_json_delta","partial_json":"{\"a\":"}})"));
}

TEST(MessagesWriter, AStreamAddsUpToTheWholeAnswer) {
  const std::vector<Deltas> answers = {
      ThoughtfulCalls(),
      {Content("a"), Content("b"), End(FinishReason::kStop, "c")},
      {Thought("t"), Content("a"), End(FinishReason::kLength)},
      {Call(0, "c", "f", "{\"a\":[]}"), End(FinishReason::kToolCalls)},
      {End(FinishReason::kStop)},
  };
  for (size_t i = 0; i < answers.size(); ++i) {
    const json::value streamed = Assembled(Stream(answers[i]));
    EXPECT_EQ(streamed, Whole(answers[i])) << i << ": " << json::serialize(streamed);
  }
}

TEST(MessagesWriter, AKeepAliveIsAPingBehindTheOpening) {
  MessagesWriter writer("msg_1", "m");
  std::string out;
  writer.KeepAlive(&out);
  writer.KeepAlive(&out);
  EXPECT_EQ(NamesOf(ParseEvents(out)), (Names{"message_start", "ping", "ping", "ping"}));
}

TEST(MessagesWriter, AnErrorInTheStreamIsAnEvent) {
  MessagesWriter writer("msg_1", "m");
  std::string out;
  writer.Error(absl::UnavailableError("no worker"), &out);
  const std::vector<SentEvent> events = ParseEvents(out);
  ASSERT_EQ(NamesOf(events), Names{"error"});
  EXPECT_EQ(events[0].data.at("error"),
            json::parse(R"({"type":"overloaded_error","message":"no worker"})"));
}

struct ErrorCase {
  absl::StatusCode code;
  const char* type;
};

TEST(WriteAnthropicError, EveryStatusHasItsType) {
  const std::vector<ErrorCase> cases = {
      {absl::StatusCode::kInvalidArgument, "invalid_request_error"},
      {absl::StatusCode::kUnauthenticated, "authentication_error"},
      {absl::StatusCode::kPermissionDenied, "permission_error"},
      {absl::StatusCode::kNotFound, "not_found_error"},
      {absl::StatusCode::kResourceExhausted, "rate_limit_error"},
      {absl::StatusCode::kUnavailable, "overloaded_error"},
      {absl::StatusCode::kDeadlineExceeded, "timeout_error"},
      {absl::StatusCode::kInternal, "api_error"},
  };
  for (const auto& [code, type] : cases) {
    EXPECT_EQ(json::parse(WriteAnthropicError(absl::Status(code, "why"), "msg_1")),
              (json::object{{"type", "error"},
                            {"error", json::object{{"type", type}, {"message", "why"}}},
                            {"request_id", "msg_1"}}));
  }
}

TEST(WriteAnthropicError, TheMessageNamesTheFieldInThisApisWords) {
  const auto message_of = [](const absl::Status& status) {
    return json::parse(WriteAnthropicError(status, "r")).at("error").at("message");
  };
  EXPECT_EQ(message_of(FieldError("stop", "'stop' has an empty string")),
            "'stop_sequences' has an empty string");
  EXPECT_EQ(message_of(FieldError("messages[0].role", "is bad")), "messages[0].role: is bad");
  EXPECT_EQ(message_of(FieldError("tools[12].function.parameters.x", "is bad")),
            "tools[12].input_schema.x: is bad");
}

TEST(WriteTokenCount, IsOneMember) { EXPECT_EQ(WriteTokenCount(7), R"({"input_tokens":7})"); }

}  // namespace
}  // namespace pingti::router
