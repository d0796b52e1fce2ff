// What stands around calls: control tokens, numbers, words, and sources that are none.
#include "common/grammar/tool_calls_source.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/grammar/control_token.h"
#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

constexpr int32_t kCallToken = 257;

// One call, {}, in a frame; the token behind the bytes is a control token that spells "[CALL]".
std::string Source(const std::string& more) {
  return R"({"begin":"[CALL]","separator":"","end":"","many":true,"calls":[
      {"begin":"f","schema":{"type":"object","additionalProperties":false},"end":";"}])" +
         more + "}";
}

absl::StatusOr<std::shared_ptr<CompiledGrammar>> Compile(const std::string& source) {
  return CompileForTest(GrammarSource::Kind::kToolCalls, source, {},
                        ByteVocabulary({ControlToken("[CALL]")}));
}

// `text`, with '#' for the control token.
bool Takes(const std::string& source, std::string_view text) {
  const auto compiled = Compile(source);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  if (!compiled.ok()) return false;
  Matcher matcher(*compiled);
  for (const char c : text) {
    const int32_t token = c == '#' ? kCallToken : 1 + static_cast<uint8_t>(c);
    if (!matcher.Accept(token).ok()) return false;
  }
  return matcher.can_end();
}

TEST(ToolCallsSource, AControlTokenStandsWhereItsSpellingIsNamed) {
  const std::string special = Source(R"(,"special":["[CALL]"])");
  EXPECT_TRUE(Takes(special, "#f{};f{};"));
  EXPECT_FALSE(Takes(special, "[CALL]f{};"));
  EXPECT_TRUE(Takes(Source(""), "[CALL]f{};"));
  EXPECT_FALSE(Takes(Source(""), "#f{};"));
  const std::string free = Source(R"(,"special":["[CALL]"],"free":"[CALL]")");
  EXPECT_TRUE(Takes(free, "So: #f{};"));
  EXPECT_TRUE(Takes(free, "So [CALL."));
  EXPECT_FALSE(Takes(free, "So [CALL]."));  // the parser would take it for the token
  EXPECT_FALSE(Takes(free, "#"));
}

TEST(ToolCallsSource, AThoughtMayEndWithAControlToken) {
  const std::string thought = R"(,"special":["[CALL]"],"thought":{"begin":"<","end":"[CALL]",)"
                              R"("open":false})";
  const std::string source =
      R"({"begin":"","separator":"","end":"","many":false,"calls":[{"begin":"","regex":"a+","end":""}])" +
      thought + "}";
  EXPECT_TRUE(Takes(source, "<hm [CALL#\naa"));
  EXPECT_TRUE(Takes(source, "a"));
  EXPECT_FALSE(Takes(source, "<hm [CALL]a"));
}

TEST(ToolCallsSource, AThoughtMayEndWithATokenAndMore) {
  const std::string source =
      R"({"begin":"","separator":"","end":"","many":false,
          "calls":[{"begin":"","regex":"a+","end":""}],"special":["[CALL]"],
          "thought":{"begin":"<","end":"[CALL][CALL]so","open":false}})";
  EXPECT_TRUE(Takes(source, "<hm [CALL##soaa"));
  for (const char* text : {"<hm#soa", "<hm##a", "<hm[CALL]##soa", "<hm##so"}) {
    EXPECT_FALSE(Takes(source, text)) << text;
  }
}

TEST(ToolCallsSource, OneOfSeveralTextsMayStandBehindTheNameOfACall) {
  const std::string source =
      R"({"begin":"[","behind":["[CALL]",":[CALL]"],"separator":"","end":"]","many":false,"calls":[
          {"begin":"f","schema":{"const":1},"end":""},{"begin":"g","schema":{"const":2},"end":""}],
          "special":["[CALL]"]})";
  for (const char* text : {"[f#1]", "[f:#1]", "[g#2]", "[g:#2]"}) {
    EXPECT_TRUE(Takes(source, text)) << text;
  }
  for (const char* text : {"[f1]", "[f:1]", "[f##1]", "[g#1]", "[f[CALL]1]"}) {
    EXPECT_FALSE(Takes(source, text)) << text;
  }
}

TEST(ToolCallsSource, WordsMayStandInMessages) {
  const std::string source =
      Source(R"(,"special":["[CALL]"],"messages":{"begins":["a:","b:"],"end":"[CALL]."})");
  for (const char* text : {"a:", "a:words", "b:x#.a:[CALL", "#f{};", "a:x#.b:y#.#f{};f{};"}) {
    EXPECT_TRUE(Takes(source, text)) << text;
  }
  for (const char* text :
       {"", "words", "c:x", "a:x#.", "a:x#f{};", "a:[CALL].#f{};", "a:x#.#f{}", "#f{};#.a:x"}) {
    EXPECT_FALSE(Takes(source, text)) << text;
  }
}

TEST(ToolCallsSource, WordsStandUnlessTheyBeginAsCallsDo) {
  const std::string source = Source(R"(,"unless":"[")");
  for (const char* text : {"", " \n", "words [CALL]", " [CALL]f{};"}) {
    EXPECT_TRUE(Takes(source, text)) << text;
  }
  for (const char* text : {"[", "[CALL]", " [1]", "[CALL]f{}; words"}) {
    EXPECT_FALSE(Takes(source, text)) << text;
  }
}

TEST(ToolCallsSource, ACallMayBeNumbered) {
  const std::string source =
      R"({"begin":"","separator":"","end":"","many":true,"calls":[
          {"begin":"f:","number":">","schema":{"const":1},"end":";"}]})";
  EXPECT_TRUE(Takes(source, "f:0>1;f:10>1;"));
  EXPECT_FALSE(Takes(source, "f:>1;"));
}

// A call whose arguments are fields in frames.
std::string Fields(const std::string& schema, bool bare_strings,
                   const std::string& separator = "") {
  return R"({"begin":"","separator":"","end":"","many":false,"calls":[{"begin":"[","end":"]",
      "schema":)" +
         schema + R"(,"fields":{"name_begin":"<","name_end":">","value_end":"</>","separator":")" +
         separator + R"(","bare_strings":)" + (bare_strings ? "true" : "false") + "}}]}";
}

TEST(ToolCallsSource, StringsStandBareOnlyInSyntaxesWithoutQuotes) {
  for (const bool bare : {false, true}) {
    SCOPED_TRACE(bare);
    const auto takes = [bare](const std::string& schema, const std::string& value) {
      return Takes(Fields(R"({"type":"object","properties":{"a":)" + schema +
                              R"(},"required":["a"],"additionalProperties":false})",
                          bare),
                   "[<a>" + value + "</>]");
    };
    EXPECT_EQ(takes(R"({"type":"string"})", "some words"), bare);
    EXPECT_TRUE(takes(R"({"type":"string"})", R"("quoted")"));
    EXPECT_EQ(takes(R"({"type":"string","enum":["x","y"]})", "x"), bare);
    EXPECT_EQ(takes(R"({"type":"string","enum":["x","y"]})", R"("x")"), !bare);
    EXPECT_FALSE(takes(R"({"type":"string","enum":["x","y"]})", "z"));
    for (const char* schema : {R"({"type":"integer"})", R"({"enum":[12,null]})", "{}"}) {
      EXPECT_TRUE(takes(schema, "12")) << schema;
      EXPECT_FALSE(takes(schema, "some words")) << schema;
    }
    EXPECT_TRUE(takes("{}", R"("quoted")"));
    EXPECT_FALSE(takes(R"({"type":"integer"})", R"("12")"));
  }
}

TEST(ToolCallsSource, FieldsStandInTheirOrderWithoutThoseThatAreNotRequired) {
  const std::string names = "abc";
  for (const std::string separator : {"", ", "}) {
    for (uint32_t required = 0; required < 8; ++required) {
      boost::json::array needed;
      for (uint32_t i = 0; i < 3; ++i) {
        if ((required >> i & 1) != 0) needed.emplace_back(names.substr(i, 1));
      }
      std::string schema =
          R"({"properties":{"a":{"const":1},"b":{"const":1},"c":{"type":"string"}})";
      if (required > 0 || separator.empty()) {
        schema += ",\"required\":" + boost::json::serialize(needed);
      }
      const std::string source = Fields(schema + "}", true, separator);
      // Every list of up to three fields.
      for (uint32_t list = 0; list < 64; ++list) {
        std::string text;
        uint32_t given = 0;
        uint32_t last = 0;
        bool in_order = true;
        for (uint32_t rest = list; rest != 0; rest /= 4) {
          const uint32_t field = rest % 4;  // 0: none
          if (field == 0) continue;
          if (!text.empty()) text += separator;
          text += std::string("<") + names[field - 1] + (field == 3 ? ">words</>" : ">1</>");
          in_order = in_order && field > last;
          last = field;
          given |= 1u << (field - 1);
        }
        EXPECT_EQ(Takes(source, "[" + text + "]"), in_order && (given & required) == required)
            << source << " / " << text;
      }
    }
  }
}

TEST(ToolCallsSource, FieldsAreOfAnObjectWithPlainNames) {
  for (const auto& [schema, fits] : std::vector<std::pair<std::string, bool>>{
           {R"({"type":"object"})", true},
           {R"({"properties":{"aZ_09":{}}})", true},
           {R"({"type":"object","properties":{"a-b":{}}})", false},
           {R"({"type":"object","properties":{"":{}}})", false},
           {R"({"type":"object","properties":{"\u00e9":{}}})", false},
           {R"({"type":"string"})", false},
           {R"([])", false},
       }) {
    for (const bool bare : {false, true}) {
      EXPECT_EQ(Compile(Fields(schema, bare)).ok(), fits) << schema;
    }
  }
}

TEST(ToolCallsSource, WhatIsMalformedIsNamed) {
  const auto error = [](const std::string& source) {
    return std::string(Compile(source).status().message());
  };
  EXPECT_NE(error("[]").find("a JSON object"), std::string::npos);
  EXPECT_NE(error(Source(R"(,"special":[""])")).find("'special'"), std::string::npos);
  EXPECT_NE(error(Source(R"(,"unless":"ab")")).find("'unless'"), std::string::npos);
  EXPECT_NE(error(Source(R"(,"free":"aa")")).find("mark 'aa'"), std::string::npos);
  EXPECT_NE(error(Source(R"(,"others":[1])")).find("'others'"), std::string::npos);
  EXPECT_NE(error(Source(R"(,"messages":1)")).find("'messages'"), std::string::npos);
  EXPECT_NE(error(Source(R"(,"messages":{"begins":[],"end":""})")).find("'begins'"),
            std::string::npos);
  EXPECT_NE(error(Source(R"(,"messages":{"begins":["a"],"end":"b"})")).find("'end'"),
            std::string::npos);
  EXPECT_NE(error(Source(R"(,"behind":[1])")).find("'behind'"), std::string::npos);
  const std::string fields =
      R"({"begin":"","separator":"","end":"","many":false,"calls":[{"begin":"","end":"",
          "schema":{"type":"array"},"fields":{"name_begin":"","name_end":"=","value_end":"",
          "separator":",","bare_strings":false}}]})";
  EXPECT_NE(error(fields).find("calls[0]: tool calls: 'schema'"), std::string::npos);
}

}  // namespace
}  // namespace pingti::grammar
