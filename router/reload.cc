// See reload.h.
#include "router/reload.h"

#include <optional>
#include <utility>

#include "common/base/file_stamp.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/config/load.h"

namespace pingti::router {
namespace {

std::map<std::string, std::string> ValuesOf(const config::Schema& schema) {
  std::map<std::string, std::string> values;
  for (const auto& key : schema.keys()) values[key->name()] = key->Value();
  return values;
}

// Names of settings that differ, separated by commas.
std::string Differing(const config::Schema& schema,
                      const std::map<std::string, std::string>& before, bool reloadable) {
  std::string names;
  for (const auto& key : schema.keys()) {
    if (key->reloadable() != reloadable || key->Value() == before.at(key->name())) continue;
    names += Concat(names.empty() ? "" : ", ", key->name());
  }
  return names;
}

}  // namespace

SettingsReload::SettingsReload(int argc, const char* const* argv, const char* const* environment,
                               Apply apply)
    : argc_(argc), argv_(argv), environment_(environment), apply_(std::move(apply)) {
  RouterConfig config;
  config::Schema schema("pingti-router", "");
  AddSettings(&config, &schema);
  file_ = config::ConfigFile(schema, argc_, argv_, environment_).value_or("");
  stamp_ = FileStamp(file_);
  status_ = config::Load(schema, argc_, argv_, environment_).status();
  values_ = ValuesOf(schema);
}

absl::Status SettingsReload::Look(bool asked) {
  if (file_.empty()) return absl::OkStatus();
  std::string stamp = FileStamp(file_);
  if (!asked && stamp == stamp_) return status_;
  stamp_ = std::move(stamp);
  status_ = Read();
  if (!status_.ok()) {
    LogError("the settings have changed and are not taken",
             {{"file", file_}, {"error", std::string(status_.message())}});
  }
  return status_;
}

absl::Status SettingsReload::Read() {
  RouterConfig config;
  config::Schema schema("pingti-router", "");
  AddSettings(&config, &schema);
  PINGTI_RETURN_IF_ERROR(config::Load(schema, argc_, argv_, environment_).status());
  PINGTI_RETURN_IF_ERROR(apply_(config));
  const std::string changed = Differing(schema, values_, /*reloadable=*/true);
  const std::string fixed = Differing(schema, values_, /*reloadable=*/false);
  if (!fixed.empty()) {
    LogWarning("settings have changed that count from the next start on", {{"settings", fixed}});
  }
  for (const auto& key : schema.keys()) {
    if (key->reloadable()) values_[key->name()] = key->Value();
  }
  LogInfo("settings read again", {{"changed", changed}});
  return absl::OkStatus();
}

}  // namespace pingti::router
