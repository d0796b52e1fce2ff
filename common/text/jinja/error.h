// How a template fails inside this folder. Template::Parse and Template::Render (template.h) turn
// it into a Status; it never leaves the folder.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"

namespace pingti::text::jinja {

struct Error {
  absl::StatusCode code;
  std::string message;
  int line = 0;  // 0: the evaluator adds the line it is at
};

[[noreturn]] inline void Fail(std::string message) {
  throw Error{absl::StatusCode::kInvalidArgument, std::move(message)};
}
[[noreturn]] inline void FailAt(int line, std::string message) {
  throw Error{absl::StatusCode::kInvalidArgument, std::move(message), line};
}
[[noreturn]] inline void FailUnsupported(int line, std::string message) {
  throw Error{absl::StatusCode::kUnimplemented, std::move(message), line};
}
[[noreturn]] inline void FailLimit(std::string message) {
  throw Error{absl::StatusCode::kResourceExhausted, std::move(message)};
}

}  // namespace pingti::text::jinja
