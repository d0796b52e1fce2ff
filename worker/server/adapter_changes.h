// Loads and unloads adapters while the worker serves, and reads again those that were dropped from
// memory, one after the other on a thread of its own: neither gRPC's threads nor the engine wait
// for files.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/metrics/worker_metrics.h"
#include "worker/adapters/adapter_store.h"

namespace pingti::worker {

// Thread-safe.
class AdapterChanges {
 public:
  // Null where an adapter was unloaded. Called once, on the thread of the changes or on the
  // caller's.
  using Done = std::function<void(const absl::StatusOr<AdapterPtr>&)>;

  // `on_change` is called after each change of what is offered, before its Done. Both must outlive
  // this. `metrics` may be null.
  AdapterChanges(AdapterStore* store, std::function<void()> on_change,
                 metrics::WorkerMetrics* metrics);
  // Changes that wait are answered with Unavailable.
  ~AdapterChanges();
  AdapterChanges(const AdapterChanges&) = delete;
  AdapterChanges& operator=(const AdapterChanges&) = delete;

  // Errors, through `done`: those of AdapterStore; ResourceExhausted where too many changes wait.
  void Load(std::string name, std::string path, Done done);
  void Unload(std::string name, Done done);
  // See AdapterStore::Fetch. Who asks for the same adapter waits for the same reading.
  void Fetch(const std::string& id, Done done);

 private:
  enum class Kind { kLoad, kUnload, kFetch };
  struct Change {
    Kind kind;
    std::string name;  // kFetch: the id
    std::string path;  // of kLoad
    std::vector<Done> done;
  };

  void Add(Change change);
  void Run();
  absl::StatusOr<AdapterPtr> Apply(const Change& change);
  absl::StatusOr<AdapterPtr> Read(const Change& change);
  static void Answer(const Change& change, const absl::StatusOr<AdapterPtr>& result);

  AdapterStore* const store_;
  const std::function<void()> on_change_;
  metrics::WorkerMetrics* const metrics_;
  int64_t dropped_ = 0;  // as the metrics know it; the thread's

  Mutex mutex_;
  CondVar changed_;
  std::deque<Change> waiting_ PINGTI_GUARDED_BY(mutex_);
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti::worker
