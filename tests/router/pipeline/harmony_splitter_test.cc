// Answers in Harmony's messages, split the same however they are cut into pieces.
#include "router/pipeline/harmony_splitter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "router/pipeline/tool_call_parser.h"

namespace pingti::router {
namespace {

struct HarmonyParts {
  std::string reasoning;
  std::string content;
  bool operator==(const HarmonyParts&) const = default;
};

std::ostream& operator<<(std::ostream& out, const HarmonyParts& parts) {
  return out << "[" << parts.reasoning << "|" << parts.content << "]";
}

HarmonyParts SplitOnce(std::string_view text, size_t size, bool parses_calls, bool open) {
  HarmonySplitter splitter({.open = open, .parses_calls = parses_calls});
  HarmonyParts parts;
  std::string call;
  for (size_t i = 0; i < text.size(); i += size) {
    splitter.Push(text.substr(i, size), &parts.reasoning, &parts.content);
  }
  splitter.Finish(&parts.reasoning, &parts.content, &call);
  EXPECT_EQ(call, "");
  EXPECT_EQ(splitter.held_bytes(), 0u);
  return parts;
}

// In pieces of every size, which must not matter.
HarmonyParts SplitMessages(std::string_view text, bool parses_calls = false, bool open = false) {
  const HarmonyParts whole = SplitOnce(text, text.size() + 1, parses_calls, open);
  for (size_t size = 1; size < text.size(); ++size) {
    EXPECT_EQ(SplitOnce(text, size, parses_calls, open), whole) << "pieces of " << size;
  }
  return whole;
}

constexpr std::string_view kThoughtAndWords =
    "<|channel|>analysis<|message|>2 + 2 is 4.<|end|><|start|>assistant<|channel|>final<|message|>"
    "It is 4.";

TEST(HarmonySplitter, TheChannelSaysWhatAMessageIs) {
  const HarmonyParts expected{"2 + 2 is 4.", "It is 4."};
  EXPECT_EQ(SplitMessages(kThoughtAndWords), expected);
  EXPECT_EQ(SplitMessages(std::string(kThoughtAndWords) + "<|return|>"), expected);
  EXPECT_EQ(SplitMessages("<|channel|>final<|message|>Yes.<|return|>"), (HarmonyParts{"", "Yes."}));
  EXPECT_EQ(SplitMessages(
                "<|channel|>commentary<|message|>First I look.<|end|><|start|>assistant"
                "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis"
                "<|message|>b<|end|><|start|>assistant<|channel|>final<|message|>Done.<|return|>"),
            (HarmonyParts{"a\nb", "First I look.\nDone."}));
  EXPECT_EQ(SplitMessages("more of it<|end|><|start|>assistant<|channel|>final<|message|>so", false,
                          true),
            (HarmonyParts{"more of it", "so"}));
}

TEST(HarmonySplitter, AMessageMayLackItsEnd) {
  EXPECT_EQ(SplitMessages(
                "<|channel|>analysis<|message|>hm<|start|>assistant<|channel|>final<|message|>x"),
            (HarmonyParts{"hm", "x"}));
  EXPECT_EQ(SplitMessages("<|channel|>analysis<|message|>cut off"), (HarmonyParts{"cut off", ""}));
  EXPECT_EQ(SplitMessages("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>fin"),
            (HarmonyParts{"a", ""}));
}

TEST(HarmonySplitter, TextWithoutMessagesIsContent) {
  EXPECT_EQ(SplitMessages("plain words"), (HarmonyParts{"", "plain words"}));
  EXPECT_EQ(SplitMessages("{\"a\": 1}"), (HarmonyParts{"", "{\"a\": 1}"}));
  EXPECT_EQ(SplitMessages("t"), (HarmonyParts{"", "t"}));
  EXPECT_EQ(SplitMessages("<"), (HarmonyParts{"", "<"}));
  const std::string endless = "to=" + std::string(2000, 'x');
  EXPECT_EQ(SplitMessages(endless).content, endless);
  EXPECT_EQ(SplitMessages(""), (HarmonyParts{}));
  EXPECT_EQ(SplitMessages("<|message|>a<|end|>"), (HarmonyParts{"", "a"}));
  const std::string longest = "to=" + std::string(509, 'x') + "<|message|>a";
  EXPECT_EQ(SplitMessages(longest), (HarmonyParts{"", "a"}));
}

TEST(HarmonySplitter, CallsComeInOneSpelling) {
  const HarmonyParts expected{"",
                              "\xFF<|channel|>commentary to=functions.f<|message|>{\"a\": 1}\xFF"
                              "<|call|>"};
  for (const std::string_view header :
       {"<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
        "<|channel|>commentary to=functions.f<|message|>",
        " to=functions.f<|channel|>commentary json<|message|>",
        "<|start|>assistant to=functions.f<|channel|>analysis<|constrain|>json<|message|>"}) {
    const std::string call = std::string(header) + "{\"a\": 1}";
    EXPECT_EQ(SplitMessages(call, true), expected) << header;
    EXPECT_EQ(SplitMessages(call + "<|call|>", true), expected) << header;
    EXPECT_EQ(SplitMessages(call, false), (HarmonyParts{"", "{\"a\": 1}"})) << header;
  }
}

TEST(HarmonySplitter, ItsCallsAreReadByTheParser) {
  int ids = 0;
  const auto parser = MakeToolCallParser(
      ToolCallFormat::kHarmony, {.new_id = [&] { return "call_" + std::to_string(++ids); }});
  HarmonySplitter splitter({.parses_calls = true});
  std::string reasoning, content, words, call;
  std::vector<ToolCallDelta> calls;
  const std::string_view text =
      "<|channel|>analysis<|message|>The weather.<|end|><|start|>assistant<|channel|>commentary "
      "to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"<|end|\"}";
  for (const char c : text) {
    content.clear();
    splitter.Push(std::string_view(&c, 1), &reasoning, &content);
    parser->Push(content, &words, &calls);
  }
  content.clear();
  splitter.Finish(&reasoning, &content, &call);
  parser->Push(content, &words, &calls);
  parser->Finish(&words, &calls);
  EXPECT_EQ(reasoning, "The weather.");
  EXPECT_EQ(words, "");
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].name, "get_weather");
  EXPECT_EQ(calls[0].arguments, "{\"city\": \"<|end|\"}");
  EXPECT_EQ(calls[0].id, "call_1");
}

TEST(HarmonySplitter, AnyTextIsSplitTheSameHoweverItIsCut) {
  const std::vector<std::string> pieces = {
      "<|start|>",   "assistant", "<|channel|>", "analysis", "final", "commentary", " to=f",
      "<|message|>", "<|end|>",   "<|call|>",    "words ",   "<|",    "|>",         "\n"};
  std::mt19937 rng(7);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += pieces[rng() % pieces.size()];
    SCOPED_TRACE(text);
    const bool parses_calls = rng() % 2 == 0;
    const HarmonyParts whole = SplitOnce(text, text.size() + 1, parses_calls, false);
    for (const size_t size : {1, 2, 3, 7}) {
      ASSERT_EQ(SplitOnce(text, size, parses_calls, false), whole) << "pieces of " << size;
    }
  }
}

// Pieces that are tokens.
TEST(HarmonySplitter, MarksThatAreTokensAreNotSpelledOut) {
  HarmonySplitter splitter({.parses_calls = true, .marks_are_tokens = true});
  HarmonyParts parts;
  for (const std::string_view token : {"\xFF<|channel|>",
                                       "analysis",
                                       "\xFF<|message|>",
                                       "<|end|> ",
                                       "ends",
                                       "\xFF<|end|>",
                                       "\xFF<|start|>",
                                       "assistant",
                                       "\xFF<|channel|>",
                                       "final",
                                       "\xFF<|message|>",
                                       "a<",
                                       "|call|>",
                                       "\xFF<|constrain|>",
                                       "b",
                                       "\xFF<|end|>",
                                       "\xFF<|start|>",
                                       "assistant",
                                       "\xFF<|channel|>",
                                       "commentary",
                                       " to=f ",
                                       "\xFF<|constrain|>",
                                       "json",
                                       "\xFF<|message|>",
                                       "{}",
                                       "\xFF<|call|>",
                                       "\xFF<|channel|>",
                                       "fin"}) {
    splitter.Push(token, &parts.reasoning, &parts.content);
  }
  std::string call;
  splitter.Finish(&parts.reasoning, &parts.content, &call);
  const HarmonyParts expected{"<|end|> ends",
                              "a<|call|>b\xFF<|channel|>commentary to=f<|message|>{}\xFF<|call|>"};
  EXPECT_EQ(parts, expected);
}

TEST(HarmonySplitter, AnyTokensAreSplitTheSameHoweverTheyAreGrouped) {
  const std::vector<std::string> tokens = {"\xFF<|start|>",
                                           "\xFF<|channel|>",
                                           "\xFF<|message|>",
                                           "\xFF<|end|>",
                                           "\xFF<|call|>",
                                           "\xFF<|return|>",
                                           "\xFF<|constrain|>",
                                           "assistant",
                                           "analysis",
                                           "final",
                                           " to=functions.f",
                                           "<|end|>",
                                           "<|",
                                           "words ",
                                           "{}"};
  std::mt19937 rng(11);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> answer;
    for (int i = 0; i < 14; ++i) answer.push_back(tokens[rng() % tokens.size()]);
    const bool parses_calls = rng() % 2 == 0;
    std::vector<HarmonyParts> splits;
    for (const size_t group : {1, 3, 14}) {
      HarmonySplitter splitter({.parses_calls = parses_calls, .marks_are_tokens = true});
      HarmonyParts parts;
      for (size_t i = 0; i < answer.size(); i += group) {
        std::string text;
        for (size_t j = i; j < std::min(i + group, answer.size()); ++j) text += answer[j];
        splitter.Push(text, &parts.reasoning, &parts.content);
      }
      std::string call;
      splitter.Finish(&parts.reasoning, &parts.content, &call);
      splits.push_back(parts);
    }
    ASSERT_EQ(splits[0], splits[1]) << round;
    ASSERT_EQ(splits[0], splits[2]) << round;
    // The control byte marks calls and nothing else.
    EXPECT_EQ(splits[0].reasoning.find('\xFF'), std::string::npos);
    const auto count = [&](std::string_view text) {
      int found = 0;
      for (size_t at = 0; (at = splits[0].content.find(text, at)) != std::string::npos; ++at) {
        ++found;
      }
      return found;
    };
    EXPECT_EQ(count("\xFF"), count("\xFF<|channel|>commentary to=") + count("\xFF<|call|>"));
    EXPECT_EQ(count("\xFF<|channel|>commentary to="), count("\xFF<|call|>"));
    if (!parses_calls) {
      EXPECT_EQ(count("\xFF"), 0);
    }
  }
}

TEST(HarmonySplitter, WithoutAHeaderTokensAreNotShown) {
  HarmonySplitter splitter({.marks_are_tokens = true});
  HarmonyParts parts;
  for (const std::string_view token :
       {"a", "\xFF<|message|>", "<|b", "\xFF<|end|>", ">", "\xFF<|end|>"}) {
    splitter.Push(token, &parts.reasoning, &parts.content);
  }
  EXPECT_EQ(parts, (HarmonyParts{"", "a<|b>"}));
}

// Draws an answer message by message, and what it is split into.
class DrawnMessages {
 public:
  DrawnMessages(uint32_t seed, bool parses_calls, bool open)
      : rng_(seed), parses_calls_(parses_calls) {
    bool has_start = true;  // the first one's is the prompt's
    bool ends_with_mark = false;
    for (int i = 0; i < 5; ++i) {
      if (i > 0 || !open) Header(has_start);
      if (i == 0 && open) is_thought_ = true;
      Body();
      if (i == 4 && OneIn(2)) break;
      text += OneOf({"<|end|>", "<|return|>", "<|call|>", "<|start|>assistant"});
      has_start = text.ends_with("assistant");
      ends_with_mark = i == 4;
      if (is_call_) expected.content += "\xFF<|call|>";
      is_call_ = false;
    }
    if (is_call_) expected.content += "\xFF<|call|>";
    // A header that is cut off is not shown.
    if (ends_with_mark) text += OneOf({"", "<|channel|>fin", "<|start|>", " to=f<|ch"});
  }

  std::string text;
  HarmonyParts expected;

 private:
  bool OneIn(uint32_t count) { return rng_() % count == 0; }
  std::string OneOf(const std::vector<std::string>& choices) {
    return choices[rng_() % choices.size()];
  }

  void Header(bool has_start) {
    if (!has_start && OneIn(2)) text += "<|start|>assistant";
    const uint32_t kind = rng_() % 3;
    is_thought_ = kind == 0;
    if (kind == 0) text += "<|channel|>analysis";
    if (kind == 1) text += OneOf({"<|channel|>final", "<|channel|>commentary", ""});
    if (kind == 2) {
      text += OneOf({"<|channel|>commentary to=functions.f", " to=functions.f<|channel|>analysis",
                     "<|channel|>final to=functions.f <|constrain|>json"});
    }
    text += "<|message|>";
    is_call_ = kind == 2 && parses_calls_;
    if (is_call_) {
      expected.content += "\xFF<|channel|>commentary to=functions.f<|message|>";
    } else if (is_thought_) {
      if (has_thoughts_) expected.reasoning += "\n";
    } else if (has_words_) {
      expected.content += "\n";
    }
  }

  void Body() {
    std::string body;
    for (uint32_t i = rng_() % 4; i > 0; --i)
      body += OneOf({"words ", "<|", "|>", "\n", "<|en", "<"});
    text += body;
    (is_thought_ ? expected.reasoning : expected.content) += body;
    if (!body.empty() && is_thought_) has_thoughts_ = true;
    if (!body.empty() && !is_thought_ && !is_call_) has_words_ = true;
  }

  std::mt19937 rng_;
  const bool parses_calls_;
  bool is_thought_ = false;
  bool is_call_ = false;
  bool has_thoughts_ = false;
  bool has_words_ = false;
};

TEST(HarmonySplitter, AnswersAreSplitAsTheyWerePutTogether) {
  for (uint32_t seed = 1; seed <= 400; ++seed) {
    for (const bool parses_calls : {false, true}) {
      for (const bool open : {false, true}) {
        const DrawnMessages drawn(seed, parses_calls, open);
        for (const size_t size : {size_t{1}, size_t{4}, drawn.text.size() + 1}) {
          ASSERT_EQ(SplitOnce(drawn.text, size, parses_calls, open), drawn.expected)
              << "seed " << seed << ", pieces of " << size << ": " << drawn.text;
        }
      }
    }
  }
}

TEST(HarmonySplitter, WhatItHoldsBackMayBeAMark) {
  for (const std::string_view text : {"ab<|end", "ab<", "ab", "ab<|star", "ab<|callx"}) {
    HarmonySplitter splitter({.open = true});
    HarmonyParts parts;
    splitter.Push(text, &parts.reasoning, &parts.content);
    const size_t mark = text.ends_with('x') ? text.size() : std::min(text.find('<'), text.size());
    EXPECT_EQ(parts.reasoning, text.substr(0, mark));
    EXPECT_EQ(splitter.held_bytes(), text.size() - mark);
    EXPECT_TRUE(splitter.inside());
  }
}

}  // namespace
}  // namespace pingti::router
