// See api_keys_source.h.
#include "router/admission/api_keys_source.h"

#include <utility>

#include "common/base/log.h"
#include "common/base/read_file.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::router {

absl::StatusOr<ApiKeysSource> ApiKeysSource::Open(std::string inline_keys, std::string file) {
  for (char& c : inline_keys) {
    if (c == ',') c = '\n';
  }
  ApiKeysSource source(std::move(inline_keys), std::move(file));
  PINGTI_ASSIGN_OR_RETURN(source.text_, source.Read());
  PINGTI_ASSIGN_OR_RETURN(ApiKeys keys, source.Parse(source.text_));
  source.keys_ = std::make_unique<ApiKeys>(std::move(keys));
  return source;
}

absl::StatusOr<std::string> ApiKeysSource::Read() const {
  if (file_.empty()) return std::string();
  absl::StatusOr<std::string> text = ReadFile(file_);
  if (text.ok()) return text;
  return absl::NotFoundError(Concat("api_keys_file ", std::string(text.status().message())));
}

absl::StatusOr<ApiKeys> ApiKeysSource::Parse(const std::string& text) const {
  KeyTable table;
  PINGTI_RETURN_IF_ERROR(AddKeys(inline_keys_, &table));
  PINGTI_RETURN_IF_ERROR(AddKeys(text, &table));
  if (table.names.empty() && !file_.empty()) {
    return absl::InvalidArgumentError(Concat("api_keys_file '", file_, "' has no keys"));
  }
  return ApiKeys(std::move(table));
}

absl::Status ApiKeysSource::Reload(AdmissionController* admission) {
  absl::StatusOr<std::string> text = Read();
  if (!text.ok()) return text.status();
  if (*text == text_) return status_;
  text_ = *std::move(text);
  const absl::StatusOr<ApiKeys> keys = Parse(text_);
  status_ = keys.status();
  if (!keys.ok()) {
    LogError("the API keys have changed and are not taken",
             {{"error", std::string(keys.status().message())}});
    return status_;
  }
  keys_->Replace(*keys);
  admission->SetTenants(keys->tenants());
  LogInfo("the API keys have changed");
  return status_;
}

}  // namespace pingti::router
