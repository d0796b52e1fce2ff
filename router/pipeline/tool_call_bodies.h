// What stands between the marks of a call, in each syntax. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boost/json/fwd.hpp"

namespace pingti::router {

struct WholeCall {
  std::string name;
  std::string arguments;  // text of a JSON object
  std::string id{};       // where the syntax has one
};

struct CallBody {
  std::vector<WholeCall> calls{};  // none: the body is no call
  std::string_view rest{};         // behind the last call
  // The text may be the beginning of a body: it ends within a string or a bracket.
  bool is_open = false;
};

// `tools`: see ToolCallOptions.
using ReadCallBody = CallBody (*)(std::string_view body, const boost::json::array* tools);

// {"name": ..., "arguments": {...}}, several of them, or a list of them. "parameters" is taken for
// "arguments".
CallBody ReadJsonCalls(std::string_view body, const boost::json::array* tools);
// <function=NAME> <parameter=KEY> VALUE </parameter> </function> of Qwen3-Coder, or JSON.
CallBody ReadQwenXmlCall(std::string_view body, const boost::json::array* tools);
// NAME <arg_key>KEY</arg_key> <arg_value>VALUE</arg_value> of GLM 4.5, or JSON.
CallBody ReadGlmCall(std::string_view body, const boost::json::array* tools);
// function<｜tool▁sep｜>NAME ```json {...} ``` of R1 and V3, and NAME<｜tool▁sep｜>{...} of V3.1.
CallBody ReadDeepSeekCall(std::string_view body, const boost::json::array* tools);
// functions.NAME:0<|tool_call_argument_begin|>{...}; what stands before the mark is the call's id.
CallBody ReadKimiCall(std::string_view body, const boost::json::array* tools);
// functions.NAME<|message|>{...} of gpt-oss; a recipient of another kind is the name as a whole.
CallBody ReadHarmonyCall(std::string_view body, const boost::json::array* tools);
// [{"name": ..., "arguments": {...}}], or NAME[CALL_ID]ID[ARGS]{...} of newer models.
CallBody ReadMistralCalls(std::string_view body, const boost::json::array* tools);

// The text of a JSON object for what a model wrote as arguments: nothing, null and "" are {}, a
// string that holds an object is that object, and line breaks that stand in a string as they are
// become escapes. Nothing for other texts.
std::optional<std::string> ArgumentsObject(std::string_view text);

// The text in a custom tool's arguments, {"input": "..."}; all of them where they are otherwise.
std::string CustomInput(const std::string& arguments);

}  // namespace pingti::router
