// Optional API keys: who is asking. Without any key configured everybody may ask.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "router/admission/key_table.h"
#include "router/admission/tenant.h"

namespace pingti::router {

// Thread-safe, but for moves.
class ApiKeys {
 public:
  ApiKeys() = default;
  explicit ApiKeys(KeyTable table) : table_(std::make_shared<const KeyTable>(std::move(table))) {}
  ApiKeys(ApiKeys&& other) noexcept { Replace(other); }
  ApiKeys& operator=(ApiKeys&& other) noexcept {
    Replace(other);
    return *this;
  }

  // Keys in either form of key_table.h. Errors: as AddKeys.
  static absl::StatusOr<ApiKeys> Parse(std::string_view text);

  // The keys of `other` count from now on, and those of before no more.
  void Replace(const ApiKeys& other);

  // By name.
  std::map<std::string, Tenant> tenants() const { return table()->tenants; }

  bool empty() const { return table()->names.empty(); }

  // Who has the key of an Authorization header ("Bearer KEY"). Without a name when no keys are
  // configured. Errors: Unauthenticated, in OpenAI's words.
  absl::StatusOr<Tenant> Authenticate(std::string_view authorization) const;

 private:
  std::shared_ptr<const KeyTable> table() const;

  mutable Mutex mutex_;
  // By hash: the look-up's time then tells nothing about a key, and a core dump has none. Shared
  // with look-ups that are under way when it is replaced.
  std::shared_ptr<const KeyTable> table_ PINGTI_GUARDED_BY(mutex_) = std::make_shared<KeyTable>();
};

}  // namespace pingti::router
