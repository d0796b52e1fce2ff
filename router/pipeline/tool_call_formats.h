// The tool-call syntaxes of the model families. See tool_call_parser.h for the contract and
// router/api/answer_format.h for what each looks like.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "router/pipeline/json_call_scanner.h"
#include "router/pipeline/tool_call_parser.h"

namespace pingti::router {

// The marks of both calls that are read and calls that are forced.
inline constexpr std::string_view kHermesBegin = "<tool_call>";
inline constexpr std::string_view kHermesEnd = "</tool_call>";
inline constexpr std::string_view kDeepSeekCallsBegin = "<｜tool▁calls▁begin｜>";
inline constexpr std::string_view kDeepSeekCallsEnd = "<｜tool▁calls▁end｜>";
inline constexpr std::string_view kDeepSeekCallBegin = "<｜tool▁call▁begin｜>";
inline constexpr std::string_view kDeepSeekCallEnd = "<｜tool▁call▁end｜>";
inline constexpr std::string_view kDeepSeekSeparator = "<｜tool▁sep｜>";
inline constexpr std::string_view kDeepSeekFence = "```json\n";

// Numbers calls and gives them ids.
class ToolCallWriter {
 public:
  explicit ToolCallWriter(std::function<std::string()> new_id);
  void Begin(std::string name, std::vector<ToolCallDelta>* calls);
  // The next piece of the call begun last.
  void Arguments(std::string text, std::vector<ToolCallDelta>* calls);
  size_t num_calls() const { return num_calls_; }

 private:
  std::function<std::string()> new_id_;
  size_t num_calls_ = 0;
};

// One call that is a JSON object, shown as soon as its name is known.
class JsonCallWriter {
 public:
  // Takes what belongs to the object from the front of `text`.
  void Push(std::string_view* text, ToolCallWriter* writer, std::vector<ToolCallDelta>* calls);
  bool complete() const { return scanner_.complete(); }
  bool failed() const { return scanner_.failed(); }
  bool begun() const { return begun_; }
  const std::string& raw() const { return scanner_.raw(); }

 private:
  JsonCallScanner scanner_;
  bool begun_ = false;
};

// ToolCallFormat::kHermes.
class HermesToolCalls final : public ToolCallParser {
 public:
  explicit HermesToolCalls(std::function<std::string()> new_id) : writer_(std::move(new_id)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return writer_.num_calls(); }

 private:
  bool Step(std::string* content, std::vector<ToolCallDelta>* calls);
  bool StepText(std::string* content);
  bool StepCall(std::string* content, std::vector<ToolCallDelta>* calls);

  ToolCallWriter writer_;
  std::optional<JsonCallWriter> call_;  // inside <tool_call>
  bool closing_ = false;                // the object is over, its end marker is not
  std::string held_;
};

// ToolCallFormat::kLlama3Json, with or without <|python_tag|> (a special token, never part of the
// text).
class Llama3ToolCalls final : public ToolCallParser {
 public:
  explicit Llama3ToolCalls(std::function<std::string()> new_id) : writer_(std::move(new_id)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return writer_.num_calls(); }

 private:
  enum class State { kBetween, kCall, kText };
  ToolCallWriter writer_;
  State state_ = State::kBetween;
  std::optional<JsonCallWriter> call_;
  std::string separators_;  // white space and ';' since the last call
};

// ToolCallFormat::kDeepSeek.
class DeepSeekToolCalls final : public ToolCallParser {
 public:
  explicit DeepSeekToolCalls(std::function<std::string()> new_id) : writer_(std::move(new_id)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return writer_.num_calls(); }

 private:
  // kText -> (calls begin) kBetween -> (call begin) kHead -> kArguments -> (call end) kBetween ...
  enum class State { kText, kBetween, kHead, kArguments, kAfter };
  bool Step(std::string* content, std::vector<ToolCallDelta>* calls);
  bool StepHead(std::vector<ToolCallDelta>* calls);
  bool StepArguments(std::vector<ToolCallDelta>* calls);

  ToolCallWriter writer_;
  State state_ = State::kText;
  bool fenced_ = false;  // the arguments stand in a ```json block
  std::string held_;
};

}  // namespace pingti::router
