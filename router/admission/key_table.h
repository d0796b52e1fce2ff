// The API keys as they are written down: in YAML, with hashes and limits, or one a line.
//
//   keys:
//   - name: team-a
//     sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
//     class: interactive
//     requests_per_minute: 600
//     tokens_per_minute: 200000
//     max_concurrent: 32
//     max_priority: 5
//     weight: 2
//
// `sha256` may be a list: while a key is being replaced, the old one and the new one count. The
// other form is KEY or NAME:KEY a line, after which max_priority=N may stand.
//
// The hashes are plain SHA-256, without salt or stretching: a key that is made at random (128 bits
// or more, as docs/security.md says how) cannot be guessed from its hash however fast guesses are,
// and a slow hash would be work that anybody can make the router do.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "router/admission/tenant.h"

namespace pingti::router {

struct KeyTable {
  // Most classes of a table: each has its own series of metrics.
  static constexpr size_t kMaxClasses = 16;

  std::map<std::string, std::string> names{};  // by the key's SHA-256 in hexadecimal digits
  std::map<std::string, Tenant> tenants{};     // by name
};

// Adds the keys of `text`, which is in either form: in YAML when its first line that is neither
// blank nor a comment is "keys:". In the other form, blank lines and lines that start with '#' are
// skipped, a key without a name gets "key-N", N its place in the table, and a key has no blanks,
// quotes, brackets or braces. Errors: InvalidArgument with the line.
absl::Status AddKeys(std::string_view text, KeyTable* table);

}  // namespace pingti::router
