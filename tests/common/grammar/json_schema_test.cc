// JSON Schemas against texts that match and texts that do not, and what is refused.
#include "common/grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

using Kind = GrammarSource::Kind;

struct Case {
  const char* schema;
  std::vector<std::string> yes;
  std::vector<std::string> no;
};

void Check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const auto grammar = CompileForTest(Kind::kJsonSchema, c.schema);
    ASSERT_TRUE(grammar.ok()) << c.schema << ": " << grammar.status();
    for (const std::string& text : c.yes)
      EXPECT_TRUE(Matches(*grammar, text)) << c.schema << " / " << text;
    for (const std::string& text : c.no)
      EXPECT_FALSE(Matches(*grammar, text)) << c.schema << " / " << text;
  }
}

TEST(JsonSchema, Objects) {
  Check({
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]})",
       {R"({"a":1})", R"({"a": 1, "b": "x"})", R"({ "a":-20,"b":"" })"},
       {R"({})", R"({"b":"x"})", R"({"b":"x","a":1})", R"({"a":1,})", R"({"a":1.5})",
        R"({"a":1,"c":2})", R"({"a":1)", R"({"a":1}})"}},
      {R"({"type":"object","properties":{"a":{},"b":{},"c":{}}})",
       {"{}", R"({"a":1})", R"({"b":null})", R"({"a":[],"c":{"x":"y"}})", R"({"b":1,"c":2})"},
       {R"({"c":1,"b":2})", R"({,"b":1})"}},
      {R"({"type":"object","properties":{"ab":{"type":"null"}},"additionalProperties":{"type":"boolean"}})",
       {"{}", R"({"ab":null})", R"({"ab":null,"a":true})", R"({"abc":false, "x":true})"},
       {R"({"ab":true})", R"({"x":1})", R"({"a\u0062":true})"}},
      {R"({"type":"object","required":["z"]})", {R"({"z":[1,"2"]})"}, {"{}", R"({"y":1})"}},
      {R"({"type":"object"})", {"{}", R"({"a":{"b":[{}]}})"}, {"[]", R"({"a"})"}},
      {R"({"type":"object","properties":{"q\"/":{"const":1}},"required":["q\"/"]})",
       {R"({"q\"/":1})"},
       {R"({"q/":1})"}},
  });
}

TEST(JsonSchema, ArraysAndCounts) {
  Check({
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1,2]", "[1, 2, 3]"},
       {"[]", "[1,2,3,4]", "[1,]", "[\"a\"]"}},
      {R"({"type":"array","items":{"type":"string","minLength":2,"maxLength":300},"minItems":40,"maxItems":41})",
       {},
       {"[]", R"(["ab"])"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"}})",
       {"[]", "[1]", R"([1,"a"])", R"([1,"a",null,null])"},
       {R"(["a"])", R"([1,null])"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"minItems":2,"items":false})",
       {R"([1,"a"])"},
       {"[]", "[1]", R"([1,"a",2])"}},
      {R"({"type":"array","minItems":2})", {"[1,{}]", "[null, true, []]"}, {"[1]", "[]"}},
      {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
  });
}

TEST(JsonSchema, Strings) {
  Check({
      {R"({"type":"string"})",
       {R"("")", R"("a\n\u00e9\ud83d\ude00")", "\"\xF0\x9F\x98\x80\""},
       {R"("a)", "\"\n\"", R"("\x")", R"("\ud83d")", "\"\xFF\""}},
      {R"({"type":"string","minLength":2,"maxLength":4})",
       {R"("ab")", R"("\n\\x")", "\"\xE4\xBD\xA0\xE5\xA5\xBD\""},
       {R"("a")", R"("abcde")"}},
      {R"({"type":"string","pattern":"^[a-c]+$","maxLength":3})",
       {R"("abc")"},
       {R"("")", R"("abca")"}},
      {R"({"type":"string","pattern":"b\""})", {R"("ab\"c")", R"("b\"")"}, {R"("b")"}},
      {R"({"type":"string","pattern":"^a|z$"})", {R"("abc")", R"("xyz")"}, {R"("bab")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-02-28")"},
       {R"("2024-02-30")", R"("2024-13-01")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("01234567-89ab-cdef-0123-456789abcdef")"},
       {R"("0123")"}},
      {R"({"type":"string","format":"ipv6"})",
       {R"("::")", R"("1:2:3:4:5:6:7:8")", R"("fe80::1")"},
       {R"("1:2")"}},
  });
}

TEST(JsonSchema, NumbersAndRanges) {
  Check({
      {R"({"type":"integer","minimum":-3,"maximum":12})",
       {"-3", "-1", "0", "9", "12"},
       {"-4", "13", "-0", "1.0", "012", "20"}},
      {R"({"type":"integer","exclusiveMinimum":98,"maximum":1203})",
       {"99", "100", "999", "1203"},
       {"98", "1204", "9999"}},
      {R"({"type":"integer","minimum":1.5})", {"2", "17"}, {"1", "-2", "0"}},
      {R"({"type":"number","minimum":0.25,"exclusiveMaximum":2})",
       {"0.25", "0.3", "1", "1.999", "0.251"},
       {"0.2", "0.24", "2", "2.0", "0", "1e1"}},
      {R"({"type":"number","exclusiveMinimum":-1.5,"maximum":-0.5})",
       {"-1.49", "-1", "-0.5", "-0.50"},
       {"-1.5", "-0.4", "0", "-2"}},
      {R"({"type":"number","exclusiveMinimum":0})", {"0.001", "5"}, {"0", "0.0", "-1"}},
      {R"({"type":"number"})", {"0", "-1.5e+10", "3E2"}, {"1.", ".5", "00", "--1"}},
      {R"({"type":"integer"})", {"0", "-17"}, {"1.5", "1e3", "01"}},
  });
}

TEST(JsonSchema, NumbersHaveBoundedDigits) {
  const auto integer = CompileForTest(Kind::kJsonSchema, R"({"type":"integer"})");
  const auto number = CompileForTest(Kind::kJsonSchema, R"({"type":"number"})");
  ASSERT_TRUE(integer.ok() && number.ok());
  for (size_t count = 1; count <= 22; ++count) {
    const std::string digits(count, '7');
    for (const std::string sign : {"", "-"}) {
      EXPECT_EQ(Matches(*integer, sign + digits), count <= 18) << count;
      EXPECT_EQ(Matches(*number, sign + digits), count <= 18) << count;
      EXPECT_EQ(Matches(*number, sign + "0." + digits), count <= 17) << count;
      EXPECT_EQ(Matches(*number, sign + "1e" + digits), count <= 2) << count;
      EXPECT_EQ(Matches(*number, sign + "1.5E-" + digits), count <= 2) << count;
    }
  }
}

TEST(JsonSchema, Combinations) {
  Check({
      {R"({"enum":["a",1,null,{"x":[1]}]})",
       {"\"a\"", "1", "null", R"({"x":[1]})"},
       {"\"b\"", "2"}},
      {R"({"const":1.5})", {"1.5"}, {"1"}},
      {R"({"type":"integer","enum":[2.0,1.5,18446744073709551615,"x"]})",
       {"2", "18446744073709551615"},
       {"1.5", "1", "\"x\""}},
      {R"({"type":["string","null"]})", {"null", "\"\""}, {"1"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}]})",
       {"7", R"({"a":7})"},
       {"{}", "\"7\""}},
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"required":["a"]},{"properties":{"a":{"minimum":3}}}]})",
       {R"({"a":3})"},
       {"{}", R"({"a":2})"}},
      {R"({"type":"object","properties":{"k":{"type":"string"}},"oneOf":[{"required":["k"]},{"properties":{"m":{"const":1}},"required":["m"]}]})",
       {R"({"k":"x"})", R"({"m":1})"},
       {"{}"}},
      {R"({"allOf":[{"properties":{"a":{},"b":{}},"additionalProperties":false},{"properties":{"b":{"const":1}}}]})",
       {"{}", R"({"a":2,"b":1})"},
       {R"({"b":2})", R"({"c":1})"}},
      {R"({"allOf":[{"additionalProperties":true},{"properties":{"b":{"const":1}}}]})",
       {"{}", R"({"b":1})", R"({"b":1,"c":2})"},
       {R"({"b":2})"}},
      {R"({"allOf":[{"additionalProperties":{"const":1}},{"required":["b"]}]})",
       {R"({"b":1})", R"({"b":1,"c":1})"},
       {"{}", R"({"b":2})", R"({"b":1,"c":2})"}},
      {"true", {"1", "[{}]"}, {"x"}},
      {"{}", {"1", "[{}]"}, {"x"}},
  });
}

TEST(JsonSchema, RecursiveReferences) {
  Check({
      {R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})"}},
      {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
      {R"({"properties":{"a/b":{"type":"integer"},"c":{"$ref":"#/properties/a~1b"}},"required":["c"]})",
       {R"({"c":1})"},
       {R"({"c":"x"})"}},
  });
}

TEST(JsonSchema, RefusesByNameWithThePointer) {
  const std::vector<std::pair<const char*, std::vector<const char*>>> cases = {
      {R"({"properties":{"a":{"not":{}}}})", {"#/properties/a", "'not'"}},
      {R"({"items":{"uniqueItems":true}})", {"#/items", "uniqueItems"}},
      {R"({"type":"strin"})", {"'#'", "strin"}},
      {R"({"properties":[]})", {"'#'", "properties: expected an object"}},
      {R"({"type":"object","required":"a"})", {"required: expected an array of names"}},
      {R"({"type":"object","required":["a",1]})", {"required: expected an array of names"}},
      {R"({"$ref":"#/$defs/x"})", {"#/$defs/x", "leads nowhere"}},
      {R"({"$ref":"http://x"})", {"http://x"}},
      {R"({"type":"string","format":"iri"})", {"iri"}},
      {R"j({"type":"string","pattern":"(?=a)"})j", {"look-ahead", "'#'"}},
      {R"({"type":"string","pattern":"^ab|c$","maxLength":1})", {"maxLength"}},
      {R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})",
       {"no finite text"}},
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", {"refers to itself"}},
      {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", {"no finite text"}},
      {R"({"type":"object","required":["x"],"additionalProperties":false})", {"'x' is required"}},
      {R"({"minLength":3,"maxLength":2})", {"minLength"}},
      {R"({"enum":[]})", {"enum"}},
      {R"({"allOf":[{"properties":{"a":{}},"additionalProperties":false},{"properties":{"b":{}}}]})",
       {"'#'", "closes properties"}},
      {R"({"allOf":[{"properties":{"a":{}}},{"additionalProperties":{"type":"null"}}]})",
       {"'#'", "closes properties"}},
      {R"({"properties":{"b":{}},"allOf":[{"properties":{"a":{}},"additionalProperties":false}]})",
       {"'#'", "closes properties"}},
      {R"({"allOf":[{"prefixItems":[{}]},{"items":{"type":"null"}}]})", {"'#'", "prefixItems"}},
      {R"({"items":false,"allOf":[{"prefixItems":[{}]}]})", {"'#'", "prefixItems"}},
      {R"({"allOf":[{"prefixItems":[{}]},{"prefixItems":[true]}]})", {"'#'", "prefixItems"}},
      {"{", {"expected JSON"}},
      {"[]", {"expected a schema"}},
      {R"({"type":"integer","minimum":1e30})", {"minimum", "18 digits"}},
  };
  for (const auto& [schema, parts] : cases) {
    const auto grammar = CompileForTest(Kind::kJsonSchema, schema);
    ASSERT_FALSE(grammar.ok()) << schema;
    for (const char* part : parts) {
      EXPECT_THAT(std::string(grammar.status().message()), testing::HasSubstr(part)) << schema;
    }
  }
}

}  // namespace
}  // namespace pingti::grammar
