// Fields of a request that were accepted and are of no effect: what the answer's header
// x-pingti-ignored names.
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <string_view>

namespace pingti::router {

// A value; thread-compatible. Keeps each name once and at most kMostNames of them.
class IgnoredFields {
 public:
  static constexpr size_t kMostNames = 32;

  // `name` as docs/api.md has it, "messages[].annotations". REQUIRES: it can stand in a header.
  void Add(std::string_view name);
  // The header's value: names in their order with ", " between; empty: nothing was ignored.
  std::string Header() const;

 private:
  std::set<std::string, std::less<>> names_;
  bool has_more_ = false;
};

// Whether a name that a client made up can stand in a header.
bool IsPlainName(std::string_view name);

}  // namespace pingti::router
