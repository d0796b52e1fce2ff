// The adapters that a worker offers: loaded when it starts or while it runs, known by name and by
// id. Next: read_adapter.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "worker/adapters/adapter.h"

namespace pingti::worker {

// Adapters are shared: a request keeps the one that it began with, also when that is unloaded.
using AdapterPtr = std::shared_ptr<const Adapter>;

// Thread-safe. Loading reads files on the caller's thread.
class AdapterStore {
 public:
  // Whether the model can take an adapter. Thread-safe. Errors name what it cannot.
  using Check = std::function<absl::Status(const Adapter&)>;

  explicit AdapterStore(Check check) : check_(std::move(check)) {}

  // Reads, checks and offers an adapter; one of the same name must have been unloaded before.
  // Errors: InvalidArgument for an empty name, AlreadyExists; those of ReadAdapter and of the
  // check, starting with the path.
  absl::StatusOr<AdapterPtr> Load(const std::string& name, const std::string& path);
  // New requests do not find it any more; those that run go on. Errors: NotFound.
  absl::Status Unload(std::string_view name);

  // Null: there is none.
  AdapterPtr Find(std::string_view id) const;
  // By name.
  std::vector<AdapterPtr> All() const;

 private:
  const Check check_;

  mutable Mutex mutex_;
  std::map<std::string, AdapterPtr, std::less<>> adapters_ PINGTI_GUARDED_BY(mutex_);  // by name
};

// The parts of "NAME=PATH". Errors: InvalidArgument, naming the text.
absl::StatusOr<std::pair<std::string, std::string>> SplitAdapterSetting(std::string_view text);

}  // namespace pingti::worker
