// Loads and unloads adapters while the worker serves, one after the other on a thread of its own:
// files are read, and neither gRPC's threads nor the engine wait for that.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>

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

  // `on_change` is called after each change, before its Done. Both must outlive this. `metrics` may
  // be null.
  AdapterChanges(AdapterStore* store, std::function<void()> on_change,
                 metrics::WorkerMetrics* metrics);
  // Changes that wait are answered with Unavailable.
  ~AdapterChanges();
  AdapterChanges(const AdapterChanges&) = delete;
  AdapterChanges& operator=(const AdapterChanges&) = delete;

  // Errors, through `done`: those of AdapterStore; ResourceExhausted where too many changes wait.
  void Load(std::string name, std::string path, Done done);
  void Unload(std::string name, Done done);

 private:
  struct Change {
    std::string name;
    std::string path;  // empty: unload
    Done done;
  };

  void Add(Change change);
  void Run();
  absl::StatusOr<AdapterPtr> Apply(const Change& change);

  AdapterStore* const store_;
  const std::function<void()> on_change_;
  metrics::WorkerMetrics* const metrics_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<Change> waiting_ PINGTI_GUARDED_BY(mutex_);
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti::worker
