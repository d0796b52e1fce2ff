// POST /v1/completions through a whole router: echo, scoring, and filling in a middle.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

namespace json = boost::json;
using worker::v1::Sequence;

class Completions : public ::testing::Test {
 protected:
  void Start(FakeWorkerOptions options = {}) {
    worker_ = std::make_unique<FakeWorker>(std::move(options));
    InProcessRouterOptions router;
    router.workers = {worker_->address()};
    router_ = std::make_unique<InProcessRouter>(std::move(router));
    ASSERT_TRUE(router_->WaitReady(1));
  }
  net::HttpResponse Post(const std::string& fields) {
    return router_->Post("/v1/completions", Concat(R"({"model":"fake",)", fields, "}"));
  }
  json::object Ask(const std::string& fields) {
    const net::HttpResponse response = Post(fields);
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body).as_object();
  }
  // What went to the worker last.
  std::vector<uint32_t> SentPrompt() {
    const Sequence sequence = worker_->Submitted().back();
    return {sequence.prompt_token_ids().begin(), sequence.prompt_token_ids().end()};
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
};

std::vector<uint32_t> Joined(std::vector<std::vector<uint32_t>> parts) {
  std::vector<uint32_t> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST_F(Completions, ContinueEachPrompt) {
  FakeWorkerOptions options;
  options.answer = [](const Sequence& sequence) {
    return ByteTokens(sequence.prompt_token_ids(0) == 'a' ? "pple" : "anana");
  };
  Start(options);
  const json::object body = Ask(R"("prompt":["a","b"],"n":2,"echo":true)");
  EXPECT_EQ(body.at("object"), "text_completion");
  const json::array& choices = body.at("choices").as_array();
  ASSERT_EQ(choices.size(), 4u);
  EXPECT_EQ(choices[0].at("text"), "apple");
  EXPECT_EQ(choices[3].at("text"), "banana");
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 2);
}

TEST_F(Completions, MaxTokensZeroWithEchoScoresThePrompt) {
  Start();
  const json::object body = Ask(R"("prompt":"cat","max_tokens":0,"echo":true,"logprobs":0)");
  const json::object& choice = body.at("choices").at(0).as_object();
  EXPECT_EQ(choice.at("text"), "cat");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  const json::object& logprobs = choice.at("logprobs").as_object();
  EXPECT_EQ(json::serialize(logprobs.at("tokens")), R"(["c","a","t"])");
  EXPECT_EQ(json::serialize(logprobs.at("token_logprobs")), "[null,-5E-1,-5E-1]");
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 3);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 0);
  EXPECT_EQ(worker_->Submitted().at(0).stop().max_tokens(), 1u) << "0 means no limit there";
}

TEST_F(Completions, ScoresOfALongPromptThatComeInPartsAreJoined) {
  FakeWorkerOptions options;
  options.prompt_scores_per_output = 2;
  Start(options);
  for (const char* max_tokens : {"0", "1"}) {
    const json::object body = Ask(
        Concat(R"("prompt":"catalog","max_tokens":)", max_tokens, R"(,"echo":true,"logprobs":0)"));
    const json::array& scores =
        body.at("choices").at(0).at("logprobs").at("token_logprobs").as_array();
    ASSERT_GE(scores.size(), 7u);
    EXPECT_TRUE(scores[0].is_null());
    for (size_t i = 1; i < 7; ++i) EXPECT_EQ(scores[i], -0.5) << i;
  }
}

TEST_F(Completions, MaxTokensZeroIsRefusedWhereNothingWouldCome) {
  Start();
  for (const char* fields :
       {R"("prompt":"cat","max_tokens":0)", R"("prompt":"cat","max_tokens":0,"echo":false)",
        R"("prompt":"cat","max_tokens":-1,"echo":true)"}) {
    const net::HttpResponse response = Post(fields);
    EXPECT_EQ(response.status, 400) << fields;
    EXPECT_EQ(json::parse(response.body).at("error").at("param"), "max_tokens") << fields;
  }
  EXPECT_EQ(worker_->num_submitted(), 0u);
}

TEST_F(Completions, SuffixIsRefusedByNameWithoutFillInTheMiddleTokens) {
  Start();
  const net::HttpResponse response = Post(R"("prompt":"a","suffix":"b")");
  EXPECT_EQ(response.status, 400);
  const json::value error = json::parse(response.body).at("error");
  EXPECT_EQ(error.at("param"), "suffix");
  EXPECT_EQ(error.at("code"), "unsupported_parameter");
  EXPECT_NE(error.at("message").as_string().find("fill-in-the-middle"), json::string::npos);
}

struct Family {
  std::vector<std::string> tokens;  // ids 259, 260, ...; prefix, suffix, middle, then stops
  std::string name;
};

class FillInTheMiddle : public Completions, public ::testing::WithParamInterface<Family> {};

TEST_P(FillInTheMiddle, TheModelSeesPrefixSuffixMiddle) {
  FakeWorkerOptions options;
  options.extra_tokens = GetParam().tokens;
  options.answer = [](const Sequence&) { return ByteTokens("return 1"); };
  Start(options);
  // A spelled-out special token in code is text.
  const json::object body =
      Ask(Concat(R"("prompt":"def f():","suffix":"<|im_end|>","max_tokens":99)"));
  EXPECT_EQ(body.at("choices").at(0).at("text"), "return 1");
  EXPECT_EQ(SentPrompt(),
            Joined({{259}, ByteTokens("def f():"), {260}, ByteTokens("<|im_end|>"), {261}}));
  const Sequence sequence = worker_->Submitted().back();
  EXPECT_EQ(static_cast<size_t>(sequence.stop().stop_token_ids_size()),
            GetParam().tokens.size() - 3);
}

INSTANTIATE_TEST_SUITE_P(
    Families, FillInTheMiddle,
    ::testing::Values(
        Family{
            {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>", "<|fim_pad|>"},
            "Qwen25Coder"},
        Family{{"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>"}, "StarCoder"},
        Family{{"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}, "DeepSeekCoder"},
        Family{{"▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"}, "CodeLlama"}),
    [](const auto& param) { return param.param.name; });

TEST_F(Completions, APromptOfTokensIsFilledInAsItIs) {
  FakeWorkerOptions options;
  options.extra_tokens = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"};
  Start(options);
  Ask(R"("prompt":[65,66],"suffix":"C")");
  EXPECT_EQ(SentPrompt(), (std::vector<uint32_t>{259, 65, 66, 260, 67, 261}));
  Ask(R"("prompt":[65,66],"suffix":"")");
  EXPECT_EQ(SentPrompt(), (std::vector<uint32_t>{65, 66})) << "an empty suffix is none";
  EXPECT_EQ(Post(R"("prompt":[65,9999],"suffix":"x")").status, 400);
  EXPECT_EQ(Post(R"("prompt":"a","suffix":"x","echo":true)").status, 400);
}

}  // namespace
}  // namespace pingti::testing
