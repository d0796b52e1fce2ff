// The shapes on the wire, byte for byte.
#include "router/openai/write.h"

#include <gtest/gtest.h>

#include <string>

#include "boost/json.hpp"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

AnswerHead ChatHead() {
  AnswerHead head;
  head.id = "chatcmpl-1";
  head.model = "m";
  head.created_unix_s = 7;
  return head;
}

TEST(ChunkWriter, WritesOpenAisChunks) {
  ChunkWriter writer(ChatHead(), 1, /*include_usage=*/false);
  std::string out;
  writer.Delta({.content = "hi"}, &out);
  EXPECT_EQ(out,
            R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,)"
            R"("finish_reason":null}]})"
            "\n\n"
            R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[{"index":0,"delta":{"content":"hi"},"logprobs":null,)"
            R"("finish_reason":null}]})"
            "\n\n");
  out.clear();
  writer.Delta({.finish = FinishReason::kStop}, &out);
  EXPECT_EQ(out,
            R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]})"
            "\n\n");
  out.clear();
  writer.Last({}, &out);
  EXPECT_EQ(out, "data: [DONE]\n\n");
}

TEST(ChunkWriter, UsageComesLastAndIsNullBefore) {
  ChunkWriter writer(ChatHead(), 1, /*include_usage=*/true);
  std::string out;
  writer.Delta({.content = "hi"}, &out);
  EXPECT_NE(out.find(R"(}],"usage":null})"), std::string::npos);
  out.clear();
  writer.Last({.prompt_tokens = 10,
               .cached_prompt_tokens = 4,
               .completion_tokens = 3,
               .reasoning_tokens = 2},
              &out);
  EXPECT_EQ(out,
            R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13,)"
            R"("prompt_tokens_details":{"cached_tokens":4},)"
            R"("completion_tokens_details":{"reasoning_tokens":2},)"
            R"("prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}})"
            "\n\ndata: [DONE]\n\n");
}

TEST(ChunkWriter, ReasoningContentAndToolCallsEachHaveTheirOwnEvent) {
  ChunkWriter writer(ChatHead(), 1, false);
  ChoiceDelta delta;
  delta.reasoning = "r";
  delta.content = "c";
  delta.tool_calls.push_back({0, "call_1", "f", ""});
  std::string out;
  writer.Delta(delta, &out);
  EXPECT_NE(out.find(R"("delta":{"reasoning_content":"r"})"), std::string::npos) << out;
  EXPECT_NE(out.find(R"("delta":{"content":"c"})"), std::string::npos) << out;
  EXPECT_NE(out.find(R"("delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function",)"
                     R"("function":{"name":"f","arguments":""}}]})"),
            std::string::npos)
      << out;
  out.clear();
  ChoiceDelta more;
  more.tool_calls.push_back({0, "", "", "{\"a\""});
  writer.Delta(more, &out);
  EXPECT_NE(out.find(R"("tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}])"),
            std::string::npos)
      << out;
}

TEST(ChunkWriter, ACustomCallHasItsTextAsInput) {
  ChunkWriter writer(ChatHead(), 1, /*include_usage=*/false);
  ChoiceDelta delta;
  delta.tool_calls.push_back({0, "call_1", "c", "a", /*is_custom=*/true});
  std::string out;
  writer.Delta(delta, &out);
  EXPECT_NE(out.find(R"("delta":{"tool_calls":[{"index":0,"id":"call_1","type":"custom",)"
                     R"("custom":{"name":"c","input":"a"}}]})"),
            std::string::npos)
      << out;
}

TEST(ChunkWriter, LogprobsCarryBytes) {
  AnswerHead head = ChatHead();
  head.logprobs = true;
  ChunkWriter writer(head, 1, false);
  ChoiceDelta delta;
  delta.content = "a";
  delta.logprobs.push_back({.bytes = "a", .logprob = -0.5f, .top = {{"a", -0.5f}, {"\xe4", -2}}});
  std::string out;
  writer.Delta(delta, &out);
  EXPECT_NE(out.find(R"("logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":[97],)"
                     R"("top_logprobs":[{"token":"a","logprob":-0.5,"bytes":[97]},)"
                     "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-2,\"bytes\":[228]}]}],"
                     R"("refusal":null})"),
            std::string::npos)
      << out;
}

TEST(WriteAnswer, IsJsonWithEveryMember) {
  ChoiceAnswer choice;
  choice.Append({.content = "a\n", .reasoning = "r"});
  ChoiceDelta call;
  call.tool_calls.push_back({0, "call_1", "f", "{"});
  call.tool_calls.push_back({0, "", "", "}"});
  call.finish = FinishReason::kToolCalls;
  choice.Append(call);
  const auto body = boost::json::parse(WriteAnswer(ChatHead(), {choice}, {})).as_object();
  const auto& message = body.at("choices").at(0).at("message").as_object();
  EXPECT_EQ(message.at("role"), "assistant");
  EXPECT_EQ(message.at("content"), "a\n");
  EXPECT_EQ(message.at("reasoning_content"), "r");
  ASSERT_EQ(message.at("tool_calls").as_array().size(), 1u);
  EXPECT_EQ(message.at("tool_calls").at(0).at("function").at("arguments"), "{}");
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason"), "tool_calls");
  EXPECT_TRUE(body.at("choices").at(0).at("logprobs").is_null());
}

TEST(WriteAnswer, CompletionsHaveTheirOwnLogprobs) {
  AnswerHead head = ChatHead();
  head.kind = GenerationRequest::Kind::kCompletion;
  head.logprobs = true;
  ChoiceAnswer choice;
  ChoiceDelta delta;
  delta.content = "ab";
  delta.logprobs.push_back({.bytes = "a", .has_logprob = false});
  delta.logprobs.push_back({.bytes = "b", .logprob = -1, .text_offset = 1, .top = {{"b", -1}}});
  choice.Append(delta);
  const auto body = boost::json::parse(WriteAnswer(head, {choice}, {}));
  EXPECT_EQ(body.at("object"), "text_completion");
  EXPECT_EQ(boost::json::serialize(body.at("choices").at(0).at("logprobs")),
            R"({"tokens":["a","b"],"token_logprobs":[null,-1],"top_logprobs":[null,{"b":-1}],)"
            R"("text_offset":[0,1]})");
}

TEST(WriteError, HasOpenAisShape) {
  EXPECT_EQ(WriteError(FieldError("n", "bad \"n\"")),
            R"({"error":{"message":"bad \"n\"","type":"invalid_request_error","param":"n",)"
            R"("code":"invalid_value"}})");
  EXPECT_EQ(WriteError(absl::InternalError("x")),
            R"({"error":{"message":"x","type":"server_error","param":null,"code":null}})");
}

}  // namespace
}  // namespace pingti::router
