// How outputs of a step are put together and handed out.
#include "worker/engine/session_outputs.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/engine/group_testing.h"

namespace pingti::worker {
namespace {

// Writes down every call.
class LoggingSink : public SessionSink {
 public:
  explicit LoggingSink(std::vector<std::string>* log) : log_(log) {}
  void OnStep(uint64_t step, std::span<SequenceOutput> outputs) override {
    std::string line = "step " + std::to_string(step) + ":";
    for (const SequenceOutput& output : outputs) {
      line += " " + std::to_string(output.sequence_id) + "/" + std::to_string(output.sample_index);
      for (const int32_t token : output.token_ids) line += "+" + std::to_string(token);
      if (output.finish) line += "!";
    }
    log_->push_back(line);
  }
  void OnAccepted(uint64_t highest) override {
    log_->push_back("accepted " + std::to_string(highest));
  }

 private:
  std::vector<std::string>* const log_;
};

class SessionOutputsTest : public ::testing::Test {
 protected:
  SessionOutputsTest() {
    outputs_.Open(7, std::make_unique<LoggingSink>(&log_));
    limits_.vocab_size = 64;
    limits_.max_context_tokens = 100;
  }
  std::unique_ptr<RequestGroup> Make(uint64_t id) {
    return std::make_unique<RequestGroup>(MakeRequest(id, {5, 6}, 4), 7, id, limits_, 4);
  }

  std::vector<std::string> log_;
  RequestLimits limits_;
  SessionOutputs outputs_;
};

TEST_F(SessionOutputsTest, ATokenAndItsEndingShareOneOutput) {
  const auto group = Make(3);
  Sample* sample = group->samples[0].get();
  outputs_.For(group.get(), sample, 0)->token_ids.push_back(9);
  outputs_.For(group.get(), sample, 0)->finish = Finish();
  outputs_.Publish(5);
  EXPECT_EQ(log_, std::vector<std::string>{"step 5: 3/0+9!"});
}

TEST_F(SessionOutputsTest, SamplesAndSequencesHaveOutputsOfTheirOwn) {
  const auto a = Make(3);
  const auto b = Make(4);
  a->AddSample();
  outputs_.For(a.get(), a->samples[0].get(), 0)->token_ids.push_back(9);
  outputs_.For(a.get(), a->samples[1].get(), 1)->token_ids.push_back(8);
  outputs_.For(b.get(), b->samples[0].get(), 0)->token_ids.push_back(7);
  outputs_.Add(7, 6)->finish = Finish();
  outputs_.Publish(1);
  EXPECT_EQ(log_, std::vector<std::string>{"step 1: 3/0+9 3/1+8 4/0+7 6/0!"});
}

TEST_F(SessionOutputsTest, WhatWasPublishedDoesNotComeBack) {
  const auto group = Make(3);
  Sample* sample = group->samples[0].get();
  outputs_.For(group.get(), sample, 0)->token_ids.push_back(9);
  outputs_.Publish(1);
  outputs_.Publish(2);
  outputs_.For(group.get(), sample, 0)->token_ids.push_back(8);
  outputs_.Publish(3);
  EXPECT_EQ(log_, (std::vector<std::string>{"step 1: 3/0+9", "step 3: 3/0+8"}));
}

TEST_F(SessionOutputsTest, TheFirstOutputSaysWhatWasCachedAndBringsThePromptsLogprobs) {
  CollectedMap out;
  outputs_.Open(8, std::make_unique<CollectingSink>(&out));
  RequestGroup group(MakeRequest(3, {5, 6}, 4), 8, 0, limits_, 4);
  group.cached_prompt_tokens = 4;
  group.prompt_logprobs.resize(2);
  for (int step = 1; step <= 2; ++step) {
    outputs_.For(&group, group.samples[0].get(), 0)->token_ids.push_back(9);
    outputs_.Publish(static_cast<uint64_t>(step));
  }
  const Collected& got = out[{3, 0}];
  EXPECT_EQ(got.num_outputs, 2);
  EXPECT_EQ(got.cached_prompt_tokens, 4);
  EXPECT_EQ(got.prompt_logprobs.size(), 2u);
}

TEST_F(SessionOutputsTest, ThePromptsLogprobsComeWithTheFirstSampleWhicheverIsFirst) {
  CollectedMap out;
  outputs_.Open(8, std::make_unique<CollectingSink>(&out));
  RequestGroup group(MakeRequest(3, {5, 6}, 4), 8, 0, limits_, 4);
  group.AddSample();
  group.prompt_logprobs.resize(2);
  for (const size_t index : {1, 0}) {
    outputs_.For(&group, group.samples[index].get(), static_cast<int32_t>(index));
  }
  outputs_.Publish(1);
  EXPECT_EQ((out[{3, 0}].prompt_logprobs.size()), 2u);
  EXPECT_EQ((out[{3, 1}].prompt_logprobs.size()), 0u);
}

// Outputs are made once and used again for whatever comes next.
TEST_F(SessionOutputsTest, NothingOfAnEarlierStepIsInALaterOne) {
  SequenceOutput* first = outputs_.Add(7, 1);
  first->sample_index = 2;
  first->token_ids = {9};
  first->logprobs.resize(1);
  first->prompt_logprobs.resize(1);
  first->cached_prompt_tokens = 4;
  first->finish.emplace();
  outputs_.Publish(1);
  const SequenceOutput* second = outputs_.Add(7, 5);
  EXPECT_EQ(second->sequence_id, 5u);
  EXPECT_EQ(second->sample_index, 0);
  EXPECT_TRUE(second->token_ids.empty());
  EXPECT_TRUE(second->logprobs.empty());
  EXPECT_TRUE(second->prompt_logprobs.empty());
  EXPECT_EQ(second->cached_prompt_tokens, 0);
  EXPECT_FALSE(second->finish.has_value());
}

TEST_F(SessionOutputsTest, AcceptanceIsToldOncePerPublicationAndNeverGoesBack) {
  outputs_.Accept(7, 5);
  outputs_.Accept(7, 3);
  outputs_.Publish(1);
  outputs_.Publish(2);
  outputs_.Accept(7, 4);
  outputs_.Publish(3);
  EXPECT_EQ(log_, (std::vector<std::string>{"accepted 5", "accepted 5"}));
}

TEST_F(SessionOutputsTest, AClosedSessionHearsNothingMore) {
  outputs_.Add(7, 6);
  outputs_.Close(7);
  outputs_.Publish(1);
  EXPECT_TRUE(log_.empty());
}

}  // namespace
}  // namespace pingti::worker
