// Searches with beams and best_of over workers that the test plays itself, one output at a time.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/observer/metrics_watcher.h"
#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {
namespace {

std::map<uint32_t, std::string> Texts(const KeepingSink& sink) {
  std::map<uint32_t, std::string> texts;
  for (const ChoiceDelta& delta : sink.deltas) texts[delta.index] += delta.content;
  return texts;
}

std::map<uint32_t, FinishReason> Finishes(const KeepingSink& sink) {
  std::map<uint32_t, FinishReason> finishes;
  for (const ChoiceDelta& delta : sink.deltas) {
    if (delta.finish != FinishReason::kNone) finishes[delta.index] = delta.finish;
  }
  return finishes;
}

class BeamsTest : public ::testing::Test {
 protected:
  BeamsTest() {
    auto model = std::make_shared<ServedModel>();
    model->id = "m";
    model->fingerprint = "f";
    model->max_context_tokens = 1000;
    model->vocab_size = 256;
    model->max_token_bytes = 1;
    model->kv_block_tokens = 16;
    model->beams = model->beam_stop_texts = true;
    model->temperature = 0.6f;
    model->repetition_penalty = 1.1f;
    model->tokenizer = std::make_shared<ByteTokenizer>();
    info_.model = model;
    info_.credit_sequences = 8;
    info_.credit_tokens = 1000;
    registry_.Connect(
        [this](LinkId link, const std::string& address) {
          links_[address] = link;
          return channels_[address] = std::make_shared<SteeredWorker>();
        },
        [this] { dispatcher_.Pump(); });
    registry_.SetAddresses({{"a"}});
    registry_.OnReady(links_.at("a"), info_);
  }
  ~BeamsTest() override { registry_.CloseAll(); }

  static GenerationRequest Request(std::vector<std::string> prompts) {
    GenerationRequest request;
    request.kind = GenerationRequest::Kind::kCompletion;
    request.model = "m";
    for (std::string& prompt : prompts) request.prompts.emplace_back(std::move(prompt));
    request.params.max_tokens = 50;
    return request;
  }
  std::shared_ptr<KeepingSink> Start(GenerationRequest request) {
    auto sink = std::make_shared<KeepingSink>();
    service_.Start(std::move(request), service_.Received({.endpoint = "test"}), sink,
                   std::make_shared<ClientWatch>());
    return sink;
  }
  Sequence& Sent(const std::string& address, size_t index) {
    return channels_.at(address)->submitted.at(index);
  }
  void Say(const std::string& address, uint64_t id, uint32_t answer, const std::string& text,
           Finish::Reason reason = Finish::Reason::kUnspecified, double logprob = 0) {
    SequenceOutput output;
    output.sequence_id = id;
    output.sample_index = answer;
    output.token_ids.assign(text.begin(), text.end());
    if (logprob != 0) output.logprobs.assign(text.size(), {static_cast<float>(logprob), {}});
    if (reason != Finish::Reason::kUnspecified) output.finish = Finish{reason, 0, {}};
    registry_.OnStepOutput(links_.at(address), {{std::move(output)}});
  }
  uint32_t Booked() {
    uint32_t booked = 0;
    for (const WorkerStatus& worker : registry_.Workers()) booked += worker.booked_sequences;
    return booked;
  }

  static constexpr auto kStop = Finish::Reason::kStopToken;
  static constexpr auto kMax = Finish::Reason::kMaxTokens;

  testing::FakeClock clock_;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  AdmissionController admission_{{}, &clock_};
  WorkerRegistry registry_{{}, &clock_, &metrics_};
  Dispatcher dispatcher_{&registry_, *MakePolicy("least_loaded"), *MakeQueueOrder("fair"), &clock_};
  TaskPool pool_{1, 16};
  MetricsWatcher watcher_{&metrics_};
  GenerationContext context_{{.max_attempts = 3}, &dispatcher_, &admission_, &pool_, &clock_,
                             OsEntropy(),         {&watcher_}};
  InferenceService service_{&context_, &registry_};
  WorkerInfo info_;
  std::map<std::string, LinkId> links_;
  std::map<std::string, std::shared_ptr<SteeredWorker>> channels_;
};

TEST_F(BeamsTest, OneSequenceAPromptBringsAllItsAnswersAtTheEnd) {
  GenerationRequest request = Request({"x", "y"});
  request.params.num_beams = 4;
  request.params.n = 2;
  request.params.length_penalty = 0.5;
  request.params.early_stopping = EarlyStopping::kNever;
  const auto sink = Start(request);
  ASSERT_EQ(channels_["a"]->submitted.size(), 2u);
  const SamplingParams& sampling = Sent("a", 0).sampling;
  EXPECT_EQ(sampling.n, 2u);
  EXPECT_EQ(sampling.beam.num_beams, 4u);
  EXPECT_EQ(sampling.beam.length_penalty, 0.5f);
  EXPECT_FALSE(sampling.beam.early_stopping);
  EXPECT_TRUE(sampling.beam.never_stop_early);
  EXPECT_EQ(sampling.temperature, 0) << "the model's own is for what is drawn";
  EXPECT_EQ(sampling.repetition_penalty, 1.1f) << "as transformers' generate has it";
  EXPECT_EQ(admission_.queued_sequences(), 8u);

  const uint64_t first = Sent("a", 0).sequence_id;
  const uint64_t second = Sent("a", 1).sequence_id;
  Say("a", first, 0, "");  // its prompt is computed
  EXPECT_EQ(admission_.queued_sequences(), 4u);
  // Long answers come in parts, and of both prompts in any order.
  Say("a", second, 1, "four", kMax);
  Say("a", first, 1, "tw");
  Say("a", first, 0, "one.", kStop);
  EXPECT_EQ(sink->deltas.size(), 0u);
  Say("a", first, 1, "o", kMax);
  EXPECT_EQ(Texts(*sink).size(), 2u);
  EXPECT_FALSE(sink->usage.has_value());
  EXPECT_EQ(Booked(), 1u);
  Say("a", second, 0, "three.", kStop);
  EXPECT_EQ(Texts(*sink),
            (std::map<uint32_t, std::string>{{0, "one"}, {1, "two"}, {2, "three"}, {3, "four"}}));
  EXPECT_EQ(Finishes(*sink)[0], FinishReason::kStop);
  EXPECT_EQ(Finishes(*sink)[1], FinishReason::kLength);
  ASSERT_TRUE(sink->usage.has_value());
  EXPECT_EQ(sink->usage->prompt_tokens, 2u);
  EXPECT_EQ(sink->usage->completion_tokens, 4u + 3 + 6 + 4);
  EXPECT_EQ(Booked(), 0u);
  EXPECT_EQ(admission_.queued_sequences(), 0u);
  EXPECT_EQ(admission_.concurrent_sequences(), 0u);
}

TEST_F(BeamsTest, ASearchTakesCreditForAllItsBeamsUntilItsPromptIsComputed) {
  GenerationRequest request = Request({"x", "y", "z"});
  request.params.num_beams = 4;
  Start(request);
  ASSERT_EQ(channels_["a"]->submitted.size(), 2u) << "8 of 8";
  EXPECT_EQ(registry_.Candidates("f", 1, {}).size(), 0u);
  Say("a", Sent("a", 0).sequence_id, 0, "");
  EXPECT_EQ(channels_["a"]->submitted.size(), 3u);
}

TEST_F(BeamsTest, ASearchLargerThanAllCreditGoesAlone) {
  GenerationRequest request = Request({"x", "y"});
  request.params.num_beams = 9;
  Start(request);
  EXPECT_EQ(channels_["a"]->submitted.size(), 1u);
  Say("a", Sent("a", 0).sequence_id, 0, "");
  EXPECT_EQ(channels_["a"]->submitted.size(), 2u);
}

// Whatever of it had come, however it was lost: nothing of the first attempt is told.
TEST_F(BeamsTest, ASearchThatLosesItsWorkerBeginsAgainFromItsPromptAndIsCounted) {
  for (const int parts : {0, 1, 2}) {
    for (const bool handed_back : {false, true}) {
      registry_.SetAddresses({{"a"}, {"b"}});
      registry_.OnReady(links_.at("a"), info_);
      channels_["a"]->submitted.clear();
      const double before = metrics_.restarted_searches.Value();
      GenerationRequest request = Request({"x"});
      request.params.num_beams = 3;
      request.params.n = 2;
      const auto sink = Start(request);
      registry_.OnReady(links_.at("b"), info_);
      channels_["b"]->submitted.clear();
      const uint64_t lost = Sent("a", 0).sequence_id;
      if (parts > 0) Say("a", lost, 0, "");
      if (parts > 1) Say("a", lost, 1, "lost", kMax);
      if (handed_back) {
        Say("a", lost, 0, "", Finish::Reason::kPreempted);
        Say("a", lost, 1, "", Finish::Reason::kPreempted);
      } else {
        registry_.OnLost(links_.at("a"), absl::UnavailableError("killed"));
      }
      EXPECT_EQ(metrics_.restarted_searches.Value(), before + 1);
      EXPECT_EQ(metrics_.resumed_sequences.Value(), 0);
      ASSERT_EQ(channels_["b"]->submitted.size(), 1u);
      EXPECT_TRUE(Sent("b", 0).generated_token_ids.empty());
      EXPECT_EQ(Sent("b", 0).sampling.beam.num_beams, 3u);
      const uint64_t again = Sent("b", 0).sequence_id;
      Say("b", again, 0, "");
      Say("b", again, 0, "best", kMax);
      Say("b", again, 1, "next", kMax);
      EXPECT_EQ(Texts(*sink), (std::map<uint32_t, std::string>{{0, "best"}, {1, "next"}}));
      EXPECT_TRUE(sink->usage.has_value());
      EXPECT_EQ(Booked(), 0u);
      EXPECT_EQ(admission_.concurrent_sequences(), 0u);
      registry_.SetAddresses({{"a"}});
    }
  }
}

TEST_F(BeamsTest, ARefusalOfTheWorkerIsTheClients) {
  GenerationRequest request = Request({"x"});
  request.params.num_beams = 4;
  const auto sink = Start(request);
  SequenceOutput output;
  output.sequence_id = Sent("a", 0).sequence_id;
  output.finish = Finish{Finish::Reason::kRejected,
                         static_cast<uint32_t>(absl::StatusCode::kInvalidArgument), "too wide"};
  registry_.OnStepOutput(links_.at("a"), {{std::move(output)}});
  EXPECT_TRUE(absl::IsInvalidArgument(*sink->error));
  EXPECT_EQ(sink->error->message(), "too wide");
  EXPECT_EQ(Booked(), 0u);
}

// What cannot be true ends the attempt as the worker's failure.
TEST_F(BeamsTest, AnAnswerThatIsNoneOrHasEndedIsNotBelieved) {
  for (const uint32_t answer : {0u, 2u}) {
    GenerationRequest request = Request({"x"});
    request.params.num_beams = 4;
    request.params.n = 2;
    const auto sink = Start(request);
    const uint64_t id = channels_["a"]->submitted.back().sequence_id;
    Say("a", id, 0, "best", kMax);
    Say("a", id, answer, "best", kMax);
    EXPECT_EQ(channels_["a"]->cancelled.back(), id);
    // The only worker there is gets it a second time.
    Say("a", channels_["a"]->submitted.back().sequence_id, 0, "best", kMax);
    Say("a", channels_["a"]->submitted.back().sequence_id, 1, "next", kMax);
    EXPECT_EQ(Texts(*sink), (std::map<uint32_t, std::string>{{0, "best"}, {1, "next"}}));
  }
}

TEST_F(BeamsTest, ModelsWithoutBeamsRefuseThemByName) {
  auto model = std::make_shared<ServedModel>();
  model->id = model->fingerprint = "old";
  model->max_context_tokens = 1000;
  model->vocab_size = 256;
  model->max_token_bytes = 1;
  model->tokenizer = std::make_shared<ByteTokenizer>();
  info_.model = model;
  registry_.OnReady(links_.at("a"), info_);
  GenerationRequest request = Request({"x"});
  request.model = "old";
  request.params.num_beams = 4;
  EXPECT_TRUE(Start(request)->error->message().find("num_beams") != std::string::npos);
  request.params.num_beams = 1;
  EXPECT_FALSE(Start(request)->error.has_value());
}

TEST_F(BeamsTest, WhatATextCannotEndIsRefusedByName) {
  const auto refusal = [&](GenerationRequest request) {
    const auto sink = Start(std::move(request));
    return sink->error.has_value() ? ErrorParam(*sink->error) : "";
  };
  GenerationRequest request = Request({"x"});
  request.params.num_beams = 4;
  request.params.stop = {"END"};
  EXPECT_EQ(refusal(request), "");
  EXPECT_EQ(Sent("a", 0).stop.stop_texts, std::vector<std::string>{"END"});
  auto model = std::make_shared<ServedModel>(*info_.model);
  model->id = model->fingerprint = "old";
  model->beam_stop_texts = false;
  info_.model = model;
  registry_.OnReady(links_.at("a"), info_);
  request.model = "old";
  EXPECT_EQ(refusal(request), "stop");
  request.params.stop.clear();
  EXPECT_EQ(refusal(request), "");
}

TEST_F(BeamsTest, AnswersThatATextEndedAreCutThereAndTheirTokensHaveLogprobs) {
  GenerationRequest request = Request({"x"});
  request.params.num_beams = 3;
  request.params.n = 2;
  request.params.stop = {"ND"};
  request.params.logprobs = true;
  request.params.top_logprobs = 2;
  request.params.presence_penalty = 0.5;
  request.params.logit_bias = {{7, 1.5f}};
  request.params.min_tokens = 2;
  const auto sink = Start(request);
  const Sequence& sent = Sent("a", 0);
  EXPECT_EQ(sent.sampling.presence_penalty, 0.5f);
  EXPECT_EQ(sent.sampling.logit_bias.size(), 1u);
  EXPECT_EQ(sent.stop.min_tokens, 2u);
  ASSERT_TRUE(sent.logprobs.has_value());
  EXPECT_EQ(sent.logprobs->top_logprobs, 2u);
  Say("a", sent.sequence_id, 0, "on", Finish::Reason::kUnspecified, -1);
  Say("a", sent.sequence_id, 0, "eND", Finish::Reason::kStopText, -2);
  EXPECT_EQ(sink->deltas.size(), 0u) << "another answer is still to come";
  Say("a", sent.sequence_id, 1, "two", kMax, -3);
  EXPECT_EQ(Texts(*sink), (std::map<uint32_t, std::string>{{0, "one"}, {1, "two"}}));
  EXPECT_EQ(Finishes(*sink)[0], FinishReason::kStop);
  EXPECT_EQ(Finishes(*sink)[1], FinishReason::kLength);
  std::map<uint32_t, std::vector<float>> logprobs;
  for (const ChoiceDelta& delta : sink->deltas) {
    for (const TokenLogprob& entry : delta.logprobs) logprobs[delta.index].push_back(entry.logprob);
    if (delta.index == 0 && delta.finish == FinishReason::kStop) {
      EXPECT_EQ(delta.matched_stop, "ND");
    }
  }
  EXPECT_EQ(logprobs[0], (std::vector<float>{-1, -1, -2}));
  EXPECT_EQ(logprobs[1], (std::vector<float>{-3, -3, -3}));
  EXPECT_EQ(sink->usage->completion_tokens, 5u + 3);
}

// The prompt's come once, with the first output.
TEST_F(BeamsTest, EveryAnswerEchoesThePromptWithItsLogprobs) {
  GenerationRequest request = Request({"xy"});
  request.params.num_beams = request.params.n = 2;
  request.params.logprobs = true;
  request.echo = true;
  const auto sink = Start(request);
  EXPECT_TRUE(Sent("a", 0).logprobs->prompt);
  SequenceOutput output;
  output.sequence_id = Sent("a", 0).sequence_id;
  output.prompt_logprobs = {{0, {}}, {-4, {}}};
  registry_.OnStepOutput(links_.at("a"), {{output}});
  Say("a", output.sequence_id, 0, "a", kMax, -1);
  Say("a", output.sequence_id, 1, "b", kMax, -2);
  EXPECT_EQ(Texts(*sink), (std::map<uint32_t, std::string>{{0, "xya"}, {1, "xyb"}}));
  for (const ChoiceDelta& delta : sink->deltas) {
    ASSERT_EQ(delta.logprobs.size(), 3u);
    EXPECT_FALSE(delta.logprobs[0].has_logprob);
    EXPECT_EQ(delta.logprobs[1].logprob, -4);
    EXPECT_EQ(delta.logprobs[2].logprob, delta.index == 0 ? -1 : -2);
  }
}

TEST_F(BeamsTest, OfMoreAnswersThanAreReturnedTheLikeliestComeAtTheEnd) {
  GenerationRequest request = Request({"x", "y"});
  request.params.best_of = 3;
  request.params.n = 2;
  const auto sink = Start(request);
  ASSERT_EQ(channels_["a"]->submitted.size(), 6u);
  EXPECT_EQ(admission_.queued_sequences(), 6u);
  const double means[] = {-3, -1, -2, -1, -3, -2};
  for (size_t i = 0; i < 6; ++i) {
    const Sequence& sent = Sent("a", i);
    EXPECT_EQ(sent.sampling.n, 1u);
    EXPECT_NE(sent.sampling.seed, Sent("a", (i + 1) % 3).sampling.seed) << "draws of its own";
    ASSERT_TRUE(sent.logprobs.has_value());
    EXPECT_EQ(sent.logprobs->top_logprobs, 0u);
    Say("a", sent.sequence_id, 0, Concat(i), Finish::Reason::kUnspecified, means[i]);
    EXPECT_EQ(sink->deltas.size(), 0u);
    Say("a", sent.sequence_id, 0, Concat(i, i), kMax, means[i]);
  }
  EXPECT_EQ(Texts(*sink),
            (std::map<uint32_t, std::string>{{0, "111"}, {1, "222"}, {2, "333"}, {3, "555"}}));
  for (const ChoiceDelta& delta : sink->deltas) EXPECT_TRUE(delta.logprobs.empty());
  ASSERT_TRUE(sink->usage.has_value());
  EXPECT_EQ(sink->usage->completion_tokens, 6u * 3) << "all that was drawn";
}

TEST_F(BeamsTest, AnAnswerThatIsOneOfManyIsResumedAsAnyOther) {
  GenerationRequest request = Request({"x"});
  request.params.best_of = 2;
  const auto sink = Start(request);
  Say("a", Sent("a", 0).sequence_id, 0, "be", Finish::Reason::kUnspecified, -1);
  Say("a", Sent("a", 1).sequence_id, 0, "worse", kMax, -2);
  Say("a", Sent("a", 0).sequence_id, 0, "", Finish::Reason::kPreempted);
  ASSERT_EQ(channels_["a"]->submitted.size(), 3u);
  EXPECT_EQ(Sent("a", 2).generated_token_ids, (std::vector<uint32_t>{'b', 'e'}));
  Say("a", Sent("a", 2).sequence_id, 0, "st", kMax, -1);
  EXPECT_EQ(Texts(*sink), (std::map<uint32_t, std::string>{{0, "best"}}));
  EXPECT_EQ(metrics_.resumed_sequences.Value(), 1);
}

TEST_F(BeamsTest, AClientThatIsGoneEndsARequestWhoseAnswersWereHeld) {
  GenerationRequest request = Request({"x"});
  request.params.best_of = 2;
  const auto sink = Start(request);
  sink->client_is_gone = true;
  Say("a", Sent("a", 0).sequence_id, 0, "a", kMax, -1);
  Say("a", Sent("a", 1).sequence_id, 0, "b", kMax, -2);
  EXPECT_EQ(sink->deltas.size(), 1u);
  EXPECT_TRUE(absl::IsCancelled(*sink->error));
  EXPECT_FALSE(sink->usage.has_value());
}

}  // namespace
}  // namespace pingti::router
