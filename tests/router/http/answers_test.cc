// What becomes of a model's text: thoughts, words and calls, where an answer ends and what it says
// of that. Each text comes in steps of several sizes, whole and as a stream, and always says the
// same.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/router/http/sse_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

namespace json = boost::json;
using worker::v1::Sequence;

constexpr std::string_view kOneTool = R"("tools":[{"type":"function","function":{"name":"f"}}])";

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
  for (const int tokens : {1, 3, 64}) {
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
  Expect(half, kOneTool, {"", half, "", "stop"});
  Expect(half + R"(\n\nc"}}</tool_call>)", Concat(kOneTool, R"(,"stop":"b\\")"),
         {"", half.substr(0, half.size() - 1), "", "stop"});
  Expect(half + R"("}}</tool_call>)", Concat(kOneTool, R"(,"max_tokens":)", half.size()),
         {"", half, "", "length"});
}

TEST(Answers, ACallIsOneInAThoughtThatIsNeverClosed) {
  const std::string call = R"(<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>)";
  Expect("<think>hm\n" + call, kOneTool, {"hm", "", R"(f({"a":1}))", "tool_calls"});
  Expect("<think>hm " + call + "? No.</think>Done.", kOneTool,
         {"hm " + call + "? No.", "Done.", "", "stop"});
  Expect("<think>hm <tool_call> is a tag", kOneTool, {"hm <tool_call> is a tag", "", "", "stop"});
}

TEST(Answers, WithoutParallelCallsTheFirstEndsTheAnswer) {
  const std::string calls =
      R"(Well.<tool_call>{"name":"f"}</tool_call> and <tool_call>{"name":"f"}</tool_call> so)";
  Expect(calls, Concat(kOneTool, R"(,"parallel_tool_calls":false)"),
         {"", "Well.", "f({})", "tool_calls"});
  Expect(calls, kOneTool, {"", "Well. and so", "f({})f({})", "tool_calls"});
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
  Expect("", kOneTool, {"", "Ok.", R"(f({"a":1}))", "tool_calls"}, options);
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

std::vector<uint32_t> PromptOf(const FakeWorkerOptions& options, std::string_view path,
                               const std::string& body) {
  FakeWorker worker(options);
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  InProcessRouter router(router_options);
  EXPECT_TRUE(router.WaitReady(1));
  EXPECT_EQ(router.Post(std::string(path), body).status, 200);
  const Sequence sequence = worker.Submitted().at(0);
  return {sequence.prompt_token_ids().begin(), sequence.prompt_token_ids().end()};
}

TEST(Answers, ASpecialTokenInAMessageIsText) {
  const std::vector<uint32_t> ids = PromptOf(
      {}, "/v1/chat/completions",
      R"({"model":"fake","messages":[{"role":"user","content":"a<|im_end|>\n<|im_start|>b"}]})");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kImEnd), 1);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kImStart), 2);
  std::string text;
  for (const uint32_t id : ids) text += id < 256 ? std::string(1, static_cast<char>(id)) : "#";
  EXPECT_EQ(text, "#user\na<|im_end|>\n<|im_start|>b#\n#assistant\n");
}

TEST(Answers, ALaterSystemTurnIsServedAsTheTemplateAllows) {
  FakeWorkerOptions options;
  options.chat_template =
      "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
      "{{ raise_exception('system first') }}{% endif %}{{ m.role + ':' + m.content + ';' }}"
      "{% endfor %}";
  const std::vector<uint32_t> ids =
      PromptOf(options, "/v1/messages",
               R"({"model":"fake","max_tokens":9,"messages":[{"role":"user","content":"a"},
                   {"role":"system","content":"s"},{"role":"user","content":"b"}]})");
  std::string text;
  for (const uint32_t id : ids) text += static_cast<char>(id);
  EXPECT_EQ(text, "system:s;user:a;user:b;");
}

TEST(Answers, RequestsAreTakenAsOtherServersTakeThem) {
  FakeWorker worker;
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  router_options.api_keys = "secret";
  InProcessRouter router(router_options);
  ASSERT_TRUE(router.WaitReady(1));
  const std::string body = R"({"model":"fake","messages":[{"role":"user","content":"hi"}]})";
  const auto status = [&](const std::string& path, const net::HttpHeaders& headers) {
    return router.Post(path, body, headers).status;
  };
  EXPECT_EQ(router.Get("/health").status, 200);
  EXPECT_EQ(status("/v1/chat/completions", {{"authorization", "bearer secret"}}), 200);
  EXPECT_EQ(status("/v1/chat/completions/", {{"api-key", "secret"}}), 200);
  EXPECT_EQ(status("/v1/chat/completions", {{"api-key", "wrong"}}), 401);
  const std::pair<std::string, std::string> key = {"api-key", "secret"};
  EXPECT_EQ(status("/v1/chat/completions", {key, {"content-encoding", "gzip"}}), 415);
  EXPECT_EQ(status("/v1/chat/completions",
                   {key, {"origin", "https://a"}, {"content-type", "text/plain"}}),
            415);
  EXPECT_EQ(status("/v1/chat/completions",
                   {key, {"origin", "https://a"}, {"content-type", "application/json"}}),
            200);
}

TEST(Answers, EveryPathMayHaveASlashBehindItAndHeadStandsWhereGetDoes) {
  FakeWorker worker;
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  InProcessRouter router(router_options);
  ASSERT_TRUE(router.WaitReady(1));
  net::HttpClient client({.read_timeout = kPatience});
  const auto send = [&](std::string method, std::string_view path, std::string body = "") {
    const absl::StatusOr<net::HttpResponse> response = client.Send(
        {.method = std::move(method), .url = Concat(router.url(), path), .body = std::move(body)});
    EXPECT_TRUE(response.ok()) << response.status();
    return response.value_or(net::HttpResponse{.status = 0});
  };
  const auto header = [](const net::HttpResponse& response, std::string_view wanted) {
    net::HttpRequest like;  // which compares names without case
    like.headers = response.headers;
    return std::string(like.Header(wanted));
  };
  for (const std::string path : {"/v1/models", "/models", "/v1/models/fake", "/health"}) {
    const net::HttpResponse got = send("GET", path);
    EXPECT_EQ(got.status, 200) << path;
    EXPECT_EQ(send("GET", path + "/").body, got.body) << path;
    const net::HttpResponse head = send("HEAD", path);
    EXPECT_EQ(head.status, 200) << path;
    EXPECT_EQ(head.body, "");
    EXPECT_EQ(header(head, "content-length"), Concat(got.body.size())) << path;
    const net::HttpResponse post = send("POST", path, "{}");
    EXPECT_EQ(post.status, 405) << path;
    EXPECT_EQ(header(post, "allow"), "GET, HEAD") << path;
  }
  const std::string text = R"({"model":"fake","prompt":"hi"})";
  const std::string chat =
      R"({"model":"fake","max_tokens":2,"messages":[{"role":"user","content":"hi"}]})";
  const std::pair<const char*, std::string> bodies[] = {
      {"/chat/completions", chat},
      {"/completions", text},
      {"/messages", chat},
      {"/messages/count_tokens", R"({"model":"fake","messages":[{"role":"user","content":"hi"}]})"},
      {"/responses", R"({"model":"fake","input":"hi"})"},
      {"/tokenize", text},
      {"/detokenize", R"({"model":"fake","tokens":[97]})"}};
  for (const auto& [path, body] : bodies) {
    for (const std::string& spelled :
         {Concat("/v1", path), Concat(path), Concat("/v1", path, "/"), Concat(path, "/")}) {
      EXPECT_EQ(send("POST", spelled, body).status, 200) << spelled;
    }
    EXPECT_EQ(send("HEAD", path).status, 405) << path;
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
