#include "worker/adapters/adapter_store.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/adapters/read_adapter.h"

namespace pingti::worker {
namespace {

absl::Status Taken(const AdapterInfo& by) {
  return absl::AlreadyExistsError(Concat("adapter '", by.name, "' is loaded already, from ",
                                         by.path, ": expected a new name, or an unload before"));
}

absl::Status At(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), Concat(path, ": ", std::string(status.message())));
}

}  // namespace

absl::StatusOr<AdapterPtr> AdapterStore::Read(const std::string& name,
                                              const std::string& path) const {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<Adapter> read, ReadAdapter(name, path));
  const absl::Status fits = check_(*read);
  if (!fits.ok()) return At(path, fits);
  if (prepare_ == nullptr) return AdapterPtr(std::move(read));
  return Prepared(*read);
}

absl::StatusOr<AdapterPtr> AdapterStore::Prepared(const Adapter& adapter) const {
  auto prepared = std::make_shared<Adapter>();
  prepared->name = adapter.name;
  prepared->id = adapter.id;
  prepared->path = adapter.path;
  prepared->base_model = adapter.base_model;
  prepared->bytes = adapter.bytes;
  absl::StatusOr<std::shared_ptr<const AdapterImage>> image = prepare_(adapter);
  if (!image.ok()) return At(adapter.path, image.status());
  prepared->image = *std::move(image);
  return AdapterPtr(std::move(prepared));
}

absl::Status AdapterStore::PrepareWith(Prepare prepare) {
  MutexLock lock(&mutex_);
  prepare_ = std::move(prepare);
  for (auto& [name, entry] : entries_) {
    if (entry.kept == nullptr) continue;  // it is prepared when it is read again
    PINGTI_ASSIGN_OR_RETURN(entry.kept, Prepared(*entry.kept));
    entry.used = entry.kept;
  }
  return absl::OkStatus();
}

absl::StatusOr<AdapterPtr> AdapterStore::Load(const std::string& name, const std::string& path) {
  if (name.empty()) return absl::InvalidArgumentError("an adapter's name is empty");
  {
    MutexLock lock(&mutex_);
    const auto known = entries_.find(name);
    if (known != entries_.end()) return Taken(known->second.info);
  }
  PINGTI_ASSIGN_OR_RETURN(const AdapterPtr adapter, Read(name, path));
  std::vector<AdapterPtr> gone;  // freed after the lock
  MutexLock lock(&mutex_);
  const auto [place, is_new] = entries_.try_emplace(name);
  if (!is_new) return Taken(place->second.info);
  place->second.info = {adapter->id, name, path};
  gone = Keep(&place->second, adapter);
  return adapter;
}

absl::Status AdapterStore::Unload(std::string_view name) {
  AdapterPtr gone;  // freed after the lock
  MutexLock lock(&mutex_);
  const auto known = entries_.find(name);
  if (known == entries_.end()) {
    return absl::NotFoundError(Concat("adapter '", name, "' is not loaded"));
  }
  gone = std::move(known->second.kept);
  entries_.erase(known);
  return absl::OkStatus();
}

AdapterStore::Entry* AdapterStore::Place(std::string_view id) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [id](const auto& entry) { return entry.second.info.id == id; });
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<AdapterPtr> AdapterStore::Keep(Entry* entry, AdapterPtr adapter) {
  entry->used = adapter;
  entry->kept = std::move(adapter);
  entry->last_used = ++uses_;
  std::vector<AdapterPtr> gone;
  while (max_kept_ > 0) {
    Entry* oldest = nullptr;
    size_t kept = 0;
    for (auto& [name, other] : entries_) {
      if (other.kept == nullptr) continue;
      ++kept;
      if (oldest == nullptr || other.last_used < oldest->last_used) oldest = &other;
    }
    if (kept <= max_kept_) break;
    gone.push_back(std::move(oldest->kept));
    ++num_dropped_;
  }
  return gone;
}

bool AdapterStore::Has(std::string_view id) {
  MutexLock lock(&mutex_);
  return Place(id) != nullptr;
}

AdapterPtr AdapterStore::Find(std::string_view id) {
  std::vector<AdapterPtr> gone;  // freed after the lock
  MutexLock lock(&mutex_);
  Entry* const entry = Place(id);
  if (entry == nullptr) return nullptr;
  AdapterPtr adapter = entry->used.lock();
  if (adapter != nullptr) gone = Keep(entry, adapter);
  return adapter;
}

absl::StatusOr<AdapterPtr> AdapterStore::Fetch(const std::string& id) {
  if (AdapterPtr here = Find(id); here != nullptr) return here;
  AdapterInfo info;
  {
    MutexLock lock(&mutex_);
    const Entry* entry = Place(id);
    if (entry == nullptr) return absl::NotFoundError(Concat("adapter '", id, "' is not loaded"));
    info = entry->info;
  }
  PINGTI_ASSIGN_OR_RETURN(AdapterPtr adapter, Read(info.name, info.path));
  if (adapter->id != id) {
    return absl::FailedPreconditionError(
        Concat("adapter '", info.name, "': ", info.path,
               " holds something else than when it was loaded: expected it unchanged, or an ",
               "unload and a load"));
  }
  std::vector<AdapterPtr> gone;  // freed after the lock
  MutexLock lock(&mutex_);
  Entry* const entry = Place(id);
  if (entry != nullptr) gone = Keep(entry, adapter);  // else it was unloaded meanwhile
  return adapter;
}

std::vector<AdapterInfo> AdapterStore::All() const {
  std::vector<AdapterInfo> all;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) all.push_back(entry.info);
  return all;
}

int64_t AdapterStore::num_dropped() const {
  MutexLock lock(&mutex_);
  return num_dropped_;
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
