// The sizes that outputs are cut by, against what their messages take on the wire.
#include "worker/server/split_output.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "worker/server/convert.h"

namespace pingti::worker {
namespace {

// What a step's message grows by.
size_t WireBytes(SequenceOutput output) {
  v1::SessionResponse response;
  ToProto(std::move(output), response.mutable_step_output()->add_outputs());
  return response.ByteSizeLong();
}

TokenLogprobs Scores(int num_top) {
  TokenLogprobs scores{-1.5f, {}};
  for (int i = 0; i < num_top; ++i) scores.top.push_back({INT32_MAX - i, -2.5f});
  return scores;
}

// The widest values that a field may have.
SequenceOutput WideOutput(int num_prompt, int num_tokens, int num_top) {
  SequenceOutput output;
  output.sequence_id = UINT64_MAX;
  output.sample_index = 1023;
  output.cached_prompt_tokens = INT32_MAX;
  for (int i = 0; i < num_prompt; ++i) output.prompt_logprobs.push_back(Scores(num_top));
  for (int i = 0; i < num_tokens; ++i) {
    output.token_ids.push_back(INT32_MAX);
    if (num_top >= 0) output.logprobs.push_back(Scores(num_top));
  }
  return output;
}

void End(SequenceOutput* output, size_t message_bytes) {
  Finish& finish = output->finish.emplace();
  finish.reason = FinishReason::kError;
  finish.status = absl::InternalError(std::string(message_bytes, 'x'));
  finish.cumulative_logprob = -3.5f;
  finish.usage = {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX};
}

TEST(SplitOutput, NothingTakesMoreOnTheWireThanItIsCountedFor) {
  for (const int num_prompt : {0, 1, 40}) {
    for (const int num_tokens : {0, 1, 2, 300}) {
      for (const int num_top : {-1, 0, 1, 20}) {
        SequenceOutput output = WideOutput(num_prompt, num_tokens, num_top);
        EXPECT_LE(WireBytes(output), BytesOnTheWire(output))
            << num_prompt << " " << num_tokens << " " << num_top;
        for (const size_t message : {0u, 1u, 200u, 5'000u}) {
          End(&output, message);
          EXPECT_LE(WireBytes(output), BytesOnTheWire(output)) << message;
        }
      }
    }
  }
}

TEST(SplitOutput, WhatItIsCountedForIsNotMuchMoreThanItTakes) {
  SequenceOutput output = WideOutput(10, 10, 5);
  End(&output, 2'000);
  EXPECT_LT(BytesOnTheWire(output), WireBytes(output) * 5 / 4);
}

TEST(SplitOutput, PartsAreAsLargeAsTheyMayBeAndHaveEverythingInOrder) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    SequenceOutput output =
        WideOutput(static_cast<int>(random() % 12), static_cast<int>(random() % 12), 0);
    for (size_t i = 0; i < output.prompt_logprobs.size(); ++i) {
      output.prompt_logprobs[i] = Scores(static_cast<int>(random() % 21));
    }
    for (size_t i = 0; i < output.token_ids.size(); ++i) {
      output.token_ids[i] = static_cast<int32_t>(i);
      output.logprobs[i] = Scores(static_cast<int>(random() % 21));
    }
    if (random() % 2 == 0) End(&output, random() % 300);
    const SequenceOutput given = output;
    const size_t most = 100 + random() % 1'500;
    SCOPED_TRACE(::testing::Message() << "round " << round << ", " << most << " bytes");
    SequenceOutput joined;
    bool over = false;
    while (!over) {
      SequenceOutput part;
      over = SplitOff(&output, most, &part);
      EXPECT_EQ(part.sequence_id, given.sequence_id);
      EXPECT_EQ(part.sample_index, given.sample_index);
      EXPECT_EQ(part.cached_prompt_tokens, given.cached_prompt_tokens);
      EXPECT_EQ(part.finish.has_value(), over && given.finish.has_value());
      const size_t items = part.prompt_logprobs.size() + part.token_ids.size();
      if (given.prompt_logprobs.size() + given.token_ids.size() > 0) EXPECT_GE(items, 1u);
      // The end's bytes are kept free in every part, so that the last one has room for it.
      SequenceOutput with_end = part;
      with_end.finish = given.finish;
      EXPECT_TRUE(items <= 1 || BytesOnTheWire(with_end) <= most) << BytesOnTheWire(with_end);
      if (!over) {
        // One item more would have been too much.
        const bool prompt_is_next = !output.prompt_logprobs.empty();
        if (prompt_is_next) {
          with_end.prompt_logprobs.push_back(output.prompt_logprobs.front());
        } else {
          with_end.token_ids.push_back(output.token_ids.front());
          with_end.logprobs.push_back(output.logprobs.front());
        }
        EXPECT_GT(BytesOnTheWire(with_end), most);
      }
      for (const TokenLogprobs& scores : part.prompt_logprobs) {
        joined.prompt_logprobs.push_back(scores);
      }
      joined.token_ids.insert(joined.token_ids.end(), part.token_ids.begin(), part.token_ids.end());
      for (const TokenLogprobs& scores : part.logprobs) joined.logprobs.push_back(scores);
    }
    EXPECT_EQ(joined.token_ids, given.token_ids);
    ASSERT_EQ(joined.prompt_logprobs.size(), given.prompt_logprobs.size());
    for (size_t i = 0; i < given.prompt_logprobs.size(); ++i) {
      EXPECT_EQ(joined.prompt_logprobs[i].top.size(), given.prompt_logprobs[i].top.size());
    }
    ASSERT_EQ(joined.logprobs.size(), given.logprobs.size());
    for (size_t i = 0; i < given.logprobs.size(); ++i) {
      EXPECT_EQ(joined.logprobs[i].top.size(), given.logprobs[i].top.size());
    }
  }
}

}  // namespace
}  // namespace pingti::worker
