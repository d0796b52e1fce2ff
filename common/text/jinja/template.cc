// See template.h. The boundary where thrown errors become Status.
#include "common/text/jinja/template.h"

#include <boost/json.hpp>
#include <new>
#include <utility>

#include "common/base/strings.h"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/parser.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

absl::Status ToStatus(const Error& error) {
  constexpr size_t kMaxBytes = 2000;  // what a template raises can be as large as a prompt
  std::string_view message = std::string_view(error.message).substr(0, kMaxBytes);
  message = message.substr(0, ValidUtf8Prefix(message));
  return absl::Status(error.code, error.line > 0
                                      ? Concat("chat template, line ", error.line, ": ", message)
                                      : Concat("chat template: ", message));
}

}  // namespace

Template::Template(std::unique_ptr<const Ast> ast, const Limits& limits)
    : ast_(std::move(ast)), limits_(limits) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

absl::StatusOr<Template> Template::Parse(std::string_view source, const Limits& limits) {
  try {
    return Template(std::make_unique<const Ast>(ParseTemplate(source, limits.max_depth)), limits);
  } catch (const Error& error) {
    return ToStatus(error);
  }
}

absl::StatusOr<std::string> Template::Render(const boost::json::object& context,
                                             std::chrono::system_clock::time_point now) const {
  try {
    return Interpreter(*ast_, limits_, now).Run(context);
  } catch (const Error& error) {
    return ToStatus(error);
  }
}

}  // namespace pingti::text::jinja
