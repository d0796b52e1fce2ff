// Optional API keys: who is asking. Without any key configured everybody may ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pingti::router {

// Immutable after parsing; thread-safe.
class ApiKeys {
 public:
  ApiKeys() = default;

  // One key a line, or "name:key"; blank lines and lines that start with '#' are skipped. A key
  // without a name is its own tenant under "key-N", N its place. After the key, and blanks,
  // "max_priority=N" may follow. Errors: InvalidArgument with the line.
  static absl::StatusOr<ApiKeys> Parse(std::string_view text);

  // By tenant, where a key names one.
  const std::map<std::string, int32_t>& max_priority() const { return max_priority_; }

  bool empty() const { return tenants_.empty(); }

  // The tenant's name for an Authorization header ("Bearer KEY"). Empty when no keys are
  // configured. Errors: Unauthenticated, in OpenAI's words.
  absl::StatusOr<std::string> Authenticate(std::string_view authorization) const;

 private:
  // By the key's sha256: the look-up's time then tells nothing about a key, and a core dump has
  // none.
  std::map<std::string, std::string> tenants_;
  std::map<std::string, int32_t> max_priority_;
};

}  // namespace pingti::router
