// The template engine against what jinja2 itself made of the same templates.
// Golden files: tests/golden/text/jinja_cases.json, template_families.json, and their scripts.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "common/text/chat_template.h"
#include "tests/common/text/golden_file.h"

namespace pingti::text {
namespace {

// 2024-07-26 13:05:09.123456 UTC, as in jinja_env.py.
std::chrono::system_clock::time_point Now() {
  return std::chrono::system_clock::time_point(std::chrono::microseconds(1721999109123456));
}

absl::StatusOr<std::string> RenderOnce(std::string_view source,
                                       const boost::json::object& context) {
  auto parsed = ChatTemplate::Parse(source, {});
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->Render(context, Now());
}

void ExpectSame(const boost::json::object& expected, std::string_view source,
                const boost::json::object& context) {
  const auto rendered = RenderOnce(source, context);
  if (const auto* output = expected.if_contains("output")) {
    ASSERT_TRUE(rendered.ok()) << rendered.status() << "\nexpected: " << output->as_string();
    EXPECT_EQ(*rendered, std::string_view(output->as_string()));
  } else {
    EXPECT_FALSE(rendered.ok()) << "rendered '" << *rendered
                                << "', jinja2 says: " << expected.at("error").as_string();
  }
}

class JinjaGoldenTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

TEST_F(JinjaGoldenTest, SmallTemplatesRenderOrFailAsInJinja2) {
  const auto golden = ReadGoldenJson("jinja_cases.json");
  const auto& context = golden.at("context").as_object();
  const auto& cases = golden.at("cases").as_array();
  ASSERT_GT(cases.size(), 500u);
  for (const auto& test : cases) {
    const std::string source(test.at("template").as_string());
    SCOPED_TRACE(source);
    ExpectSame(test.as_object(), source, context);
  }
}

// The lines that a case of template_families.json names by number.
std::string Lines(const boost::json::array& numbers, const boost::json::array& lines) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) text += '\n';
    text += std::string_view(lines.at(numbers[i].to_number<size_t>()).as_string());
  }
  return text;
}

TEST_F(JinjaGoldenTest, FamiliesOfChatTemplatesRenderConversationsAsInJinja2) {
  const auto golden = ReadGoldenJson("template_families.json");
  const auto& conversations = golden.at("conversations").as_object();
  const auto& variants = golden.at("variants").as_array();
  ASSERT_GE(golden.at("cases").as_object().size(), 11u);
  for (const auto& [name, cases] : golden.at("cases").as_object()) {
    const std::string source = ReadGoldenText("templates/" + std::string(name));
    ASSERT_EQ(cases.as_object().size(), conversations.size());
    for (const auto& [conversation, results] : cases.as_object()) {
      ASSERT_EQ(results.as_array().size(), variants.size());
      for (size_t i = 0; i < variants.size(); ++i) {
        SCOPED_TRACE(std::string(name) + ", " + std::string(conversation));
        boost::json::object context = variants[i].as_object();
        context["bos_token"] = "<s>";
        context["eos_token"] = "</s>";
        context["messages"] = conversations.at(conversation);
        const auto& result = results.as_array()[i];
        boost::json::object expected;
        if (result.is_array()) {
          expected["output"] = Lines(result.as_array(), golden.at("lines").as_array());
        } else {
          expected["error"] = result;
        }
        ExpectSame(expected, source, context);
      }
    }
  }
}

}  // namespace
}  // namespace pingti::text
