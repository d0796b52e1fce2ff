// See api_keys.h.
#include "router/admission/api_keys.h"

#include <algorithm>

#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr std::string_view kBearer = "bearer ";

// The scheme's letters may be of either case (RFC 7235, section 2.1).
bool HasBearer(std::string_view authorization) {
  if (authorization.size() < kBearer.size()) return false;
  return std::equal(kBearer.begin(), kBearer.end(), authorization.begin(),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

// Of an Authorization header, without blanks around it.
std::string_view KeyOf(std::string_view authorization) {
  authorization.remove_prefix(kBearer.size());
  const size_t first = authorization.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return authorization.substr(first, authorization.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

absl::StatusOr<ApiKeys> ApiKeys::Parse(std::string_view text) {
  KeyTable table;
  PINGTI_RETURN_IF_ERROR(AddKeys(text, &table));
  return ApiKeys(std::move(table));
}

std::shared_ptr<const KeyTable> ApiKeys::table() const {
  MutexLock lock(&mutex_);
  return table_;
}

void ApiKeys::Replace(const ApiKeys& other) {
  std::shared_ptr<const KeyTable> table = other.table();
  MutexLock lock(&mutex_);
  table_ = std::move(table);
}

absl::StatusOr<Tenant> ApiKeys::Authenticate(std::string_view authorization) const {
  const std::shared_ptr<const KeyTable> table = this->table();
  if (table->names.empty()) return Tenant{};
  if (!HasBearer(authorization)) {
    return ApiError(absl::StatusCode::kUnauthenticated,
                    "You didn't provide an API key. Use the header 'Authorization: Bearer KEY'.",
                    "", "invalid_api_key");
  }
  const auto name = table->names.find(ToHex(Sha256(KeyOf(authorization))));
  if (name == table->names.end()) {
    return ApiError(absl::StatusCode::kUnauthenticated, "Incorrect API key provided.", "",
                    "invalid_api_key");
  }
  return table->tenants.at(name->second);
}

}  // namespace pingti::router
