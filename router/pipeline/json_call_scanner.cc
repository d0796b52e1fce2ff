// See json_call_scanner.h.
#include "router/pipeline/json_call_scanner.h"

#include <utility>

#include "boost/json.hpp"

namespace pingti::router {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// The text a JSON string (with its quotes) stands for.
bool Unquote(std::string_view quoted, std::string* out) {
  boost::json::error_code error;
  const boost::json::value value =
      boost::json::parse(boost::json::string_view(quoted.data(), quoted.size()), error);
  if (error || !value.is_string()) return false;
  out->assign(value.get_string().data(), value.get_string().size());
  return true;
}

}  // namespace

size_t JsonCallScanner::Push(std::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && !complete() && !failed()) {
    raw_.push_back(text[taken]);
    Step(text[taken++]);
  }
  return taken;
}

void JsonCallScanner::Step(char c) {
  switch (state_) {
    case State::kStart:
      if (c == '{') {
        state_ = State::kKey;
      } else if (!IsSpace(c)) {
        state_ = State::kFailed;
      }
      break;
    case State::kKey:
      if (c == '"') {
        key_.clear();
        escaped_ = false;
        state_ = State::kKeyText;
      } else if (c == '}') {
        state_ = has_name_ ? State::kDone : State::kFailed;
      } else if (!IsSpace(c)) {
        state_ = State::kFailed;
      }
      break;
    case State::kKeyText:
      if (c == '"' && !escaped_) {
        state_ = State::kColon;
      } else {
        key_.push_back(c);
        escaped_ = c == '\\' && !escaped_;
      }
      break;
    case State::kColon:
      if (c == ':') {
        member_ = key_ == "name"                                ? Member::kName
                  : key_ == "arguments" || key_ == "parameters" ? Member::kArguments
                                                                : Member::kOther;
        value_started_ = false;
        state_ = State::kValue;
      } else if (!IsSpace(c)) {
        state_ = State::kFailed;
      }
      break;
    case State::kValue:
      if (value_started_) {
        ContinueValue(c);
      } else if (!IsSpace(c)) {
        StartValue(c);
      }
      break;
    case State::kAfterValue:
      if (c == ',') {
        state_ = State::kKey;
      } else if (c == '}') {
        state_ = has_name_ ? State::kDone : State::kFailed;
      } else if (!IsSpace(c)) {
        state_ = State::kFailed;
      }
      break;
    case State::kDone:
    case State::kFailed:
      break;
  }
}

void JsonCallScanner::StartValue(char c) {
  value_started_ = true;
  value_is_string_ = c == '"';
  in_string_ = value_is_string_;
  escaped_ = false;
  depth_ = c == '{' || c == '[' ? 1 : 0;
  string_value_.clear();
  if (member_ == Member::kName && !value_is_string_) {
    state_ = State::kFailed;
    return;
  }
  if (member_ == Member::kArguments) {
    has_arguments_ = true;
    arguments_.clear();
  }
  AddValueByte(c);
}

void JsonCallScanner::AddValueByte(char c) {
  if (member_ == Member::kArguments) arguments_.push_back(c);
  if (member_ == Member::kName) string_value_.push_back(c);
}

void JsonCallScanner::ContinueValue(char c) {
  if (in_string_) {
    AddValueByte(c);
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      if (depth_ == 0) EndValue();
    }
    return;
  }
  // A number, true, false or null ends where the object goes on.
  if (depth_ == 0 && (c == ',' || c == '}' || IsSpace(c))) {
    state_ = State::kAfterValue;
    Step(c);
    return;
  }
  AddValueByte(c);
  if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if ((c == '}' || c == ']') && --depth_ == 0) {
    EndValue();
  }
}

void JsonCallScanner::EndValue() {
  state_ = State::kAfterValue;
  if (member_ != Member::kName) return;
  has_name_ = Unquote(string_value_, &name_);
  if (!has_name_) state_ = State::kFailed;
}

}  // namespace pingti::router
