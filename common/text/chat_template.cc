// See chat_template.h. The engine itself is in jinja/.
#include "common/text/chat_template.h"

#include <boost/json.hpp>
#include <utility>

#include "common/base/status_macros.h"
#include "common/text/jinja/template.h"

namespace pingti::text {

struct ChatTemplate::Impl {
  jinja::Template parsed;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(
    std::string_view source, const ChatTemplateLimits& limits) {
  PINGTI_ASSIGN_OR_RETURN(
      jinja::Template parsed,
      jinja::Template::Parse(source, {.max_output_bytes = limits.max_output_bytes,
                                      .max_value_bytes = limits.max_value_bytes,
                                      .max_steps = limits.max_steps,
                                      .max_depth = limits.max_depth}));
  return std::unique_ptr<ChatTemplate>(
      new ChatTemplate(std::make_unique<const Impl>(Impl{std::move(parsed)})));
}

absl::StatusOr<std::string> ChatTemplate::Render(const boost::json::object& context,
                                                 std::chrono::system_clock::time_point now) const {
  return impl_->parsed.Render(context, now);
}

}  // namespace pingti::text
