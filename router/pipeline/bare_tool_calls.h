// Tool calls without marks: the answer begins with them. Llama 3's JSON objects, with ';' between,
// and the Python list of later Llama models.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "router/pipeline/json_call_scanner.h"
#include "router/pipeline/python_calls.h"
#include "router/pipeline/tool_call_parser.h"
#include "router/pipeline/tool_call_writer.h"

namespace pingti::router {

// ToolCallFormat::kLlama3Json, with or without <|python_tag|> (a special token, never part of the
// text). Thread-compatible.
class Llama3ToolCalls final : public ToolCallParser {
 public:
  explicit Llama3ToolCalls(ToolCallOptions options) : writer_(std::move(options)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return writer_.num_calls(); }

 private:
  enum class State { kBetween, kCall, kText };
  ToolCallWriter writer_;
  State state_ = State::kBetween;
  JsonCallScanner scanner_;
  std::string separators_;  // white space and ';' since the last call
};

// ToolCallFormat::kPythonic: [f(a=1), g(b='x')]. Thread-compatible.
class PythonicToolCalls final : public ToolCallParser {
 public:
  explicit PythonicToolCalls(ToolCallOptions options) : writer_(std::move(options)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return writer_.num_calls(); }

 private:
  enum class State { kBefore, kList, kText };
  ToolCallWriter writer_;
  State state_ = State::kBefore;
  PythonBrackets brackets_;
  std::string held_;
};

}  // namespace pingti::router
