// What is left out, ignored and refused, at any depth; and that parsers read what tables call used.
#include "router/api/request_fields.h"

#include <gtest/gtest.h>

#include <string>

#include "router/api/api_error.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

absl::Status Unheard(std::string_view field) { return FieldError(field, "unheard of"); }

const FieldTable& Table() {
  using enum FieldUse;
  static constexpr FieldRow kRows[] = {
      {"a"},
      {"list[].x"},
      {"list[].deep[].y"},
      {"list[].*", kIgnored},
      {"object.x"},
      {"whole", kAsItIs},
      {"hint", kIgnored, "", R"(["auto",0])"},
      {"no", kRefused, "there is none", "[false]"},
      {"list[].no", kRefused, "not here"},
  };
  static const FieldTable* const table = new FieldTable({kRows}, &Unheard);
  return *table;
}

struct Cleaned {
  std::string body;
  std::string ignored;
  std::string param;
};

Cleaned Clean(const std::string& text) {
  json::object body = json::parse(text).as_object();
  IgnoredFields ignored;
  const absl::Status status = CleanBody(Table(), &body, &ignored);
  return {json::serialize(body), ignored.Header(), ErrorParam(status)};
}

TEST(CleanBody, NullsAndEmptyObjectsAreLeftOutAtAnyDepth) {
  EXPECT_EQ(Clean(R"({"a":null,"object":{"x":null},"no":null,"unheard":null})").body, "{}");
  EXPECT_EQ(Clean(R"({"list":[{"x":{},"deep":[{"y":null}]}]})").body,
            R"({"list":[{"deep":[{}]}]})");
  EXPECT_EQ(Clean(R"({"no":{},"hint":{}})").ignored, "");
}

TEST(CleanBody, WhatIsTakenAsItIsKeepsAll) {
  EXPECT_EQ(Clean(R"({"whole":{"a":null,"b":{}}})").body, R"({"whole":{"a":null,"b":{}}})");
  EXPECT_EQ(Clean(R"({"whole":{}})").body, R"({"whole":{}})");
  EXPECT_EQ(Clean(R"({"whole":null})").body, "{}");
}

TEST(CleanBody, NeutralValuesAreLeftOutAndNotNamed) {
  const Cleaned cleaned = Clean(R"({"hint":"auto","no":false})");
  EXPECT_EQ(cleaned.body, "{}");
  EXPECT_EQ(cleaned.ignored, "");
  EXPECT_EQ(Clean(R"({"hint":"now"})").ignored, "hint");
}

TEST(CleanBody, IgnoredFieldsAreNamedOnceWithoutIndices) {
  const Cleaned cleaned = Clean(R"({"list":[{"p":1,"x":1},{"p":2,"q":"r"}],"hint":1})");
  EXPECT_EQ(cleaned.body, R"({"list":[{"x":1},{}]})");
  EXPECT_EQ(cleaned.ignored, "hint, list[].p, list[].q");
}

TEST(CleanBody, ErrorsHaveThePlaceWithItsIndex) {
  EXPECT_EQ(Clean(R"({"no":true})").param, "no");
  EXPECT_EQ(Clean(R"({"list":[{},{"no":1}]})").param, "list[1].no");
  EXPECT_EQ(Clean(R"({"list":[{},{"deep":[{"z":1}]}]})").param, "list[1].deep[0].z");
  EXPECT_EQ(Clean(R"({"b":1})").param, "b");
}

TEST(CleanBody, NamesThatCannotStandInAHeaderAreNotQuoted) {
  EXPECT_EQ(Clean(R"({"list":[{"a\r\nset-cookie: b":1,"ü":1,"":1}]})").ignored, "list[].*");
  EXPECT_EQ(Clean(R"({"list":[{")" + std::string(65, 'a') + R"(":1}]})").ignored, "list[].*");
}

TEST(IgnoredFields, AreBounded) {
  IgnoredFields ignored;
  for (int i = 0; i < 100; ++i) ignored.Add("f" + std::to_string(i));
  const std::string header = ignored.Header();
  EXPECT_EQ(header.substr(header.size() - 7), "f9, ...");
}

}  // namespace
}  // namespace pingti::router
