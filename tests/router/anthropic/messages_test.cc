// Turns become the messages of a chat.
#include "router/anthropic/messages.h"

#include <gtest/gtest.h>

#include <string>

#include "boost/json.hpp"
#include "router/api/api_error.h"
#include "tests/router/refused.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

class TurnsRefuse : public ::testing::TestWithParam<Refused> {};

TEST_P(TurnsRefuse, TheFieldByItsPath) {
  IgnoredFields ignored;
  const auto messages = TurnsToMessages(json::parse(GetParam().json), nullptr, &ignored);
  ASSERT_FALSE(messages.ok()) << GetParam().json;
  EXPECT_EQ(ErrorParam(messages.status()), GetParam().param) << messages.status();
  EXPECT_EQ(ErrorCode(messages.status()), GetParam().code) << messages.status();
}

INSTANTIATE_TEST_SUITE_P(
    UsersTurns, TurnsRefuse,
    ::testing::Values(Refused{"3", "messages", kType}, Refused{"[]", "messages", kValue},
                      Refused{"[1]", "messages[0]", kType},
                      Refused{R"([{"content":"x"}])", "messages[0].role", kMissing},
                      Refused{R"([{"role":"tool","content":"x"}])", "messages[0].role", kValue},
                      Refused{R"([{"role":"user"}])", "messages[0].content", kMissing},
                      Refused{R"([{"role":"user","content":3}])", "messages[0].content", kType},
                      Refused{R"([{"role":"user","content":[]}])", "messages[0].content", kValue},
                      Refused{R"([{"role":"user","content":"a"},{"role":"user","content":[]}])",
                              "messages[1].content", kValue},
                      Refused{R"([{"role":"user","content":[3]}])", "messages[0].content[0]",
                              kType},
                      Refused{R"([{"role":"user","content":[{"text":"a"}]}])",
                              "messages[0].content[0].type", kMissing},
                      Refused{R"([{"role":"user","content":[{"type":"image","source":{}}]}])",
                              "messages[0].content[0].type", kUnsupported},
                      Refused{R"([{"role":"user","content":[{"type":"document","source":{}}]}])",
                              "messages[0].content[0].type", kUnsupported},
                      Refused{R"([{"role":"user","content":[{"type":"text"}]}])",
                              "messages[0].content[0].text", kMissing},
                      Refused{R"([{"role":"user","content":[{"type":"tool_result"}]}])",
                              "messages[0].content[0].tool_use_id", kMissing},
                      Refused{R"([{"role":"user","content":[{"type":"tool_result","tool_use_id":"t",
                    "is_error":1}]}])",
                              "messages[0].content[0].is_error", kType},
                      Refused{R"([{"role":"user","content":[{"type":"tool_result","tool_use_id":"t",
                    "content":[{"type":"image"}]}]}])",
                              "messages[0].content[0].content[0].type", kUnsupported},
                      Refused{R"([{"role":"user","content":[{"type":"text","text":"a"},
                    {"type":"tool_result","tool_use_id":"t"}]}])",
                              "messages[0].content[1]", kValue}));

INSTANTIATE_TEST_SUITE_P(
    AssistantsTurns, TurnsRefuse,
    ::testing::Values(
        Refused{R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])",
                "messages[1].role", kUnsupported},
        Refused{R"([{"role":"assistant","content":3}])", "messages[0].content", kType},
        Refused{R"([{"role":"assistant","content":[{"type":"thinking"}]}])",
                "messages[0].content[0].thinking", kMissing},
        Refused{R"([{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{}}]}])",
                "messages[0].content[0].id", kMissing},
        Refused{R"([{"role":"assistant","content":[{"type":"tool_use","id":"t","input":{}}]}])",
                "messages[0].content[0].name", kMissing},
        Refused{R"([{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f"}]}])",
                "messages[0].content[0].input", kMissing},
        Refused{R"([{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f",
                    "input":"{}"}]}])",
                "messages[0].content[0].input", kType}));

struct Taken {
  const char* turns;
  const char* messages;
};
void PrintTo(const Taken& taken, std::ostream* out) { *out << taken.turns; }

class TurnsBecome : public ::testing::TestWithParam<Taken> {};

TEST_P(TurnsBecome, Messages) {
  IgnoredFields ignored;
  const auto messages = TurnsToMessages(json::parse(GetParam().turns), nullptr, &ignored);
  ASSERT_TRUE(messages.ok()) << messages.status();
  EXPECT_EQ(json::value(*messages), json::parse(GetParam().messages)) << json::serialize(*messages);
}

INSTANTIATE_TEST_SUITE_P(
    Turns, TurnsBecome,
    ::testing::Values(
        Taken{R"([{"role":"user","content":"hi"}])", R"([{"role":"user","content":"hi"}])"},
        Taken{R"([{"role":"user","content":[{"type":"text","text":"a","citations":null,
                   "cache_control":{"type":"ephemeral","ttl":"5m"}},{"type":"text","text":"b"}]}])",
              R"([{"role":"user","content":"ab"}])"},
        Taken{R"([{"role":"system","content":[{"type":"text","text":"s"}]},
                  {"role":"user","content":"x"}])",
              R"([{"role":"system","content":"s"},{"role":"user","content":"x"}])"},
        Taken{R"([{"role":"assistant","content":[{"type":"thinking","thinking":"hm",
                   "signature":"s"},{"type":"text","text":"a"},{"type":"text","text":"b"},
                   {"type":"tool_use","id":"t1","name":"f","input":{"a":1},
                    "cache_control":{"type":"ephemeral"}},
                   {"type":"tool_use","id":"t2","name":"g","input":{}}]},
                  {"role":"user","content":[
                   {"type":"tool_result","tool_use_id":"t1","content":"o1","is_error":true},
                   {"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"o"},
                    {"type":"text","text":"2"}]},{"type":"text","text":"go on"}]}])",
              R"([{"role":"assistant","reasoning_content":"hm","content":"ab","tool_calls":[
                   {"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
                   {"id":"t2","type":"function","function":{"name":"g","arguments":"{}"}}]},
                  {"role":"tool","content":"Error: o1","tool_call_id":"t1"},
                  {"role":"tool","content":"o2","tool_call_id":"t2"},
                  {"role":"user","content":"go on"}])"},
        Taken{R"([{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}])",
              R"([{"role":"tool","content":"","tool_call_id":"t"}])"},
        Taken{R"([{"role":"assistant","content":[{"type":"thinking","thinking":"hm"}]},
                  {"role":"user","content":"x"}])",
              R"([{"role":"assistant","reasoning_content":"hm","content":""},
                  {"role":"user","content":"x"}])"},
        Taken{R"([{"role":"user","content":"a"},{"role":"user","content":[{"type":"text",
                   "text":"b"}]},{"role":"assistant","content":"c"},{"role":"assistant","content":[
                   {"type":"thinking","thinking":"hm"},{"type":"redacted_thinking","data":"x"},
                   {"type":"tool_use","id":"t","name":"f","input":{}}]},
                  {"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]},
                  {"role":"user","content":"d"}])",
              R"([{"role":"user","content":"a\nb"},
                  {"role":"assistant","content":"c","reasoning_content":"hm","tool_calls":[
                   {"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},
                  {"role":"tool","content":"","tool_call_id":"t"},{"role":"user","content":"d"}])"},
        Taken{R"([{"role":"assistant","content":[]},{"role":"user","content":"x"}])",
              R"([{"role":"assistant","content":""},{"role":"user","content":"x"}])"}));

TEST(TurnsToMessages, TheSystemPromptComesFirstAsTextOrBlocks) {
  for (const char* system :
       {R"("be brief")", R"([{"type":"text","text":"be "},{"type":"text","text":"brief"}])"}) {
    const json::value value = json::parse(system);
    IgnoredFields ignored;
    const auto messages =
        TurnsToMessages(json::parse(R"([{"role":"user","content":"hi"}])"), &value, &ignored);
    ASSERT_TRUE(messages.ok()) << messages.status();
    EXPECT_EQ(json::value(*messages), json::parse(R"([{"role":"system","content":"be brief"},
                                                      {"role":"user","content":"hi"}])"));
  }
  IgnoredFields ignored;
  const json::value image = json::parse(R"([{"type":"image"}])");
  EXPECT_EQ(ErrorParam(
                TurnsToMessages(json::parse(R"([{"role":"user","content":"a"}])"), &image, &ignored)
                    .status()),
            "system[0].type");
}

}  // namespace
}  // namespace pingti::router
