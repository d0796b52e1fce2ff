// Tokens to text with stop strings and logprobs: what is held back, and what comes with what.
#include "router/pipeline/choice_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/router/pipeline/byte_tokenizer.h"

namespace pingti::router {
namespace {

class ChoiceStreamTest : public ::testing::Test {
 protected:
  ChoiceStreamTest() { model_.tokenizer = std::make_shared<ByteTokenizer>(); }

  ChoiceStream Make(bool include_stop = false) {
    ChoiceStream::Options options;
    options.include_stop = include_stop;
    return {&model_, &stops_, std::move(options)};
  }
  // Pushes bytes with their place as logprob. True once the answer is over.
  static bool Push(ChoiceStream* stream, std::string_view text, ChoiceDelta* delta) {
    for (const char c : text) {
      const TokenScores scores{.logprob = -static_cast<float>(stream->num_tokens()), .top = {}};
      if (stream->Push(static_cast<uint8_t>(c), &scores, delta)) return true;
    }
    return false;
  }
  static std::string Scored(const ChoiceDelta& delta) {
    std::string text;
    for (const TokenLogprob& entry : delta.logprobs) text += entry.bytes;
    return text;
  }

  ServedModel model_;
  const text::StopStrings stops_{{"STOP", "TOO"}};
};

TEST_F(ChoiceStreamTest, LogprobsComeWithTheirText) {
  ChoiceStream stream = Make();
  ChoiceDelta delta;
  EXPECT_FALSE(Push(&stream, "ab", &delta));
  EXPECT_EQ(delta.content, "ab");
  EXPECT_EQ(Scored(delta), "ab");
  EXPECT_EQ(delta.logprobs[1].logprob, -1);
  EXPECT_EQ(delta.logprobs[1].text_offset, 1u);
  ChoiceDelta held;
  EXPECT_FALSE(Push(&stream, "cST", &held));
  EXPECT_EQ(held.content, "c");
  EXPECT_EQ(Scored(held), "c") << "ST may be the beginning of a stop string";
  ChoiceDelta released;
  EXPECT_FALSE(Push(&stream, "x", &released));
  EXPECT_EQ(released.content, "STx");
  EXPECT_EQ(Scored(released), "STx");
}

TEST_F(ChoiceStreamTest, AStopStringTakesItsTokensLogprobsAlong) {
  ChoiceStream stream = Make();
  ChoiceDelta delta;
  EXPECT_TRUE(Push(&stream, "abSTOPxyz", &delta));
  stream.Finish(FinishReason::kStop, &delta);
  EXPECT_EQ(delta.content, "ab");
  EXPECT_EQ(Scored(delta), "ab");
  EXPECT_EQ(delta.matched_stop, "STOP");
  EXPECT_EQ(delta.finish, FinishReason::kStop);
  EXPECT_EQ(stream.num_tokens(), 6u) << "those behind it were not pushed";
}

TEST_F(ChoiceStreamTest, AStopStringThatIsAskedForIsPartOfTheAnswer) {
  ChoiceStream stream = Make(/*include_stop=*/true);
  ChoiceDelta delta;
  EXPECT_TRUE(Push(&stream, "abTOO", &delta));
  stream.Finish(FinishReason::kStop, &delta);
  EXPECT_EQ(delta.content, "abTOO");
  EXPECT_EQ(delta.matched_stop, "TOO");
}

TEST_F(ChoiceStreamTest, WhatWasHeldComesAtTheEndWhenNoStopStringCame) {
  ChoiceStream stream = Make();
  ChoiceDelta delta;
  EXPECT_FALSE(Push(&stream, "abSTO", &delta));
  EXPECT_EQ(delta.content, "ab");
  ChoiceDelta last;
  stream.Finish(FinishReason::kLength, &last);
  EXPECT_EQ(last.content, "STO");
  EXPECT_EQ(Scored(last), "STO");
  EXPECT_EQ(last.matched_stop, "");
  EXPECT_EQ(last.finish, FinishReason::kLength);
}

TEST_F(ChoiceStreamTest, TheStopTokenIsCountedAndNotShown) {
  ChoiceStream stream = Make();
  ChoiceDelta delta;
  Push(&stream, "a", &delta);
  stream.PushStopToken();
  stream.Finish(FinishReason::kStop, &delta);
  EXPECT_EQ(delta.content, "a");
  EXPECT_EQ(stream.num_tokens(), 2u);
  EXPECT_EQ(stream.reasoning_tokens(), 0u);
}

TEST_F(ChoiceStreamTest, HarmonysMessagesBecomeThoughtsWordsAndCalls) {
  model_.reasoning = ReasoningFormat::kHarmony;
  ChoiceStream::Options options;
  options.split_reasoning = true;
  options.tool_calls =
      MakeToolCallParser(ToolCallFormat::kHarmony, {.new_id = [] { return "call_1"; }});
  ChoiceStream stream(&model_, nullptr, std::move(options));
  ChoiceDelta delta;
  EXPECT_FALSE(Push(&stream, "<|channel|>analysis<|message|>hm", &delta));
  EXPECT_TRUE(stream.thinking());
  EXPECT_FALSE(Push(&stream,
                    "<|end|><|start|>assistant<|channel|>commentary<|message|>I look."
                    "<|end|><|start|>assistant to=functions.f<|channel|>commentary json"
                    "<|message|>{\"a\":1}",
                    &delta));
  EXPECT_FALSE(stream.thinking());
  stream.PushStopToken();  // <|call|>
  stream.Finish(FinishReason::kStop, &delta);
  EXPECT_EQ(delta.reasoning, "hm");
  EXPECT_EQ(delta.content, "I look.");
  ASSERT_EQ(delta.tool_calls.size(), 1u);
  EXPECT_EQ(delta.tool_calls[0].name, "f");
  EXPECT_EQ(delta.tool_calls[0].arguments, "{\"a\":1}");
  EXPECT_EQ(delta.finish, FinishReason::kToolCalls);
}

TEST_F(ChoiceStreamTest, ADrawnTokenStandsAmongTheLikeliestOnce) {
  ChoiceStream stream = Make();
  ChoiceDelta delta;
  const TokenScores with{.logprob = -1, .top = {{'b', -0.5f}, {'a', -1}}};
  const TokenScores without{.logprob = -3, .top = {{'b', -0.5f}, {'c', -1}}};
  stream.Push('a', &with, &delta);
  stream.Push('a', &without, &delta);
  ASSERT_EQ(delta.logprobs.size(), 2u);
  EXPECT_EQ(delta.logprobs[0].top.size(), 2u);
  ASSERT_EQ(delta.logprobs[1].top.size(), 3u);
  EXPECT_EQ(delta.logprobs[1].top[2].bytes, "a");
  EXPECT_EQ(delta.logprobs[1].top[2].logprob, -3);
}

TEST_F(ChoiceStreamTest, OffsetsCountFromWhereAnEchoedPromptEnds) {
  ChoiceStream stream = Make();
  stream.SetTextOffset(100);
  ChoiceDelta delta;
  Push(&stream, "ab", &delta);
  EXPECT_EQ(delta.logprobs[0].text_offset, 100u);
  EXPECT_EQ(delta.logprobs[1].text_offset, 101u);
}

}  // namespace
}  // namespace pingti::router
