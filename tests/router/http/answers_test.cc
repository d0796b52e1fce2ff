// What becomes of a model's text: thoughts, words and calls, where an answer ends and what it says
// of that. Each text comes in steps of every size, whole and as a stream, and always says the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/router/http/sse_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

namespace json = boost::json;
using worker::v1::Sequence;

constexpr std::string_view kTools = R"("tools":[{"type":"function","function":{"name":"f"}}])";

struct Said {
  std::string reasoning;
  std::string content;
  std::string calls;  // "name(arguments)" each
  std::string finish;
  bool operator==(const Said&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Said& said) {
  return out << "[" << said.reasoning << "|" << said.content << "|" << said.calls << "|"
             << said.finish << "]";
}

std::string TextOf(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? "" : std::string(value->as_string());
}

Said Whole(const std::string& body) {
  const json::object choice = json::parse(body).at("choices").at(0).as_object();
  const json::object& message = choice.at("message").as_object();
  Said said{TextOf(message, "reasoning_content"), TextOf(message, "content"), "",
            TextOf(choice, "finish_reason")};
  if (const json::value* calls = message.if_contains("tool_calls")) {
    for (const json::value& call : calls->as_array()) {
      const json::object& function = call.at("function").as_object();
      said.calls += TextOf(function, "name") + "(" + TextOf(function, "arguments") + ")";
    }
  }
  return said;
}

Said Streamed(const SseAnswer& answer) {
  Said said{answer.reasoning, answer.content, "", answer.finish_reason};
  for (const json::object& chunk : answer.chunks) {
    const json::object& delta = chunk.at("choices").at(0).at("delta").as_object();
    const json::value* calls = delta.if_contains("tool_calls");
    if (calls == nullptr) continue;
    const json::object& function = calls->at(0).at("function").as_object();
    said.calls += TextOf(function, "name") + "(" + TextOf(function, "arguments") + ")";
  }
  return said;
}

// What the model's `text` becomes in answer to a body with `more`.
void Expect(const std::string& text, std::string_view more, const Said& want,
            FakeWorkerOptions options = {}) {
  if (options.tool_call_format.empty()) options.tool_call_format = "hermes";
  options.reasoning_start = "<think>";
  options.reasoning_end = "</think>";
  if (!options.answer) options.answer = [text](const Sequence&) { return ByteTokens(text); };
  for (const int tokens : {1, 2, 3, 5, 8, 13, 64, 1000}) {
    options.tokens_per_step = tokens;
    FakeWorker worker(options);
    InProcessRouterOptions router_options;
    router_options.workers = {worker.address()};
    InProcessRouter router(router_options);
    ASSERT_TRUE(router.WaitReady(1));
    const auto body = [&](std::string_view stream) {
      return Concat(R"({"model":"fake","messages":[{"role":"user","content":"hi"}],)",
                    more.empty() ? "" : Concat(more, ","), R"("stream":)", stream, "}");
    };
    EXPECT_EQ(Whole(router.Post("/v1/chat/completions", body("false")).body), want)
        << tokens << " tokens per step";
    EXPECT_EQ(Streamed(StreamChat(router, body("true"))), want)
        << tokens << " tokens per step, streamed";
  }
}

TEST(Answers, AStopStringEndsWordsAndNotThoughts) {
  const std::string text = "<think>first\n\nsecond</think>The answer.\n\nMore.";
  Expect(text, R"("stop":"\n\n")", {"first\n\nsecond", "The answer.", "", "stop"});
  Expect(text, R"("stop":"\n\n","include_stop_str_in_output":true)",
         {"first\n\nsecond", "The answer.\n\n", "", "stop"});
}

TEST(Answers, WhatIsCutOffIsNoCall) {
  const std::string half = R"(So:<tool_call>{"name":"f","arguments":{"a":"b)";
  Expect(half, kTools, {"", half, "", "stop"});
  Expect(half + R"(\n\nc"}}</tool_call>)", Concat(kTools, R"(,"stop":"b\\")"),
         {"", half.substr(0, half.size() - 1), "", "stop"});
  Expect(half + R"("}}</tool_call>)", Concat(kTools, R"(,"max_tokens":)", half.size()),
         {"", half, "", "length"});
}

TEST(Answers, ACallIsOneInAThoughtThatIsNeverClosed) {
  const std::string call = R"(<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>)";
  Expect("<think>hm\n" + call, kTools, {"hm", "", R"(f({"a":1}))", "tool_calls"});
  Expect("<think>hm " + call + "? No.</think>Done.", kTools,
         {"hm " + call + "? No.", "Done.", "", "stop"});
  Expect("<think>hm <tool_call> is a tag", kTools, {"hm <tool_call> is a tag", "", "", "stop"});
}

TEST(Answers, WithoutParallelCallsTheFirstEndsTheAnswer) {
  const std::string calls =
      R"(Well.<tool_call>{"name":"f"}</tool_call> and <tool_call>{"name":"f"}</tool_call> so)";
  Expect(calls, Concat(kTools, R"(,"parallel_tool_calls":false)"),
         {"", "Well.", "f({})", "tool_calls"});
  Expect(calls, kTools, {"", "Well. and so", "f({})f({})", "tool_calls"});
}

TEST(Answers, MarksThatAreSpecialTokensAreRead) {
  FakeWorkerOptions options;
  options.tool_call_format = "mistral";
  options.extra_tokens = {"[TOOL_CALLS]", "[ARGS]"};
  options.answer = [](const Sequence&) {
    std::vector<uint32_t> tokens = ByteTokens("Ok.");
    tokens.push_back(259);
    tokens.push_back('f');
    tokens.push_back(260);
    for (const uint32_t token : ByteTokens(R"({"a":1})")) tokens.push_back(token);
    return tokens;
  };
  Expect("", kTools, {"", "Ok.", R"(f({"a":1}))", "tool_calls"}, options);
}

// The fake model thinks for ever, until it reads that the thought is closed.
FakeWorkerOptions Thinker() {
  FakeWorkerOptions options;
  options.answer = [](const Sequence& sequence) {
    std::string so_far;
    for (const uint32_t id : sequence.generated_token_ids()) so_far += static_cast<char>(id);
    if (so_far.find("</think>") == std::string::npos) {
      return ByteTokens("<think>" + std::string(1000, 'a'));
    }
    return ByteTokens(so_far + "\n\nSo.");
  };
  return options;
}

TEST(Answers, AThoughtEndsWithItsBudget) {
  const std::string thought(19, 'a');  // behind the token that completes the mark
  Expect("", R"("thinking":{"type":"enabled","budget_tokens":20})", {thought, "So.", "", "stop"},
         Thinker());
  Expect("", R"("thinking_budget":20,"max_tokens":30)", {thought, "", "", "length"}, Thinker());
}

TEST(Answers, TheTokenThatWasDrawnIsAmongTheLikeliest) {
  FakeWorkerOptions options;
  options.first_top = 1;  // the draw was none of them
  FakeWorker worker(options);
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  InProcessRouter router(router_options);
  ASSERT_TRUE(router.WaitReady(1));
  const json::value body = json::parse(
      router
          .Post("/v1/chat/completions",
                R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"logprobs":true,
                    "top_logprobs":2})")
          .body);
  for (const json::value& entry :
       body.at("choices").at(0).at("logprobs").at("content").as_array()) {
    const json::array& top = entry.at("top_logprobs").as_array();
    EXPECT_EQ(top.size(), 3u);
    EXPECT_TRUE(std::any_of(top.begin(), top.end(), [&](const json::value& one) {
      return one.at("bytes") == entry.at("bytes") && one.at("logprob") == entry.at("logprob");
    })) << entry;
  }
}

TEST(Answers, IgnoredFieldsAreNamedInTheHeaderWholeAndStreamed) {
  FakeWorker worker;
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  InProcessRouter router(router_options);
  ASSERT_TRUE(router.WaitReady(1));
  for (const char* stream : {"true", "false"}) {
    const net::HttpResponse response = router.Post(
        "/v1/chat/completions",
        Concat(R"({"model":"fake","store":true,"messages":[{"role":"user","content":"hi",)",
               R"("annotations":[]}],"stream":)", std::string_view(stream), "}"));
    EXPECT_EQ(response.status, 200);
    std::string named;
    for (const auto& [name, value] : response.headers) {
      if (name == "x-pingti-ignored") named = value;
    }
    EXPECT_EQ(named, "messages[].annotations, store");
  }
}

}  // namespace
}  // namespace pingti::testing
