// See template.h. The boundary where thrown errors become Status.
#include "common/text/jinja/template.h"

#include <boost/json.hpp>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/parser.h"

namespace pingti::text::jinja {
namespace {

absl::Status ToStatus(const Error& error) {
  return absl::Status(error.code, error.line > 0 ? absl::StrCat("chat template, line ", error.line,
                                                                ": ", error.message)
                                                 : absl::StrCat("chat template: ", error.message));
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
