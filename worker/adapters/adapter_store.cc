#include "worker/adapters/adapter_store.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/adapters/read_adapter.h"

namespace pingti::worker {
namespace {

absl::Status Taken(const std::string& name, const Adapter& by) {
  return absl::AlreadyExistsError(Concat("adapter '", name, "' is loaded already, from ", by.path,
                                         ": expected a new name, or an unload before"));
}

}  // namespace

absl::StatusOr<AdapterPtr> AdapterStore::Load(const std::string& name, const std::string& path) {
  if (name.empty()) return absl::InvalidArgumentError("an adapter's name is empty");
  {
    MutexLock lock(&mutex_);
    const auto known = adapters_.find(name);
    if (known != adapters_.end()) return Taken(name, *known->second);
  }
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<Adapter> read, ReadAdapter(name, path));
  const AdapterPtr adapter = std::move(read);
  const absl::Status fits = check_(*adapter);
  if (!fits.ok()) {
    return absl::Status(fits.code(), Concat(path, ": ", std::string(fits.message())));
  }
  MutexLock lock(&mutex_);
  const auto [place, is_new] = adapters_.emplace(name, adapter);
  if (!is_new) return Taken(name, *place->second);
  return adapter;
}

absl::Status AdapterStore::Unload(std::string_view name) {
  AdapterPtr gone;  // freed after the lock
  MutexLock lock(&mutex_);
  const auto known = adapters_.find(name);
  if (known == adapters_.end()) {
    return absl::NotFoundError(Concat("adapter '", name, "' is not loaded"));
  }
  gone = std::move(known->second);
  adapters_.erase(known);
  return absl::OkStatus();
}

AdapterPtr AdapterStore::Find(std::string_view id) const {
  MutexLock lock(&mutex_);
  for (const auto& [name, adapter] : adapters_) {
    if (adapter->id == id) return adapter;
  }
  return nullptr;
}

std::vector<AdapterPtr> AdapterStore::All() const {
  std::vector<AdapterPtr> all;
  MutexLock lock(&mutex_);
  for (const auto& [name, adapter] : adapters_) all.push_back(adapter);
  return all;
}

absl::StatusOr<std::pair<std::string, std::string>> SplitAdapterSetting(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(
        Concat("loras: '", text, "': expected NAME=PATH, a directory with adapter_config.json"));
  }
  return std::pair(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
}

}  // namespace pingti::worker
