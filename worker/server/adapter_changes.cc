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
    Answer(change, absl::UnavailableError("this worker is stopping"));
  }
}

void AdapterChanges::Answer(const Change& change, const absl::StatusOr<AdapterPtr>& result) {
  for (const Done& done : change.done) done(result);
}

void AdapterChanges::Load(std::string name, std::string path, Done done) {
  if (path.empty()) return done(absl::InvalidArgumentError("an adapter's path is empty"));
  Add({Kind::kLoad, std::move(name), std::move(path), {std::move(done)}});
}

void AdapterChanges::Unload(std::string name, Done done) {
  Add({Kind::kUnload, std::move(name), "", {std::move(done)}});
}

// As many may wait as there are adapters: routers' requests are bounded where they are queued.
void AdapterChanges::Fetch(const std::string& id, Done done) {
  MutexLock lock(&mutex_);
  for (Change& change : waiting_) {
    if (change.kind != Kind::kFetch || change.name != id) continue;
    change.done.push_back(std::move(done));
    return;
  }
  waiting_.push_back({Kind::kFetch, id, "", {std::move(done)}});
  changed_.NotifyAll();
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
  Answer(change, absl::ResourceExhaustedError(Concat(
                     kMaxWaiting, " changes of adapters wait at this worker: try again later")));
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
    const int64_t dropped = store_->num_dropped();
    if (metrics_ != nullptr) {
      metrics_->adapters_dropped.Increment(static_cast<double>(dropped - dropped_));
    }
    dropped_ = dropped;
    if (result.ok() && change.kind != Kind::kFetch) on_change_();
    Answer(change, result);
  }
}

absl::StatusOr<AdapterPtr> AdapterChanges::Apply(const Change& change) {
  if (change.kind == Kind::kUnload) {
    PINGTI_RETURN_IF_ERROR(store_->Unload(change.name));
    LogInfo("adapter unloaded", {{"adapter", change.name}});
    return AdapterPtr();
  }
  if (change.kind == Kind::kFetch) {
    // Perhaps the request before brought it.
    if (AdapterPtr here = store_->Find(change.name); here != nullptr) return here;
  }
  return Read(change);
}

absl::StatusOr<AdapterPtr> AdapterChanges::Read(const Change& change) {
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<AdapterPtr> read = change.kind == Kind::kFetch
                                              ? store_->Fetch(change.name)
                                              : store_->Load(change.name, change.path);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (read.ok()) {
    if (metrics_ != nullptr) metrics_->adapter_load_seconds.Observe(seconds);
    LogInfo(change.kind == Kind::kFetch ? "adapter read again" : "adapter loaded",
            {{"adapter", (*read)->name}, {"path", (*read)->path}, {"seconds", seconds}});
  } else {
    LogWarning("adapter not loaded",
               {{"adapter", change.name}, {"error", std::string(read.status().message())}});
  }
  return read;
}

}  // namespace pingti::worker
