// See api_keys.h.
#include "router/admission/api_keys.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "common/base/sha256.h"
#include "common/base/strings.h"
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

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Takes "max_priority=N" off the end of a line. Errors: InvalidArgument.
absl::StatusOr<std::optional<int32_t>> TakeMaxPriority(std::string_view* line) {
  constexpr std::string_view kName = "max_priority=";
  const size_t blank = line->find_last_of(" \t");
  if (blank == std::string_view::npos || !line->substr(blank + 1).starts_with(kName)) {
    return std::optional<int32_t>();
  }
  const std::string_view digits = line->substr(blank + 1 + kName.size());
  int32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return absl::InvalidArgumentError(
        Concat("max_priority is '", digits, "', expected a whole number"));
  }
  *line = Trim(line->substr(0, blank));
  return std::optional<int32_t>(value);
}

}  // namespace

absl::StatusOr<ApiKeys> ApiKeys::Parse(std::string_view text) {
  Table table;
  int line_number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++line_number;
    if (line.empty() || line.front() == '#') continue;
    const absl::StatusOr<std::optional<int32_t>> max_priority = TakeMaxPriority(&line);
    if (!max_priority.ok()) {
      return absl::InvalidArgumentError(Concat("API keys, line ", line_number, ": ",
                                               std::string(max_priority.status().message())));
    }
    const size_t colon = line.find(':');
    const std::string_view key =
        Trim(colon == std::string_view::npos ? line : line.substr(colon + 1));
    const std::string name = colon == std::string_view::npos
                                 ? Concat("key-", table.tenants.size() + 1)
                                 : std::string(Trim(line.substr(0, colon)));
    if (key.empty() || name.empty()) {
      return absl::InvalidArgumentError(
          Concat("API keys, line ", line_number, ": expected KEY or NAME:KEY"));
    }
    if (!table.tenants.emplace(ToHex(Sha256(key)), name).second) {
      return absl::InvalidArgumentError(
          Concat("API keys, line ", line_number, ": the same key stands there twice"));
    }
    if (max_priority->has_value()) table.max_priority[name] = **max_priority;
  }
  return ApiKeys(std::make_shared<const Table>(std::move(table)));
}

std::shared_ptr<const ApiKeys::Table> ApiKeys::table() const {
  MutexLock lock(&mutex_);
  return table_;
}

void ApiKeys::Replace(const ApiKeys& other) {
  std::shared_ptr<const Table> table = other.table();
  MutexLock lock(&mutex_);
  table_ = std::move(table);
}

absl::StatusOr<std::string> ApiKeys::Authenticate(std::string_view authorization) const {
  const std::shared_ptr<const Table> table = this->table();
  if (table->tenants.empty()) return std::string();
  if (!HasBearer(authorization)) {
    return ApiError(absl::StatusCode::kUnauthenticated,
                    "You didn't provide an API key. Use the header 'Authorization: Bearer KEY'.",
                    "", "invalid_api_key");
  }
  const auto tenant =
      table->tenants.find(ToHex(Sha256(Trim(authorization.substr(kBearer.size())))));
  if (tenant == table->tenants.end()) {
    return ApiError(absl::StatusCode::kUnauthenticated, "Incorrect API key provided.", "",
                    "invalid_api_key");
  }
  return tenant->second;
}

}  // namespace pingti::router
