// POST /v1/chat/completions and its neighbours through a whole router and fake workers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
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

std::string Body(const std::string& more = "") {
  return R"({"model":"fake","messages":[{"role":"user","content":"hi"}])" +
         (more.empty() ? "" : "," + more) + "}";
}

json::object Parse(const std::string& body) { return json::parse(body).as_object(); }

FakeWorkerOptions Answering(const std::string& text) {
  FakeWorkerOptions options;
  options.answer = [text](const Sequence&) { return ByteTokens(text); };
  return options;
}

class Chat : public ::testing::Test {
 protected:
  void Start(FakeWorkerOptions options = {}, InProcessRouterOptions router = {}) {
    worker_ = std::make_unique<FakeWorker>(std::move(options));
    router.workers = {worker_->address()};
    router_ = std::make_unique<InProcessRouter>(std::move(router));
    ASSERT_TRUE(router_->WaitReady(1));
  }
  json::object Ask(const std::string& more = "") {
    const net::HttpResponse response = router_->Post("/v1/chat/completions", Body(more));
    EXPECT_EQ(response.status, 200) << response.body;
    return Parse(response.body);
  }
  net::HttpResponse Refused(const std::string& more) {
    return router_->Post("/v1/chat/completions", Body(more));
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(Chat, AnswersWithTheModelsText) {
  Start();
  const json::object body = Ask();
  EXPECT_EQ(body.at("object"), "chat.completion");
  EXPECT_EQ(body.at("model"), "fake");
  const json::object& choice = body.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("message").at("content"), "Hello from the fake worker.");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  const json::object& usage = body.at("usage").as_object();
  const int64_t prompt = usage.at("prompt_tokens").as_int64();
  EXPECT_EQ(usage.at("completion_tokens"), 28);  // the end token counts
  EXPECT_EQ(usage.at("total_tokens"), prompt + 28);
  EXPECT_EQ(usage.at("prompt_cache_hit_tokens"), prompt / 2);
  EXPECT_EQ(usage.at("prompt_cache_miss_tokens"), prompt - prompt / 2);
}

TEST_F(Chat, ThePromptIsTheRenderedTemplate) {
  Start();
  Ask();
  const Sequence sequence = worker_->Submitted().at(0);
  std::vector<uint32_t> expected = {kImStart};
  for (const uint32_t id : ByteTokens("user\nhi")) expected.push_back(id);
  expected.push_back(kImEnd);
  expected.push_back('\n');
  expected.push_back(kImStart);
  for (const uint32_t id : ByteTokens("assistant\n")) expected.push_back(id);
  EXPECT_EQ(
      std::vector<uint32_t>(sequence.prompt_token_ids().begin(), sequence.prompt_token_ids().end()),
      expected);
}

TEST_F(Chat, ParametersReachTheWorker) {
  Start();
  Ask(R"("seed":5,"temperature":0.25,"top_p":0.5,"top_k":7,"min_p":0.125,"presence_penalty":0.5,
         "frequency_penalty":-0.5,"repetition_penalty":1.5,"logit_bias":{"65":-2},"max_tokens":9,
         "min_tokens":2,"stop_token_ids":[66],"ignore_eos":true,"speculation":false,"priority":3,"logprobs":true,
         "top_logprobs":2)");
  const Sequence sequence = worker_->Submitted().at(0);
  const worker::v1::SamplingParams& sampling = sequence.sampling();
  EXPECT_EQ(sampling.seed(), 5u);
  EXPECT_FLOAT_EQ(sampling.temperature(), 0.25f);
  EXPECT_FLOAT_EQ(sampling.top_p(), 0.5f);
  EXPECT_EQ(sampling.top_k(), 7u);
  EXPECT_FLOAT_EQ(sampling.min_p(), 0.125f);
  EXPECT_FLOAT_EQ(sampling.presence_penalty(), 0.5f);
  EXPECT_FLOAT_EQ(sampling.frequency_penalty(), -0.5f);
  EXPECT_FLOAT_EQ(sampling.repetition_penalty(), 1.5f);
  ASSERT_EQ(sampling.logit_bias_size(), 1);
  EXPECT_EQ(sampling.logit_bias(0).token_id(), 65u);
  EXPECT_EQ(sequence.stop().max_tokens(), 9u);
  EXPECT_EQ(sequence.stop().min_tokens(), 2u);
  EXPECT_TRUE(sequence.stop().ignore_eos());
  EXPECT_TRUE(sequence.no_speculation());
  EXPECT_EQ(sequence.stop().stop_token_ids(0), 66u);
  EXPECT_EQ(sequence.priority(), 3);
  EXPECT_TRUE(sequence.logprobs().enabled());
  EXPECT_EQ(sequence.logprobs().top_logprobs(), 2u);
  EXPECT_GT(sequence.deadline_ms(), 0u);
}

TEST_F(Chat, AStreamGivesTheSameTextInPieces) {
  Start();
  const SseAnswer answer =
      StreamChat(*router_, Body(R"("stream":true,"stream_options":{"include_usage":true})"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.content, "Hello from the fake worker.");
  EXPECT_EQ(answer.finish_reason, "stop");
  EXPECT_TRUE(answer.done);
  EXPECT_GT(answer.chunks.size(), 20u);
  EXPECT_EQ(answer.chunks.front().at("choices").at(0).at("delta").at("role"), "assistant");
  EXPECT_TRUE(answer.chunks.back().at("choices").as_array().empty());
  EXPECT_EQ(answer.chunks.back().at("usage").at("completion_tokens"), 28);
}

TEST_F(Chat, CharactersAreNeverCut) {
  const std::string text = "Grüße 世界 🦙!";
  Start(Answering(text));
  const SseAnswer answer = StreamChat(*router_, Body(R"("stream":true)"));
  EXPECT_EQ(answer.content, text);
  EXPECT_EQ(answer.content.find("\xef\xbf\xbd"), std::string::npos);
}

TEST_F(Chat, NGivesChoicesOfTheirOwn) {
  FakeWorkerOptions options;
  options.answer = [](const Sequence& sequence) {
    return ByteTokens(Concat("seed ", sequence.sampling().seed()));
  };
  Start(options);
  const json::object body = Ask(R"("n":3,"seed":11)");
  ASSERT_EQ(body.at("choices").as_array().size(), 3u);
  std::set<std::string> texts;
  for (const json::value& choice : body.at("choices").as_array()) {
    texts.insert(std::string(choice.at("message").at("content").as_string()));
  }
  EXPECT_EQ(texts.size(), 3u);
  EXPECT_TRUE(texts.contains("seed 11"));
  EXPECT_EQ(body.at("choices").at(2).at("index"), 2);
}

TEST_F(Chat, AStopStringEndsTheTextAlsoAcrossTokens) {
  FakeWorkerOptions options = Answering("one two three four");
  Start(options);
  const json::object body = Ask(R"("stop":["two th","never"])");
  const json::object& choice = body.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("message").at("content"), "one ");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  const SseAnswer answer = StreamChat(*router_, Body(R"("stream":true,"stop":"three")"));
  EXPECT_EQ(answer.content, "one two ");
  EXPECT_EQ(answer.finish_reason, "stop");
}

TEST_F(Chat, AStopStringCancelsTheSequenceAtTheWorker) {
  FakeWorkerOptions options = Answering("ab" + std::string(3000, 'x'));
  Start(options);
  worker_->HoldSteps();
  worker_->AllowSteps(10);
  Ask(R"("stop":"ab")");
  EXPECT_TRUE(WaitFor([&] { return worker_->num_cancelled() == 1; }));
  EXPECT_EQ(worker_->num_running(), 0u);
}

TEST_F(Chat, MaxTokensEndsWithLength) {
  Start();
  const json::object body = Ask(R"("max_tokens":5)");
  EXPECT_EQ(body.at("choices").at(0).at("message").at("content"), "Hello");
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 5);
}

TEST_F(Chat, LogprobsBelongToTheShownTokens) {
  Start(Answering("abSTOP"));
  const json::object body = Ask(R"("logprobs":true,"top_logprobs":2,"stop":"STOP")");
  const json::array& content = body.at("choices").at(0).at("logprobs").at("content").as_array();
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0].at("token"), "a");
  EXPECT_EQ(content[0].at("bytes").at(0), 'a');
  EXPECT_EQ(content[0].at("top_logprobs").as_array().size(), 2u);
}

TEST_F(Chat, ReasoningIsSplitOffAndCounted) {
  FakeWorkerOptions options = Answering("<think>\nhm\n</think>\n\nYes.");
  options.reasoning_start = "<think>";
  options.reasoning_end = "</think>";
  Start(options);
  const json::object body = Ask();
  const json::object& message = body.at("choices").at(0).at("message").as_object();
  EXPECT_EQ(message.at("reasoning_content"), "hm");
  EXPECT_EQ(message.at("content"), "Yes.");
  const int64_t reasoning =
      body.at("usage").at("completion_tokens_details").at("reasoning_tokens").as_int64();
  EXPECT_GT(reasoning, 8);
  EXPECT_LT(reasoning, 24);
  const SseAnswer answer = StreamChat(*router_, Body(R"("stream":true)"));
  EXPECT_EQ(answer.reasoning, "hm");
  EXPECT_EQ(answer.content, "Yes.");
}

TEST_F(Chat, ReasoningIsSplitWhenTheTemplateOpensIt) {
  FakeWorkerOptions options = Answering("hm\n</think>\n\nYes.");
  // The generation prompt ends inside the block, as DeepSeek-R1's does.
  const std::string opening = "assistant\\n";
  options.chat_template.insert(options.chat_template.rfind(opening) + opening.size(), "<think>\\n");
  options.reasoning_start = "<think>";
  options.reasoning_end = "</think>";
  Start(options);
  const json::object body = Ask();
  const json::object& message = body.at("choices").at(0).at("message").as_object();
  EXPECT_EQ(message.at("reasoning_content"), "hm");
  EXPECT_EQ(message.at("content"), "Yes.");
}

constexpr char kTools[] =
    R"("tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}])";

TEST_F(Chat, ToolCallsAreParsedWhenToolsAreGiven) {
  const std::string call =
      "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>";
  FakeWorkerOptions options = Answering(call);
  options.tool_call_format = "hermes";
  Start(options);
  json::object body = Ask(kTools);
  const json::object choice = body.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_TRUE(choice.at("message").at("content").is_null());
  const json::object& function =
      choice.at("message").at("tool_calls").at(0).at("function").as_object();
  EXPECT_EQ(function.at("name"), "weather");
  EXPECT_EQ(function.at("arguments"), R"({"city": "Paris"})");

  const SseAnswer answer = StreamChat(*router_, Body(std::string(R"("stream":true,)") + kTools));
  EXPECT_EQ(answer.tool_arguments, R"({"city": "Paris"})");
  EXPECT_EQ(answer.finish_reason, "tool_calls");

  body = Ask();
  EXPECT_EQ(body.at("choices").at(0).at("message").at("content"), json::value(call))
      << "no tools: text is text";
}

TEST_F(Chat, RefusesWithOpenAisShapeAndField) {
  Start();
  for (const auto& [more, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("temperature":5)", "temperature"},
           {R"("top_p":0)", "top_p"},
           {R"("min_p":2)", "min_p"},
           {R"("presence_penalty":3)", "presence_penalty"},
           {R"("frequency_penalty":-3)", "frequency_penalty"},
           {R"("repetition_penalty":0)", "repetition_penalty"},
           {R"("temperature":1e999)", ""},
           {R"("logit_bias":{"99999":1})", "logit_bias"},
           {R"("logit_bias":{"1":101})", "logit_bias"},
           {R"("stop_token_ids":[99999])", "stop_token_ids"},
           {R"("stop":[""])", "stop"},
           {R"("top_logprobs":2)", "top_logprobs"},
           {R"("min_tokens":9,"max_tokens":3)", "min_tokens"},
           {R"("nonsense":1)", "nonsense"}}) {
    const net::HttpResponse response = Refused(more);
    EXPECT_EQ(response.status, 400) << more << response.body;
    const json::object error = Parse(response.body).at("error").as_object();
    EXPECT_EQ(error.at("type"), "invalid_request_error");
    if (!param.empty()) {
      EXPECT_EQ(error.at("param"), json::value(param)) << response.body;
    }
    EXPECT_FALSE(error.at("message").as_string().empty());
  }
  EXPECT_EQ(worker_->num_submitted(), 0u);
}

TEST_F(Chat, AnUnknownModelIsNotFound) {
  Start();
  const net::HttpResponse response = router_->Post(
      "/chat/completions", R"({"model":"gpt-9","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(Parse(response.body).at("error").at("code"), "model_not_found");
}

TEST_F(Chat, AnAliasIsAModel) {
  Start();
  const net::HttpResponse response =
      router_->Post("/v1/chat/completions",
                    R"({"model":"fake-alias","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(response.status, 200) << response.body;
}

TEST_F(Chat, ARequestIdIsInTheHeader) {
  Start();
  const net::HttpResponse response = router_->Post("/v1/chat/completions", Body());
  std::string id;
  for (const auto& [name, value] : response.headers) {
    if (name == "x-request-id" || name == "X-Request-Id") id = value;
  }
  EXPECT_EQ(Parse(response.body).at("id"), json::value(id));
  EXPECT_TRUE(id.starts_with("chatcmpl-"));
}

TEST_F(Chat, UnknownPathsAndMethodsAnswerInOpenAisShape) {
  Start();
  EXPECT_EQ(router_->Get("/nowhere").status, 404);
  const net::HttpResponse response = router_->Get("/v1/chat/completions");
  EXPECT_EQ(response.status, 405);
  EXPECT_TRUE(Parse(response.body).contains("error"));
}

TEST_F(Chat, ModelsAreListedWithAndWithoutV1) {
  Start();
  for (const char* path : {"/v1/models", "/models"}) {
    const json::object body = Parse(router_->Get(path).body);
    EXPECT_EQ(body.at("data").at(0).at("id"), "fake");
    EXPECT_EQ(body.at("data").at(1).at("id"), "fake-alias");
  }
  EXPECT_EQ(Parse(router_->Get("/v1/models/fake").body).at("id"), "fake");
  EXPECT_EQ(router_->Get("/v1/models/other").status, 404);
}

TEST_F(Chat, KeysAreAskedForWhenThereAreAny) {
  InProcessRouterOptions options;
  options.api_keys = "alice:secret";
  Start({}, std::move(options));
  EXPECT_EQ(router_->Post("/v1/chat/completions", Body()).status, 401);
  EXPECT_EQ(
      router_->Post("/v1/chat/completions", Body(), {{"Authorization", "Bearer secret"}}).status,
      200);
}

TEST_F(Chat, ALongPromptIsPreparedOnThePoolAndAnswered) {
  FakeWorkerOptions options;
  options.max_context_tokens = 200'000;
  Start(options);
  const std::string body = R"({"model":"fake","messages":[{"role":"user","content":")" +
                           std::string(100'000, 'a') + R"("}]})";
  EXPECT_EQ(router_->Post("/v1/chat/completions", body).status, 200);
  EXPECT_GT(worker_->Submitted().at(0).prompt_token_ids_size(), 100'000);
}

TEST_F(Chat, APromptBeyondTheContextIsRefused) {
  Start();
  const std::string body = R"({"model":"fake","messages":[{"role":"user","content":")" +
                           std::string(10'000, 'a') + R"("}]})";
  const net::HttpResponse response = router_->Post("/v1/chat/completions", body);
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(Parse(response.body).at("error").at("code"), "context_length_exceeded");
}

TEST_F(Chat, MaxTokensIsAtMostWhatTheContextLeaves) {
  Start();
  const json::object answer = Ask(R"("max_tokens":128000,"min_tokens":5)");
  EXPECT_EQ(answer.at("choices").at(0).at("finish_reason"), "stop");
  const worker::v1::Sequence sequence = worker_->Submitted().at(0);
  EXPECT_EQ(sequence.stop().max_tokens() + static_cast<uint32_t>(sequence.prompt_token_ids_size()),
            FakeWorkerOptions().max_context_tokens);
  EXPECT_EQ(sequence.stop().min_tokens(), 5u);
}

TEST_F(Chat, TokenizeAndDetokenizeAreInverse) {
  Start();
  const json::object tokens =
      Parse(router_->Post("/tokenize", R"({"model":"fake","prompt":"añ"})").body);
  EXPECT_EQ(json::serialize(tokens.at("tokens")), "[97,195,177]");
  EXPECT_EQ(tokens.at("count"), 3);
  const json::object text =
      Parse(router_->Post("/v1/detokenize", R"({"model":"fake","tokens":[97,195,177]})").body);
  EXPECT_EQ(text.at("prompt"), "añ");
  EXPECT_EQ(router_->Post("/detokenize", R"({"model":"fake","tokens":[99999]})").status, 400);
}

}  // namespace
}  // namespace pingti::testing
