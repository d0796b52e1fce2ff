// See adapter_changes.h.
#include "worker/server/adapter_changes.h"

#include <chrono>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

constexpr size_t kMaxWaiting = 64;

}  // namespace

AdapterChanges::AdapterChanges(AdapterStore* store, std::function<void()> on_change,
                               metrics::WorkerMetrics* metrics)
    : store_(store), on_change_(std::move(on_change)), metrics_(metrics) {
  thread_ = std::thread([this] { Run(); });
}

AdapterChanges::~AdapterChanges() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
  for (const Change& change : waiting_) {
    change.done(absl::UnavailableError("this worker is stopping"));
  }
}

void AdapterChanges::Load(std::string name, std::string path, Done done) {
  if (path.empty()) return done(absl::InvalidArgumentError("an adapter's path is empty"));
  Add({std::move(name), std::move(path), std::move(done)});
}

void AdapterChanges::Unload(std::string name, Done done) {
  Add({std::move(name), "", std::move(done)});
}

void AdapterChanges::Add(Change change) {
  {
    MutexLock lock(&mutex_);
    if (waiting_.size() < kMaxWaiting) {
      waiting_.push_back(std::move(change));
      changed_.NotifyAll();
      return;
    }
  }
  change.done(absl::ResourceExhaustedError(
      Concat(kMaxWaiting, " changes of adapters wait at this worker: try again later")));
}

void AdapterChanges::Run() {
  while (true) {
    Change change;
    {
      MutexLock lock(&mutex_);
      while (waiting_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (stopping_) return;
      change = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const absl::StatusOr<AdapterPtr> result = Apply(change);
    if (result.ok()) on_change_();
    change.done(result);
  }
}

absl::StatusOr<AdapterPtr> AdapterChanges::Apply(const Change& change) {
  if (change.path.empty()) {
    PINGTI_RETURN_IF_ERROR(store_->Unload(change.name));
    LogInfo("adapter unloaded", {{"adapter", change.name}});
    return AdapterPtr();
  }
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<AdapterPtr> loaded = store_->Load(change.name, change.path);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (loaded.ok()) {
    if (metrics_ != nullptr) metrics_->adapter_load_seconds.Observe(seconds);
    LogInfo("adapter loaded",
            {{"adapter", change.name}, {"path", change.path}, {"seconds", seconds}});
  } else {
    LogWarning("adapter not loaded",
               {{"adapter", change.name}, {"error", std::string(loaded.status().message())}});
  }
  return loaded;
}

}  // namespace pingti::worker
