// Numbers an answer's calls and gives them ids. Thread-compatible.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "router/pipeline/tool_call_bodies.h"
#include "router/pipeline/tool_call_parser.h"

namespace pingti::router {

class ToolCallWriter {
 public:
  explicit ToolCallWriter(ToolCallOptions options) : options_(std::move(options)) {}

  // Adds a call, unless the answer has as many as it may have.
  void Add(const WholeCall& call, std::vector<ToolCallDelta>* calls) {
    if (full()) return;
    const bool is_custom = IsCustom(call.name);
    calls->push_back({.index = static_cast<uint32_t>(num_calls_++),
                      .id = call.id.empty() ? options_.new_id() : call.id,
                      .name = call.name,
                      .arguments = is_custom ? CustomInput(call.arguments) : call.arguments,
                      .is_custom = is_custom});
  }
  size_t num_calls() const { return num_calls_; }
  // Nothing that follows is part of the answer.
  bool full() const { return num_calls_ >= options_.most_calls; }

 private:
  bool IsCustom(const std::string& name) const {
    if (options_.custom_tools == nullptr) return false;
    const std::vector<std::string>& custom = *options_.custom_tools;
    return std::find(custom.begin(), custom.end(), name) != custom.end();
  }

  const ToolCallOptions options_;
  size_t num_calls_ = 0;
};

}  // namespace pingti::router
