// Calls as a Python list: every kind of argument, and where brackets close.
#include "router/pipeline/python_calls.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

// The argument's value as JSON; empty when the text is no list of calls.
std::string ReadArgument(const std::string& value) {
  const std::vector<WholeCall> calls = ReadPythonCalls(Concat("[f(a=", value, ")]"));
  if (calls.size() != 1 || calls[0].name != "f") return "";
  const std::string& arguments = calls[0].arguments;
  const std::string begin = R"({"a":)";
  if (!arguments.starts_with(begin) || !arguments.ends_with("}")) return "";
  return arguments.substr(begin.size(), arguments.size() - begin.size() - 1);
}

TEST(PythonCalls, LiteralsBecomeTheJsonOfTheirValues) {
  for (const auto& [python, json] : std::vector<std::pair<std::string, std::string>>{
           {"7", "7"},
           {"-7", "-7"},
           {"- 7", "-7"},
           {"+7", "7"},
           {"+ 7", "7"},
           {"+-7", "-7"},
           {"1.5", "1.5E0"},
           {"-0.25", "-2.5E-1"},
           {"1e3", "1E3"},
           {"True", "true"},
           {"False", "false"},
           {"None", "null"},
           {"true", "true"},
           {"false", "false"},
           {"null", "null"},
           {"'x'", R"("x")"},
           {R"("x")", R"("x")"},
           {R"('it\'s')", R"("it's")"},
           {R"('a\nb')", R"("a\nb")"},
           {R"('\d')", R"("\\d")"},
           {R"('\u00e9')", "\"\xC3\xA9\""},
           {R"('\ud83d\ude00')", "\"\xF0\x9F\x98\x80\""},
           {"[]", "[]"},
           {"[1, 2,]", "[1,2]"},
           {"(1, 'a')", R"([1,"a"])"},
           {"{}", "{}"},
           {"{'k': [1, {'l': None}],}", R"({"k":[1,{"l":null}]})"},
       }) {
    EXPECT_EQ(ReadArgument(python), json) << python;
  }
}

TEST(PythonCalls, AnythingElseIsNoCall) {
  for (const char* value : {"", "x", "--7", "- ", "1 2", "[1 2]", "[1", "(1]", "{1: 2}", "{'k'}",
                            "{'k': }", "'x", R"('\)", R"('\u12')", R"('\ud83d')", "1)("}) {
    EXPECT_EQ(ReadArgument(value), "") << value;
  }
  for (const char* text : {"", "[", "[f", "[f(", "[f()", "f()", "[f() g()]", "[f(1)]", "[f(a 1)]",
                           "[f(=1)]", "[()]", "[f()] and words", "[f(a=1 b=2)]", "[f()}"}) {
    EXPECT_TRUE(ReadPythonCalls(text).empty()) << text;
  }
}

TEST(PythonCalls, ValuesNestUpToABound) {
  for (const int depth : {1, 64, 65, 66, 1000}) {
    const std::string nested = std::string(depth, '[') + std::string(depth, ']');
    EXPECT_EQ(ReadArgument(nested), depth <= 65 ? nested : "") << depth;
    std::string dictionaries = "1";
    for (int i = 1; i < depth; ++i) dictionaries = Concat(R"({"a":)", dictionaries, "}");
    EXPECT_EQ(ReadArgument(dictionaries), depth <= 65 ? dictionaries : "") << depth;
  }
}

TEST(PythonCalls, SeveralCallsKeepTheirOrderAndArguments) {
  const auto calls = ReadPythonCalls(" [ a.b(x = 1, y='2') , c-d() ,] \n");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].name, "a.b");
  EXPECT_EQ(boost::json::parse(calls[0].arguments), boost::json::parse(R"({"x":1,"y":"2"})"));
  EXPECT_EQ(calls[1].name, "c-d");
  EXPECT_EQ(calls[1].arguments, "{}");
}

// Cut at every place, the brackets close at the same byte.
TEST(PythonBracketsTest, CloseAtTheBracketThatEndsTheFirst) {
  for (const std::string& text :
       std::vector<std::string>{"[]", "[f(a=(1, 2), b={'c': [3]})]", R"([f(a="]", b=')')])",
                                R"([f(a='\']', b="\\")])", R"({"a": "}\"", "b": [1, {}]})"}) {
    const std::string all = text + "] rest";
    for (size_t cut = 0; cut <= all.size(); ++cut) {
      PythonBrackets brackets;
      size_t taken = brackets.Push(all.substr(0, cut));
      EXPECT_EQ(brackets.closed(), cut >= text.size()) << all.substr(0, cut);
      taken += brackets.Push(std::string_view(all).substr(taken));
      EXPECT_TRUE(brackets.closed());
      EXPECT_EQ(taken, text.size()) << text << " cut at " << cut;
    }
  }
}

}  // namespace
}  // namespace pingti::router
