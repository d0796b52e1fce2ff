// A parsed template and its rendering: the face of this folder. Immutable, thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"

namespace pingti::text::jinja {

struct Limits {
  size_t max_output_bytes = 0;  // of the output, and of one text
  size_t max_value_bytes = 0;   // of all values that are alive
  size_t max_steps = 0;
  size_t max_depth = 0;
};

struct Ast;

class Template {
 public:
  // Errors: InvalidArgument (syntax, with the line), Unimplemented (a tag by name),
  // ResourceExhausted (nesting).
  static absl::StatusOr<Template> Parse(std::string_view source, const Limits& limits);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // Errors: InvalidArgument (raise_exception, undefined values, types; with the line),
  // Unimplemented (a filter or test by name), ResourceExhausted (a limit, named).
  absl::StatusOr<std::string> Render(const boost::json::object& context,
                                     std::chrono::system_clock::time_point now) const;

 private:
  explicit Template(std::unique_ptr<const Ast> ast, const Limits& limits);
  std::unique_ptr<const Ast> ast_;
  Limits limits_;
};

}  // namespace pingti::text::jinja
