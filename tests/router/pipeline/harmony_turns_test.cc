// Conversations as gpt-oss's template takes them.
#include "router/pipeline/harmony_turns.h"

#include <gtest/gtest.h>

#include <string>

#include "boost/json.hpp"

namespace pingti::router {
namespace {

namespace json = boost::json;

json::value FittedMessages(const std::string& messages) {
  json::object context{{"messages", json::parse(messages)}};
  FitHarmonyTemplate(&context);
  return context["messages"];
}

TEST(HarmonyTurns, ThoughtsHaveTheTemplatesName) {
  EXPECT_EQ(FittedMessages(R"([{"role":"assistant","content":"b","reasoning_content":"a"}])"),
            json::parse(
                R"([{"role":"assistant","content":"b","reasoning_content":"a","thinking":"a"}])"));
}

TEST(HarmonyTurns, WordsBesideACallAndItsThoughtBecomeALineOfTheThought) {
  const json::value fitted = FittedMessages(
      R"([{"role":"assistant","content":"b","thinking":"a","tool_calls":[{"id":"1"}]},
          {"role":"assistant","content":"b","thinking":"","tool_calls":[{"id":"1"}]},
          {"role":"assistant","content":"","thinking":"a","tool_calls":[{"id":"1"}]}])");
  EXPECT_EQ(fitted.at(0).at("thinking"), "a\nb");
  EXPECT_EQ(fitted.at(0).at("content"), "");
  EXPECT_EQ(fitted.at(1).at("content"), "b");
  EXPECT_EQ(fitted.at(2).at("thinking"), "a");
}

TEST(HarmonyTurns, EachCallIsATurnWithItsResultsBehindIt) {
  const json::value fitted = FittedMessages(
      R"([{"role":"user","content":"q"},
          {"role":"assistant","content":"w","tool_calls":[{"id":"1"},{"id":"2"},{"id":"3"}]},
          {"role":"tool","tool_call_id":"3","content":"r3"},
          {"role":"tool","tool_call_id":"0","content":"r0"},
          {"role":"tool","tool_call_id":"1","content":"r1"},
          {"role":"assistant","content":"","tool_calls":[{"id":"4"}]},
          {"role":"tool","tool_call_id":"5","content":"r4"}])");
  EXPECT_EQ(fitted, json::parse(R"([
      {"role":"user","content":"q"},
      {"role":"assistant","content":"w","tool_calls":[{"id":"1"}]},
      {"role":"tool","tool_call_id":"1","content":"r1"},
      {"role":"assistant","content":"","tool_calls":[{"id":"2"}]},
      {"role":"assistant","content":"","tool_calls":[{"id":"3"}]},
      {"role":"tool","tool_call_id":"3","content":"r3"},
      {"role":"tool","tool_call_id":"0","content":"r0"},
      {"role":"assistant","content":"","tool_calls":[{"id":"4"}]},
      {"role":"tool","tool_call_id":"5","content":"r4"}])"));
}

TEST(HarmonyTurns, EveryToolHasADescription) {
  json::object context{{"messages", json::array()},
                       {"tools", json::parse(R"([{"function":{"name":"f"}},
                                                 {"function":{"name":"g","description":"d"}}])")}};
  FitHarmonyTemplate(&context);
  EXPECT_EQ(context["tools"].at(0).at("function").at("description"), "");
  EXPECT_EQ(context["tools"].at(1).at("function").at("description"), "d");
}

}  // namespace
}  // namespace pingti::router
