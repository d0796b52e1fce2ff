// Optional API keys: who is asking. Without any key configured everybody may ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"

namespace pingti::router {

// Thread-safe, but for moves.
class ApiKeys {
 public:
  ApiKeys() = default;
  ApiKeys(ApiKeys&& other) noexcept { Replace(other); }
  ApiKeys& operator=(ApiKeys&& other) noexcept {
    Replace(other);
    return *this;
  }

  // One key a line, or "name:key"; blank lines and lines that start with '#' are skipped. A key
  // without a name is its own tenant under "key-N", N its place. After the key, and blanks,
  // "max_priority=N" may follow. Errors: InvalidArgument with the line.
  static absl::StatusOr<ApiKeys> Parse(std::string_view text);

  // The keys of `other` count from now on, and those of before no more.
  void Replace(const ApiKeys& other);

  // By tenant, where a key names one.
  std::map<std::string, int32_t> max_priority() const { return table()->max_priority; }

  bool empty() const { return table()->tenants.empty(); }

  // The tenant's name for an Authorization header ("Bearer KEY"). Empty when no keys are
  // configured. Errors: Unauthenticated, in OpenAI's words.
  absl::StatusOr<std::string> Authenticate(std::string_view authorization) const;

 private:
  struct Table {
    // By the key's sha256: the look-up's time then tells nothing about a key, and a core dump has
    // none.
    std::map<std::string, std::string> tenants;
    std::map<std::string, int32_t> max_priority;
  };
  explicit ApiKeys(std::shared_ptr<const Table> table) : table_(std::move(table)) {}
  std::shared_ptr<const Table> table() const;

  mutable Mutex mutex_;
  // Shared with look-ups that are under way when it is replaced.
  std::shared_ptr<const Table> table_ PINGTI_GUARDED_BY(mutex_) = std::make_shared<Table>();
};

}  // namespace pingti::router
