// Every accessor against every kind of member.
#include "common/text/json_fields.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

namespace pingti::text {
namespace {

template <typename T>
std::string MessageOf(const absl::StatusOr<T>& result) {
  return std::string(result.status().message());
}

TEST(JsonFields, MembersAreOfTheirTypeOrNamedWithWhatWasFound) {
  const boost::json::value file = boost::json::parse(
      R"({"object":{},"array":[],"string":"s","bool":true,"int64":-7,"double":0.5,"null":null})");
  const JsonAt root{"", &file.as_object()};
  const JsonAt nested{"a.b", &file.as_object()};
  for (const std::string name :
       {"object", "array", "string", "bool", "int64", "double", "null", "absent"}) {
    SCOPED_TRACE(name);
    const std::string found = name == "absent" ? "nothing" : name;
    const bool is_there = name != "absent" && name != "null";
    const auto expect = [&](const auto& result, bool is_right, const std::string& expected) {
      EXPECT_EQ(MessageOf(result),
                is_right ? "" : "'a.b." + name + "': expected " + expected + ", found " + found);
    };
    EXPECT_EQ(JsonHas(root, name), is_there);
    expect(JsonObject(nested, name), name == "object", "an object");
    expect(JsonArray(nested, name), name == "array", "an array");
    expect(JsonString(nested, name), name == "string", "a string");
    expect(JsonInt(nested, name), name == "int64", "an integer");
    expect(JsonStringOr(nested, name, "t"), name == "string" || !is_there, "a string");
    expect(JsonBoolOr(nested, name, false), name == "bool" || !is_there, "true or false");
    expect(JsonIntOr(nested, name, 3), name == "int64" || !is_there, "an integer");
    if (!is_there) {
      EXPECT_EQ(*JsonStringOr(root, name, "t"), "t");
      EXPECT_TRUE(*JsonBoolOr(root, name, true));
      EXPECT_EQ(*JsonIntOr(root, name, 3), 3);
    }
  }
  EXPECT_EQ(JsonObject(root, "object")->path, "object");
  EXPECT_EQ(JsonObject(nested, "object")->path, "a.b.object");
  EXPECT_EQ(*JsonArray(root, "array"), &file.at("array").as_array());
  EXPECT_EQ(*JsonString(root, "string"), "s");
  EXPECT_EQ(*JsonStringOr(root, "string", "t"), "s");
  EXPECT_TRUE(*JsonBoolOr(root, "bool", false));
  EXPECT_EQ(*JsonInt(root, "int64"), -7);
  EXPECT_EQ(*JsonIntOr(root, "int64", 3), -7);
}

TEST(JsonFields, ElementsAreObjectsWithTheirPlace) {
  const boost::json::value file = boost::json::parse(R"({"list":[{"x":1},2]})");
  const JsonAt root{"top", &file.as_object()};
  const boost::json::array& list = file.at("list").as_array();
  const auto element = JsonElement(root, "list", list, 0);
  ASSERT_TRUE(element.ok()) << element.status();
  EXPECT_EQ(element->path, "top.list[0]");
  EXPECT_EQ(*JsonInt(*element, "x"), 1);
  EXPECT_EQ(MessageOf(JsonElement(root, "list", list, 1)), "'top.list[1]': expected an object");
}

}  // namespace
}  // namespace pingti::text
