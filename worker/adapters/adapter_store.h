// The adapters that a worker offers: loaded when it starts or while it runs, known by name and by
// id. They are kept in the form in which the model's slots have them, so that nothing but a copy is
// left to do when one is used. Of those that are offered only so many stay in host memory; the
// others are read from their paths again when they are asked for. Next: read_adapter.h.
#pragma once

#include <cstddef>
#include <cstdint>
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

// An adapter that is offered, wherever its matrices are.
struct AdapterInfo {
  std::string id;
  std::string name;
  std::string path;

  bool operator==(const AdapterInfo&) const = default;
};

// Thread-safe. Load and Fetch read files on the caller's thread.
class AdapterStore {
 public:
  // Whether the model can take an adapter. Thread-safe. Errors name what it cannot.
  using Check = std::function<absl::Status(const Adapter&)>;
  // Brings an adapter that the check let pass into the form of the model's slots. Thread-safe.
  using Prepare =
      std::function<absl::StatusOr<std::shared_ptr<const AdapterImage>>(const Adapter&)>;

  // What `max_kept` says: so many adapters that nobody uses stay in memory; 0: all.
  explicit AdapterStore(Check check, size_t max_kept = 0)
      : check_(std::move(check)), max_kept_(max_kept) {}

  // Prepares the adapters that are here, and those that are read from now on as soon as they are:
  // a model is loaded after the adapters that it is to start with are known to be good. Once,
  // before other threads use the store. Errors: those of `prepare`, starting with the path.
  absl::Status PrepareWith(Prepare prepare);

  // Reads, checks and offers an adapter; one of the same name must have been unloaded before.
  // Errors: InvalidArgument for an empty name, AlreadyExists; those of ReadAdapter, of the check
  // and of the preparation, starting with the path.
  absl::StatusOr<AdapterPtr> Load(const std::string& name, const std::string& path);
  // New requests do not find it any more; those that run go on. Errors: NotFound.
  absl::Status Unload(std::string_view name);

  // Whether an adapter is offered.
  bool Has(std::string_view id);
  // One that is in memory; null: none of this id is.
  AdapterPtr Find(std::string_view id);
  // One that is offered, read again if it is not in memory. Errors: NotFound; those of Load;
  // FailedPrecondition if its files say something else than when it was loaded.
  absl::StatusOr<AdapterPtr> Fetch(const std::string& id);
  // By name.
  std::vector<AdapterInfo> All() const;
  // How many were dropped from memory so far.
  int64_t num_dropped() const;

 private:
  struct Entry {
    AdapterInfo info;
    AdapterPtr kept;                    // null: dropped
    std::weak_ptr<const Adapter> used;  // there as long as somebody has it
    uint64_t last_used = 0;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  absl::StatusOr<AdapterPtr> Read(const std::string& name, const std::string& path) const;
  // An adapter with its image alone.
  absl::StatusOr<AdapterPtr> Prepared(const Adapter& adapter) const;
  // Null: none is offered under this id.
  Entry* Place(std::string_view id) PINGTI_REQUIRES(mutex_);
  // Keeps it as the one that was used last, and returns those that have to go in its place.
  std::vector<AdapterPtr> Keep(Entry* entry, AdapterPtr adapter) PINGTI_REQUIRES(mutex_);

  const Check check_;
  Prepare prepare_;  // null: adapters stay as they were read
  const size_t max_kept_;

  mutable Mutex mutex_;
  Entries entries_ PINGTI_GUARDED_BY(mutex_);  // by name
  uint64_t uses_ PINGTI_GUARDED_BY(mutex_) = 0;
  int64_t num_dropped_ PINGTI_GUARDED_BY(mutex_) = 0;
};

// The parts of "NAME=PATH". Errors: InvalidArgument, naming the text.
absl::StatusOr<std::pair<std::string, std::string>> SplitAdapterSetting(std::string_view text);

}  // namespace pingti::worker
