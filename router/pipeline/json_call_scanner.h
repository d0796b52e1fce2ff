// Reads one tool call written as a JSON object, {"name": ..., "arguments": {...}}, as it arrives.
#pragma once

#include <string>
#include <string_view>

#include "router/api/request.h"

namespace pingti::router {

// A byte-wise state machine over the object's members, which keeps the name and the text of
// "arguments" (or "parameters") and skips the others. What a value holds is not checked: see
// ArgumentsObject. Thread-compatible; O(bytes).
class JsonCallScanner {
 public:
  // Takes bytes from `text` up to the object's end; returns how many. White space before '{' is
  // taken.
  size_t Push(std::string_view text);

  bool complete() const { return state_ == State::kDone; }
  // The text is not such an object; nothing more may be pushed.
  bool failed() const { return state_ == State::kFailed; }
  bool has_name() const { return has_name_; }
  const std::string& name() const { return name_; }
  bool has_arguments() const { return has_arguments_; }
  const std::string& arguments() const { return arguments_; }
  // Everything taken so far, for text that turns out to be no call.
  const std::string& raw() const { return raw_; }

 private:
  enum class State { kStart, kKey, kKeyText, kColon, kValue, kAfterValue, kDone, kFailed };
  enum class Member { kName, kArguments, kOther };

  void Step(char c);
  void StartValue(char c);
  void ContinueValue(char c);
  void EndValue();
  void AddValueByte(char c);

  State state_ = State::kStart;
  Member member_ = Member::kOther;
  std::string raw_;
  std::string key_;
  std::string name_;
  bool has_name_ = false;
  bool has_arguments_ = false;
  std::string arguments_;
  std::string string_value_;  // a name with its quotes, until it ends
  int depth_ = 0;             // of brackets inside a value
  bool in_string_ = false;
  bool escaped_ = false;
  bool value_is_string_ = false;
  bool value_started_ = false;
};

}  // namespace pingti::router
