// Random answers, a byte a token, against what the whole text means: where the thought ends, where
// a stop string cuts the rest off, which calls it has, and which tokens' scores belong to it.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "router/pipeline/choice_stream.h"
#include "router/pipeline/tool_call_parser.h"
#include "tests/router/pipeline/byte_tokenizer.h"

namespace pingti::router {
namespace {

constexpr std::string_view kStart = "<think>";
constexpr std::string_view kEnd = "</think>";
constexpr std::string_view kCallMark = "<tool_call>";

struct Settings {
  bool splits = false;  // thoughts from answers
  bool open = false;    // the prompt ended within a thought
  bool calls = false;
  bool one_call = false;
  std::string stop;  // empty: none
  FinishReason reason = FinishReason::kStop;
};

// What becomes of a text.
struct Answer {
  std::string reasoning;
  std::string content;
  std::vector<ToolCallDelta> calls;
  std::string matched_stop;
  size_t text_end = std::string::npos;  // where a stop string cut it off
};

std::unique_ptr<ToolCallParser> MakeParser() {
  return MakeToolCallParser(ToolCallFormat::kHermes, {.new_id = [] { return "id"; }});
}

// Where the thought's text begins; npos: the text has no thought.
size_t ThoughtBegin(std::string_view text, const Settings& settings) {
  if (!settings.splits) return std::string::npos;
  if (settings.open) return 0;
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || !text.substr(first).starts_with(kStart)) {
    return std::string::npos;
  }
  return first + kStart.size();
}

bool EndsInsideThought(std::string_view text, const Settings& settings) {
  const size_t begin = ThoughtBegin(text, settings);
  return begin != std::string::npos && text.find(kEnd, begin) == std::string::npos;
}

std::string_view WithoutLeadingBreaks(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}
std::string_view WithoutTrailingBreaks(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

Answer Read(std::string_view text, const Settings& settings) {
  Answer answer;
  const std::unique_ptr<ToolCallParser> parser = MakeParser();
  std::string_view content = text;
  if (const size_t begin = ThoughtBegin(text, settings); begin != std::string::npos) {
    const size_t end = text.find(kEnd, begin);
    const std::string_view thought = WithoutLeadingBreaks(text.substr(begin, end - begin));
    if (end == std::string::npos) {
      // A model that forgot to close its thought may call tools in it.
      const size_t call = settings.calls ? thought.find(kCallMark) : std::string::npos;
      const bool has_call = call != std::string::npos;
      answer.reasoning = has_call ? WithoutTrailingBreaks(thought.substr(0, call)) : thought;
      if (has_call) {
        parser->Push(thought.substr(answer.reasoning.size()), &answer.reasoning, &answer.calls);
        parser->Finish(&answer.reasoning, &answer.calls);
      }
      return answer;
    }
    answer.reasoning = WithoutTrailingBreaks(thought);
    content = WithoutLeadingBreaks(text.substr(end + kEnd.size()));
  }
  if (!settings.stop.empty() && content.find(settings.stop) != std::string::npos) {
    content = content.substr(0, content.find(settings.stop));
    answer.matched_stop = settings.stop;
    answer.text_end = static_cast<size_t>(content.data() + content.size() - text.data());
  }
  if (!settings.calls) {
    answer.content = content;
    return answer;
  }
  for (const char& c : content) {
    if (settings.one_call && parser->num_calls() > 0) break;
    parser->Push({&c, 1}, &answer.content, &answer.calls);
  }
  parser->Finish(&answer.content, &answer.calls);
  return answer;
}

std::string RandomBytes(std::mt19937* random) {
  static constexpr std::string_view kParts[] = {
      "<think>",
      "</think>",
      "\n",
      "\n\n",
      " ",
      "a",
      "b",
      "STOP",
      "ST",
      "<t",
      "</",
      "OP",
      "\xC3\xA9",
      "\xE4\xBD",
      "<tool_call>",
      "\xEF\xBF\xBD",
      "</tool_call>",
      R"({"name":"f","arguments":{"a":1}})",
      "<tool_call>\n{\"name\":\"g\",\"arguments\":{}}\n</tool_call>"};
  std::string bytes;
  if ((*random)() % 3 == 0) bytes = "<think>\n";
  for (size_t parts = (*random)() % 10; parts > 0; --parts) {
    bytes += kParts[(*random)() % std::size(kParts)];
  }
  return bytes;
}

Settings RandomSettings(std::mt19937* random) {
  static const std::string kStops[] = {"", "", "STOP", "b", "<t", "\n\n", "\xEF\xBF\xBD"};
  Settings settings;
  settings.splits = (*random)() % 3 != 0;
  settings.open = settings.splits && (*random)() % 4 == 0;
  settings.calls = (*random)() % 2 == 0;
  settings.one_call = settings.calls && (*random)() % 4 == 0;
  if ((*random)() % 4 == 0) settings.reason = FinishReason::kLength;
  // What is cut off behind a call depends on when the text before it is certain.
  if (!settings.one_call) settings.stop = kStops[(*random)() % std::size(kStops)];
  return settings;
}

// How often each case came up.
struct Totals {
  int thoughts = 0;
  int stops = 0;
  int calls = 0;
  int open_ends = 0;
};

class ChoiceStreamModelTest : public ::testing::Test {
 protected:
  ChoiceStreamModelTest() {
    model_.tokenizer = std::make_shared<ByteTokenizer>();
    model_.reasoning = ReasoningFormat::kThink;
  }

  void Compare(const std::string& bytes, const Settings& settings, Totals* totals) {
    std::optional<text::StopStrings> stops;
    if (!settings.stop.empty()) stops.emplace(std::vector<std::string>{settings.stop});
    ChoiceStream::Options options;
    options.split_reasoning = settings.splits;
    options.reasoning_open = settings.open;
    options.ends_with_call = settings.one_call;
    if (settings.calls) {
      options.tool_calls = MakeParser();
      options.call_mark = CallMark(ToolCallFormat::kHermes);
    }
    ChoiceStream stream(&model_, stops.has_value() ? &*stops : nullptr, std::move(options));

    text::Detokenizer detokenizer(model_.tokenizer.get(), /*skip_special_tokens=*/true);
    std::string text;               // of the tokens so far
    std::vector<size_t> text_ends;  // by token
    uint32_t reasoning_tokens = 0;
    ChoiceDelta delta;
    bool over = false;
    for (size_t i = 0; i < bytes.size() && !over; ++i) {
      const TokenScores scores{.logprob = -static_cast<float>(i), .top = {}};
      const bool was_inside = EndsInsideThought(text, settings);
      over = stream.Push(static_cast<uint8_t>(bytes[i]), &scores, &delta);
      text += detokenizer.Push(static_cast<uint8_t>(bytes[i]));
      text_ends.push_back(text.size());
      const bool is_inside = settings.splits && EndsInsideThought(text, settings);
      ASSERT_EQ(stream.thinking(), is_inside) << "behind token " << i;
      reasoning_tokens += was_inside || is_inside ? 1 : 0;
    }
    text += detokenizer.Finish();
    stream.Finish(settings.reason, &delta);

    const Answer want = Read(text, settings);
    EXPECT_EQ(delta.reasoning, want.reasoning);
    EXPECT_EQ(delta.content, want.content);
    EXPECT_EQ(delta.matched_stop, want.matched_stop);
    ASSERT_EQ(delta.tool_calls.size(), want.calls.size());
    for (size_t i = 0; i < want.calls.size(); ++i) {
      EXPECT_EQ(delta.tool_calls[i].name, want.calls[i].name);
      EXPECT_EQ(delta.tool_calls[i].arguments, want.calls[i].arguments);
    }
    const bool ends_with_calls = settings.reason == FinishReason::kStop && !want.calls.empty();
    EXPECT_EQ(delta.finish, ends_with_calls ? FinishReason::kToolCalls : settings.reason);
    if (over) EXPECT_TRUE(!want.matched_stop.empty() || settings.one_call);
    EXPECT_EQ(stream.num_tokens(), text_ends.size());
    EXPECT_EQ(stream.reasoning_tokens(), reasoning_tokens);
    size_t scored = 0;
    while (scored < text_ends.size() && text_ends[scored] <= want.text_end) ++scored;
    ASSERT_EQ(delta.logprobs.size(), scored);
    for (size_t i = 0; i < scored; ++i) {
      EXPECT_EQ(delta.logprobs[i].logprob, -static_cast<float>(i));
      EXPECT_EQ(delta.logprobs[i].text_offset, i == 0 ? 0 : text_ends[i - 1]);
    }
    totals->thoughts += want.reasoning.empty() ? 0 : 1;
    totals->stops += want.matched_stop.empty() ? 0 : 1;
    totals->calls += want.calls.empty() ? 0 : 1;
    totals->open_ends += EndsInsideThought(text, settings) && !want.calls.empty() ? 1 : 0;
  }

  ServedModel model_;
};

TEST_F(ChoiceStreamModelTest, ATextSaysTheSameTokenByTokenAsWhole) {
  std::mt19937 random(1);
  Totals totals;
  for (int i = 0; i < 6000 && !HasFailure(); ++i) {
    const Settings settings = RandomSettings(&random);
    const std::string bytes = RandomBytes(&random);
    SCOPED_TRACE(::testing::Message()
                 << "text " << ::testing::PrintToString(bytes) << " splits " << settings.splits
                 << " open " << settings.open << " calls " << settings.calls << " one "
                 << settings.one_call << " reason " << static_cast<int>(settings.reason) << " stop "
                 << ::testing::PrintToString(settings.stop));
    Compare(bytes, settings, &totals);
  }
  EXPECT_GT(totals.thoughts, 1000);
  EXPECT_GT(totals.stops, 500);
  EXPECT_GT(totals.calls, 500);
  EXPECT_GT(totals.open_ends, 100) << "calls of thoughts that were not closed";
}

}  // namespace
}  // namespace pingti::router
