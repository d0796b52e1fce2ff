// Random calls in JSON, whose parts are known since they were put together here.
#include "router/pipeline/json_call_scanner.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

class JsonCallWriter {
 public:
  explicit JsonCallWriter(uint32_t seed) : rng_(seed) {}

  size_t Below(size_t n) { return rng_() % n; }
  template <typename T>
  const T& OneOf(const std::vector<T>& choices) {
    return choices[Below(choices.size())];
  }
  std::string Space() { return OneOf<std::string>({"", "", " ", "\n", " \t\r\n"}); }

  std::string Text() {
    std::string text;
    const std::vector<std::string> pieces = {"a", "{",  "}",  "[",  "]", ",",
                                             ":", "\"", "\\", "\n", "ß"};
    for (size_t i = Below(6); i > 0; --i) text += OneOf(pieces);
    return text;
  }
  std::string Quoted(const std::string& text) {
    return boost::json::serialize(boost::json::value(text));
  }

  std::string Value(int depth) {
    switch (Below(depth > 0 ? 5 : 3)) {
      case 0:
        return Quoted(Text());
      case 1:
        return OneOf<std::string>({"0", "-12.5e3", "7"});
      case 2:
        return OneOf<std::string>({"true", "false", "null"});
      case 3:
        return Concat("[", Members(depth - 1, false), Space(), "]");
      default:
        return Concat("{", Members(depth - 1, true), Space(), "}");
    }
  }
  std::string Members(int depth, bool named) {
    std::string members;
    for (size_t i = Below(4); i > 0; --i) {
      members += Space();
      if (named) members += Concat(Quoted(Text()), Space(), ":", Space());
      members += Concat(Value(depth), i > 1 ? "," : "");
    }
    return members;
  }

 private:
  std::mt19937 rng_;
};

struct WrittenCall {
  std::string text;
  std::string name;
  bool has_arguments = false;
  std::string arguments;
};

WrittenCall RandomJsonCall(JsonCallWriter* writer) {
  WrittenCall call;
  const size_t count = 1 + writer->Below(4);
  const size_t named = writer->Below(count);
  call.text = writer->Space() + "{";
  for (size_t i = 0; i < count; ++i) {
    std::string key = i == named ? "name"
                                 : writer->OneOf<std::string>(
                                       {"arguments", "parameters", "names", "\"", "\\", "a\\\"b"});
    std::string value = writer->Value(3);
    if (i == named) {
      call.name = writer->Text() + "f";
      value = writer->Quoted(call.name);
    } else if (key == "arguments" || key == "parameters") {
      call.has_arguments = true;
      call.arguments = value;  // of several the last one counts
    }
    call.text += Concat(i > 0 ? "," : "", writer->Space(), writer->Quoted(key), writer->Space(),
                        ":", writer->Space(), value, writer->Space());
  }
  call.text += "}";
  return call;
}

TEST(JsonCallScanner, FindsTheNameAndTheTextOfTheArgumentsWhereverACallIsCut) {
  JsonCallWriter writer(5);
  for (int i = 0; i < 2000; ++i) {
    const WrittenCall call = RandomJsonCall(&writer);
    SCOPED_TRACE(call.text);
    const std::string text =
        call.text + writer.OneOf<std::string>({"", "}", ", {", "</tool_call>"});
    const size_t cut = writer.Below(call.text.size());
    JsonCallScanner scanner;
    EXPECT_EQ(scanner.Push(text.substr(0, cut)), cut);
    EXPECT_FALSE(scanner.complete() || scanner.failed());
    EXPECT_EQ(scanner.Push(text.substr(cut)), call.text.size() - cut);
    ASSERT_TRUE(scanner.complete());
    EXPECT_TRUE(scanner.has_name());
    EXPECT_EQ(scanner.name(), call.name);
    EXPECT_EQ(scanner.has_arguments(), call.has_arguments);
    EXPECT_EQ(scanner.arguments(), call.arguments);
    EXPECT_EQ(scanner.raw(), call.text);
  }
}

TEST(JsonCallScanner, WhatHasNoNameOfItsOwnIsNoCall) {
  for (const char* text : {R"({"arguments":{}})", R"({"name":7})", R"({"name":["f"]})",
                           R"([{"name":"f"}])", R"({"name":"f" "arguments":{}})", "{}", "name"}) {
    JsonCallScanner scanner;
    scanner.Push(text);
    EXPECT_TRUE(scanner.failed()) << text;
  }
}

}  // namespace
}  // namespace pingti::router
