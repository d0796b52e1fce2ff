// Tool calls between marks, with text around them: all syntaxes but those whose whole answer is the
// call.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "router/pipeline/tool_call_bodies.h"
#include "router/pipeline/tool_call_parser.h"
#include "router/pipeline/tool_call_writer.h"

namespace pingti::router {

struct TaggedSyntax {
  std::string_view begin;
  std::string_view end;  // empty: a call goes on to the next one
  // Marks around all calls of an answer, which say nothing of their own; or empty.
  std::string_view frame_begin;
  std::string_view frame_end;
  ReadCallBody read;
};

// A body ends at its end mark, at the next begin mark where the end was forgotten, or with the
// text; at the first of them at which it can be read. Thread-compatible.
class TaggedToolCalls final : public ToolCallParser {
 public:
  TaggedToolCalls(const TaggedSyntax* syntax, ToolCallOptions options)
      : syntax_(*syntax), tools_(options.tools), writer_(std::move(options)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return writer_.num_calls(); }

 private:
  struct Mark {
    size_t at = std::string::npos;
    std::string_view text{};
  };
  Mark NextMark(size_t from, std::initializer_list<std::string_view> marks) const;
  bool Step(std::string* content, std::vector<ToolCallDelta>* calls);
  bool StepText(std::string* content);
  bool StepBody(std::string* content, std::vector<ToolCallDelta>* calls);
  // Take the body in front of `mark` off the front of `held_`.
  void ConcludeCalls(const Mark& mark, const CallBody& body, std::string* content,
                     std::vector<ToolCallDelta>* calls);
  void ConcludeContent(const Mark& mark, std::string* content);
  void EndBody(const Mark& mark);

  // So that a text made of marks is read in linear time.
  static constexpr size_t kMostPassed = 64;
  static constexpr int kMostRounds = 64;

  const TaggedSyntax& syntax_;
  const boost::json::array* const tools_;
  ToolCallWriter writer_;
  std::string held_;
  bool in_body_ = false;
  size_t seen_ = 0;           // bytes of the body in which no mark begins
  std::vector<Mark> passed_;  // marks at which the body was still open
};

}  // namespace pingti::router
