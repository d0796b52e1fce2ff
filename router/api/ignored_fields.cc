// See ignored_fields.h.
#include "router/api/ignored_fields.h"

#include <algorithm>

#include "common/base/strings.h"

namespace pingti::router {

void IgnoredFields::Add(std::string_view name) {
  if (names_.contains(name)) return;
  if (names_.size() == kMostNames) {
    has_more_ = true;
  } else {
    names_.emplace(name);
  }
}

std::string IgnoredFields::Header() const {
  std::string header;
  for (const std::string& name : names_) header += Concat(header.empty() ? "" : ", ", name);
  return has_more_ ? header + ", ..." : header;
}

bool IsPlainName(std::string_view name) {
  constexpr size_t kMostBytes = 64;
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-.:[]*").find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= kMostBytes &&
         std::all_of(name.begin(), name.end(), is_plain);
}

}  // namespace pingti::router
