// Limits and error messages of the template engine; what it renders is in jinja_golden_test.cc.
#include "common/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace pingti::text {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::string> Render(std::string_view source, const ChatTemplateLimits& limits = {},
                                   std::string_view context = "{}") {
  auto parsed = ChatTemplate::Parse(source, limits);
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->Render(boost::json::parse(std::string(context)).as_object(), {});
}

void ExpectError(const absl::StatusOr<std::string>& result, absl::StatusCode code,
                 std::string_view text) {
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(std::string(text)));
}

TEST(ChatTemplateTest, ErrorsNameTheLineAndTheOffender) {
  using Code = absl::StatusCode;
  ExpectError(Render("a\n\n{{ x.y }}"), Code::kInvalidArgument, "line 3: 'x' is undefined");
  ExpectError(Render("\n{{ raise_exception('no') }}"), Code::kInvalidArgument, "line 2: no");
  ExpectError(Render("\n{{ 'a'|random }}"), Code::kUnimplemented,
              "line 2: The filter 'random' is not supported: two renderings");
  ExpectError(Render("{{ 'a'|urlize }}"), Code::kUnimplemented, "'urlize' is not supported");
  ExpectError(Render("{{ lipsum() }}"), Code::kInvalidArgument, "'lipsum' is not supported");
  ExpectError(Render("{{ 'a'.encode() }}"), Code::kInvalidArgument, "'encode' is not supported");
  ExpectError(Render("{{ 'a' is odder }}"), Code::kUnimplemented, "No test named 'odder'");
  ExpectError(Render("{% include 'x' %}"), Code::kUnimplemented, "unknown tag 'include'");
  ExpectError(Render("{% if x %}"), Code::kInvalidArgument, "unexpected end of template");
  ExpectError(Render("{{ [1].append(2) }}"), Code::kInvalidArgument,
              "'append' of 'list' object is unsafe");
  ExpectError(Render("{{ xs[10 ** 30:]|center(10 ** 30) }}", {}, R"({"xs": "a"})"),
              Code::kInvalidArgument, "beyond 64 bits");
  ExpectError(Render("{{ '{:>5q}'.format(1) }}"), Code::kInvalidArgument, "format code 'q'");
}

TEST(ChatTemplateTest, ALoopThatIsNotMarkedRecursiveIsNotCalled) {
  ExpectError(Render("{% for x in [1] %}{{ loop([2]) }}{% endfor %}"),
              absl::StatusCode::kInvalidArgument,
              "line 1: The loop must have the 'recursive' marker to be called recursively.");
}

// As jinja2's lexer reads them.
TEST(ChatTemplateTest, ADotBehindANumberIsItsFractionOnlyBeforeADigit) {
  for (const auto& [source, output] : std::vector<std::pair<std::string, std::string>>{
           {"{{ 1.5 }}", "1.5"},
           {"{{ 1.x is undefined }}", "True"},
           {"{{ 1.5.x is undefined }}", "True"},
           {"{{ [[7, 8], 9].0.1 }}", "8"},
           {"{{ 1.e is undefined }}", "True"},
           {"{{ 1.5e2 }}", "150.0"},
           {"{{ 1e2 }}", "100.0"},
       }) {
    const auto rendered = Render(source);
    ASSERT_TRUE(rendered.ok()) << source << ": " << rendered.status();
    EXPECT_EQ(*rendered, output) << source;
  }
}

TEST(ChatTemplateTest, EndlessWorkEndsAtTheStepLimit) {
  const ChatTemplateLimits limits{.max_steps = 10'000};
  ExpectError(
      Render("{% for a in range(999) %}{% for b in range(999) %}{% endfor %}{% endfor %}", limits),
      absl::StatusCode::kResourceExhausted, "10000 steps");
  ExpectError(Render("{% set ns = namespace(s='x' * 1000) %}{% for a in range(99) %}"
                     "{% set ns.s = ns.s ~ ns.s[:100000] %}{% endfor %}",
                     limits),
              absl::StatusCode::kResourceExhausted, "steps");
}

TEST(ChatTemplateTest, OutputAndValuesAreLimitedInBytes) {
  const ChatTemplateLimits limits{.max_output_bytes = 1000};
  ExpectError(Render("{% for a in range(99) %}0123456789{{ a }}{% endfor %}", limits),
              absl::StatusCode::kResourceExhausted, "1000 bytes of output");
  for (const char* source :
       {"{% set x = 'ab' * 501 %}", "{% set x = 'a'|center(2000) %}",
        "{% set x = ('a'*999)|replace('a','bb') %}", "{% set x = 'a'.rjust(5000) %}",
        "{% set x = ['a'*500]*3 %}{{ x|join }}", "{% set x = 'a\nb'|indent(99999) %}",
        "{% set x = 'a' * 900 %}{% set y = x ~ x %}"}) {
    ExpectError(Render(source, limits), absl::StatusCode::kResourceExhausted, "");
  }
  ExpectError(Render("{% set x = [1] * 2000 %}", {.max_value_bytes = 10'000}),
              absl::StatusCode::kResourceExhausted, "10000 bytes altogether");
}

TEST(ChatTemplateTest, AFilterOrTestThatDoesNotExistFailsWhenItIsReached) {
  EXPECT_EQ(*Render("{% if no %}{{ 1|nosuch }}{{ 1 is nosuch }}{% endif %}ok"), "ok");
  ExpectError(Render("\n{{ 1|nosuch }}"), absl::StatusCode::kUnimplemented,
              "line 2: No filter named 'nosuch'");
}

TEST(ChatTemplateTest, DeepNestingIsRefusedNotFatal) {
  const auto repeat = [](std::string_view text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  const auto code = absl::StatusCode::kResourceExhausted;
  ExpectError(Render("{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}"), code,
              "levels deep");
  ExpectError(Render("{{ " + repeat("not ", 5000) + "1 }}"), code, "levels deep");
  ExpectError(Render("{{ " + repeat("-", 5000) + "1 }}"), code, "levels deep");
  ExpectError(Render("{{ 1" + repeat("+1", 5000) + " }}"), code, "levels deep");
  ExpectError(Render("{{ x" + repeat("|upper", 5000) + " }}"), code, "levels deep");
  ExpectError(Render("{{ x" + repeat("[0]", 5000) + " }}"), code, "levels deep");
  ExpectError(Render("{{ 1" + repeat(" if 1", 5000) + " }}"), code, "levels deep");
  ExpectError(Render(repeat("{% if 1 %}", 5000)), code, "levels deep");
  ExpectError(Render("{% set " + repeat("(", 5000) + "x" + repeat(")", 5000) + " = 1 %}"), code,
              "levels deep");
  ExpectError(Render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), code, "levels deep");
  ExpectError(Render("{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}"), code,
              "levels deep");
  ExpectError(Render("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
                     "{% set ns.x = [ns.x] %}{% endfor %}"),
              code, "levels deep");
  ExpectError(Render("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}"), code, "deeply");
}

TEST(ChatTemplateTest, ObjectsThatHoldOneAnotherAreRefusedBeforeTheyAreTooDeepToFree) {
  for (const std::string value :
       {"[[ns.x].count]", "cycler(ns.x)", "cycler(ns.x).next", "{'a': ns.x}.get", "[ns.x]|select",
        "[ns.x]|map('default')|reverse"}) {
    ExpectError(Render("{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = " +
                       value + " %}{% endfor %}"),
                absl::StatusCode::kResourceExhausted, "levels deep");
  }
  ExpectError(Render("{% set ns = namespace(x=1) %}{% for i in range(99999) %}"
                     "{% for j in [ns.x] %}{% set ns.x = loop %}{% endfor %}{% endfor %}"),
              absl::StatusCode::kResourceExhausted, "levels deep");
}

TEST(ChatTemplateTest, RingsOfNamespacesAndMacrosAreFreed) {
  // Leak checkers see what this leaves behind.
  const auto rendered = Render(
      "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = [b] %}"
      "{% macro m() %}{% endmacro %}{% set a.m = m %}{% for i in range(3) %}"
      "{% macro n() %}{{ i }}{% endmacro %}{% set a.n = n %}{% if loop.changed(loop) %}"
      "{% endif %}{% endfor %}{{ a.n() }}");
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(*rendered, "2");
}

TEST(ChatTemplateTest, OneTemplateServesManyContexts) {
  auto parsed = ChatTemplate::Parse("{% set x = y %}{{ x }}", {});
  ASSERT_TRUE(parsed.ok());
  for (const char* text : {"one", "two"}) {
    boost::json::object context;
    context["y"] = text;
    EXPECT_EQ(*(*parsed)->Render(context, {}), text);
  }
}

TEST(ChatTemplateTest, NumbersOfRequestsKeepTheirKind) {
  EXPECT_EQ(*Render("{{ a }} {{ b }} {{ c }} {{ d|tojson }}", {},
                    R"({"a": 1, "b": 1.0, "c": -3, "d": [1e30, true, null]})"),
            "1 1.0 -3 [1e+30, true, null]");
  EXPECT_EQ(*Render("{{ a }} {{ a + 1 }} {{ b }} {{ a|tojson }}", {},
                    R"({"a": 18446744073709551615, "b": 9223372036854775808})"),
            "18446744073709551615 18446744073709551616 9223372036854775808 18446744073709551615");
}

}  // namespace
}  // namespace pingti::text
