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

TEST_F(JinjaGoldenTest, FamiliesOfChatTemplatesRenderConversationsAsInJinja2) {
  const auto golden = ReadGoldenJson("template_families.json");
  const auto& conversations = golden.at("conversations").as_object();
  const auto& variants = golden.at("variants").as_array();
  const auto& cases = golden.at("cases").as_array();
  ASSERT_GT(cases.size(), 500u);
  for (const auto& test : cases) {
    const std::string name(test.at("template").as_string());
    boost::json::object context = variants.at(test.at("variant").to_number<size_t>()).as_object();
    context["bos_token"] = "<s>";
    context["eos_token"] = "</s>";
    context["messages"] = conversations.at(test.at("conversation").as_string());
    SCOPED_TRACE(name + ", " + std::string(test.at("conversation").as_string()));
    ExpectSame(test.as_object(), ReadGoldenText("templates/" + name), context);
  }
}

}  // namespace
}  // namespace pingti::text
