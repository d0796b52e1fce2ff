#include "router/pipeline/reasoning_splitter.h"

#include <gtest/gtest.h>

namespace pingti::router {
namespace {

struct Parts {
  std::string reasoning;
  std::string content;
  std::string call{};
  bool operator==(const Parts&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Parts& parts) {
  return out << "[" << parts.reasoning << "|" << parts.content << "|" << parts.call << "]";
}

// Pushes `text` in pieces of `size` bytes.
Parts Split(std::string_view text, size_t size, bool open, std::string_view call_mark = {}) {
  ReasoningSplitter splitter(MarkersOf(ReasoningFormat::kThink), open, call_mark);
  Parts parts;
  for (size_t i = 0; i < text.size(); i += size) {
    splitter.Push(text.substr(i, size), &parts.reasoning, &parts.content);
  }
  splitter.Finish(&parts.reasoning, &parts.content, &parts.call);
  return parts;
}

TEST(ReasoningSplitter, GivesTheSameForEveryCut) {
  for (size_t size = 1; size < 40; ++size) {
    EXPECT_EQ(Split("<think>\nso\n\nit is\n</think>\n\nYes.\n", size, false),
              (Parts{"so\n\nit is", "Yes.\n"}));
    EXPECT_EQ(Split("so it is\n</think>\n\nYes.", size, true), (Parts{"so it is", "Yes."}));
    EXPECT_EQ(Split("just text <think> later", size, false),
              (Parts{"", "just text <think> later"}));
    EXPECT_EQ(Split("\n\n <think>a</think>b", size, false), (Parts{"a", "b"}));
    EXPECT_EQ(Split("never </thin closed", size, true), (Parts{"never </thin closed", ""}));
    EXPECT_EQ(Split("<thi", size, false), (Parts{"", "<thi"}));
    EXPECT_EQ(Split("\n\n</think>\n\nb", size, true), (Parts{"", "b"}));
    EXPECT_EQ(Split(" a", size, false), (Parts{"", " a"}));
  }
}

TEST(ReasoningSplitter, ACallIsOneOnlyWhereTheThoughtIsNeverClosed) {
  for (size_t size = 1; size < 40; ++size) {
    EXPECT_EQ(Split("so\n<tool_call>{}", size, true, "<tool_call>"),
              (Parts{"so", "", "\n<tool_call>{}"}));
    EXPECT_EQ(Split("so <tool_call>{} or not\n</think>No.", size, true, "<tool_call>"),
              (Parts{"so <tool_call>{} or not", "No.", ""}));
    EXPECT_EQ(Split("so <tool_c", size, true, "<tool_call>"), (Parts{"so <tool_c", "", ""}));
  }
}

TEST(ReasoningSplitter, TellsWhetherItIsInside) {
  ReasoningSplitter splitter(MarkersOf(ReasoningFormat::kThink), true);
  std::string reasoning;
  std::string content;
  EXPECT_TRUE(splitter.inside());
  splitter.Push("x</think>", &reasoning, &content);
  EXPECT_FALSE(splitter.inside());
}

TEST(ReasoningSplitter, HoldsBackOnlyWhatMayBeAMarker) {
  ReasoningSplitter splitter(MarkersOf(ReasoningFormat::kThink), true);
  std::string reasoning;
  std::string content;
  splitter.Push("abc<", &reasoning, &content);
  EXPECT_EQ(reasoning, "abc");
  splitter.Push("d", &reasoning, &content);
  EXPECT_EQ(reasoning, "abc<d");
}

TEST(ReasoningSplitter, WithoutMarkersEverythingIsContent) {
  ReasoningSplitter splitter({}, false);
  std::string reasoning;
  std::string content;
  splitter.Push("<think>x</think>", &reasoning, &content);
  EXPECT_EQ(content, "<think>x</think>");
}

}  // namespace
}  // namespace pingti::router
