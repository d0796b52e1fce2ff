// Items become the messages of a chat, turn by turn.
#include "router/responses/input_items.h"

#include <gtest/gtest.h>

#include <string>

#include "boost/json.hpp"
#include "router/api/api_error.h"
#include "tests/router/refused.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

class ItemsRefuse : public ::testing::TestWithParam<Refused> {};

TEST_P(ItemsRefuse, TheFieldByItsPath) {
  IgnoredFields ignored;
  const auto messages = ItemsToMessages(json::parse(GetParam().json), nullptr, &ignored);
  ASSERT_FALSE(messages.ok()) << GetParam().json;
  EXPECT_EQ(ErrorParam(messages.status()), GetParam().param) << messages.status();
  EXPECT_EQ(ErrorCode(messages.status()), GetParam().code) << messages.status();
}

INSTANTIATE_TEST_SUITE_P(
    Items, ItemsRefuse,
    ::testing::Values(
        Refused{"3", "input", kType}, Refused{"[]", "input", kValue},
        Refused{"[1]", "input[0]", kType}, Refused{R"([{"type":3}])", "input[0].type", kType},
        Refused{R"([{"type":"item_reference","id":"msg_1"}])", "input[0].type", kUnsupported},
        Refused{R"([{"content":"x"}])", "input[0].role", kMissing},
        Refused{R"([{"role":"wizard","content":"x"}])", "input[0].role", kValue},
        Refused{R"([{"role":"tool","content":"x"}])", "input[0].role", kValue},
        Refused{R"([{"role":"user"}])", "input[0].content", kMissing},
        Refused{R"([{"role":"user","content":3}])", "input[0].content", kType},
        Refused{R"([{"role":"user","content":[3]}])", "input[0].content[0]", kType},
        Refused{R"([{"role":"user","content":[{"text":"x"}]}])", "input[0].content[0].type",
                kMissing},
        Refused{R"([{"role":"user","content":[{"type":"input_image","image_url":"u"}]}])",
                "input[0].content[0].type", kUnsupported},
        Refused{R"([{"role":"user","content":[{"type":"input_file","file_id":"f"}]}])",
                "input[0].content[0].type", kUnsupported},
        Refused{R"([{"role":"user","content":[{"type":"input_text"}]}])",
                "input[0].content[0].text", kMissing}));

INSTANTIATE_TEST_SUITE_P(
    CallsAndThoughts, ItemsRefuse,
    ::testing::Values(
        Refused{R"([{"type":"function_call","name":"f","arguments":"{}"}])", "input[0].call_id",
                kMissing},
        Refused{R"([{"type":"function_call","call_id":"c","arguments":"{}"}])", "input[0].name",
                kMissing},
        Refused{R"([{"type":"function_call","call_id":"c","name":"f","arguments":{}}])",
                "input[0].arguments", kType},
        Refused{R"([{"type":"function_call_output","output":"o"}])", "input[0].call_id", kMissing},
        Refused{R"([{"type":"function_call_output","call_id":"c"}])", "input[0].output", kMissing},
        Refused{
            R"([{"type":"function_call_output","call_id":"c","output":[{"type":"input_image"}]}])",
            "input[0].output[0].type", kUnsupported},
        Refused{R"([{"type":"reasoning","summary":[{"type":"text","text":"a"}]}])",
                "input[0].summary[0].type", kUnsupported},
        Refused{R"([{"type":"reasoning","content":3}])", "input[0].content", kType}));

struct Taken {
  const char* items;
  const char* messages;
};
void PrintTo(const Taken& taken, std::ostream* out) { *out << taken.items; }

class ItemsBecome : public ::testing::TestWithParam<Taken> {};

TEST_P(ItemsBecome, Messages) {
  IgnoredFields ignored;
  const auto messages = ItemsToMessages(json::parse(GetParam().items), nullptr, &ignored);
  ASSERT_TRUE(messages.ok()) << messages.status();
  EXPECT_EQ(json::value(*messages), json::parse(GetParam().messages)) << json::serialize(*messages);
}

INSTANTIATE_TEST_SUITE_P(
    Turns, ItemsBecome,
    ::testing::Values(
        Taken{R"("hi")", R"([{"role":"user","content":"hi"}])"},
        Taken{R"([{"role":"developer","content":"a"},{"type":"message","role":"user","content":[
                  {"type":"input_text","text":"b"},{"type":"text","text":"c"}]}])",
              R"([{"role":"developer","content":"a"},{"role":"user","content":"bc"}])"},
        // One turn of the assistant: thought, words and calls together.
        Taken{R"([{"type":"reasoning","id":"rs_1","summary":[],"status":"completed","content":[
                   {"type":"reasoning_text","text":"hm"}]},
                  {"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[
                   {"type":"output_text","text":"a","annotations":[],"logprobs":[]}]},
                  {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}",
                   "status":"completed"},
                  {"type":"function_call","call_id":"c2","name":"g","arguments":"[1]"},
                  {"type":"function_call_output","call_id":"c1","output":"o1"},
                  {"type":"function_call_output","call_id":"c2","output":[
                   {"type":"input_text","text":"o2"}]}])",
              R"([{"role":"assistant","reasoning_content":"hm","content":"a","tool_calls":[
                   {"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}},
                   {"id":"c2","type":"function","function":{"name":"g","arguments":"[1]"}}]},
                  {"role":"tool","content":"o1","tool_call_id":"c1"},
                  {"role":"tool","content":"o2","tool_call_id":"c2"}])"},
        // What stands behind the turn's end begins the next one.
        Taken{R"([{"role":"assistant","content":"a"},{"role":"assistant","content":"b"},
                  {"type":"reasoning","content":"c"},{"role":"assistant","content":"d"}])",
              R"([{"role":"assistant","content":"a"},{"role":"assistant","content":"b"},
                  {"role":"assistant","reasoning_content":"c","content":"d"}])"},
        Taken{R"([{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
                  {"role":"assistant","content":"a"}])",
              R"([{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{
                   "name":"f","arguments":"{}"}}]},{"role":"assistant","content":"a"}])"},
        // A thought alone gets empty words; its summary stands in where the thought is not there.
        Taken{R"([{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}]},
                  {"role":"user","content":"x"}])",
              R"([{"role":"assistant","reasoning_content":"s","content":""},
                  {"role":"user","content":"x"}])"},
        Taken{R"([{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}],
                   "content":[{"type":"reasoning_text","text":"t"}]},
                  {"role":"user","content":"x"}])",
              R"([{"role":"assistant","reasoning_content":"t","content":""},
                  {"role":"user","content":"x"}])"},
        Taken{R"([{"type":"reasoning","summary":[]},{"role":"user","content":"x"}])",
              R"([{"role":"user","content":"x"}])"}));

TEST(ItemsToMessages, InstructionsComeFirst) {
  const json::value instructions("be brief");
  IgnoredFields ignored;
  const auto messages = ItemsToMessages(json::value("hi"), &instructions, &ignored);
  ASSERT_TRUE(messages.ok());
  EXPECT_EQ(json::value(*messages), json::parse(R"([{"role":"system","content":"be brief"},
                            {"role":"user","content":"hi"}])"));
}

}  // namespace
}  // namespace pingti::router
