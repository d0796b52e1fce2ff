// Renders the Jinja2 chat template that a checkpoint brings, as Hugging Face transformers would.
//
// A ChatTemplate is parsed once per model and immutable: Render is thread-safe. Values are
// Boost.JSON so that requests pass through without conversion (only the forward header is
// included). Source of the semantics: Jinja2 3.1 "Template Designer Documentation" and
// transformers' apply_chat_template (trim_blocks and lstrip_blocks on, tojson without HTML escapes,
// raise_exception, strftime_now, generation blocks, loop controls).
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"

namespace pingti::text {

struct ChatTemplateLimits {
  size_t max_output_bytes = 64u << 20;  // of the prompt, and of any one text
  size_t max_value_bytes = 256u << 20;  // of all values that are alive in one rendering
  size_t max_steps = 20'000'000;        // evaluated expressions and loop rounds
  size_t max_depth = 200;               // nesting of the template's own syntax and of macro calls
};

class ChatTemplate {
 public:
  // Errors: InvalidArgument with line and what was expected; Unimplemented naming the tag that does
  // not exist here.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Parse(std::string_view source,
                                                             const ChatTemplateLimits& limits);
  ~ChatTemplate();

  // `context` is an object: messages, tools, documents, add_generation_prompt, bos_token, eos_token
  // and whatever chat_template_kwargs the client gave. `now` serves strftime_now.
  // Errors: InvalidArgument (raise_exception or a type error, with the line), Unimplemented (a
  // filter or test that was reached and does not exist), ResourceExhausted (a limit, named).
  absl::StatusOr<std::string> Render(const boost::json::object& context,
                                     std::chrono::system_clock::time_point now) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace pingti::text
