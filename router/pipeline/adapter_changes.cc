// See adapter_changes.h.
#include "router/pipeline/adapter_changes.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

// What the workers have answered so far. Shared by their calls; the last one tells.
struct Answers {
  Mutex mutex;
  std::vector<AdapterChangeResult> results PINGTI_GUARDED_BY(mutex);
  size_t missing PINGTI_GUARDED_BY(mutex) = 0;
  AdapterChangeDone done;

  void Add(size_t worker, const absl::Status& status) {
    std::vector<AdapterChangeResult> all;
    {
      MutexLock lock(&mutex);
      results[worker].status = status;
      if (--missing > 0) return;
      all = std::move(results);
    }
    done(all);
  }
};

// A worker that has what was asked for has done nothing wrong.
bool HadItBefore(const AdapterChange& change, const absl::Status& status) {
  return change.load ? absl::IsAlreadyExists(status) : absl::IsNotFound(status);
}

// What the client should do about it: another request, or the same one later.
absl::StatusCode CodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:
      return status.code();
    default:
      return absl::StatusCode::kInvalidArgument;
  }
}

}  // namespace

absl::Status ChangeAdapter(const WorkerRegistry& registry, const AdapterChange& change,
                           std::string_view model, AdapterChangeDone done) {
  const std::vector<ReadyWorker> workers = registry.ReadyWorkers(model);
  if (workers.empty()) {
    return ApiError(absl::StatusCode::kUnavailable, "no worker is ready", "", "no_worker");
  }
  std::set<std::string> models;
  for (const ReadyWorker& worker : workers) models.insert(worker.model_id);
  if (models.size() > 1) {
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("there are ", models.size(),
                           " models: 'base_model_name' must say which one the adapter is for"),
                    "base_model_name", "missing_required_parameter");
  }
  auto answers = std::make_shared<Answers>();
  answers->done = std::move(done);
  {
    MutexLock lock(&answers->mutex);
    answers->missing = workers.size();
    for (const ReadyWorker& worker : workers) answers->results.push_back({worker.address, {}});
  }
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].channel->ChangeAdapter(
        change, [answers, i](const absl::Status& status) { answers->Add(i, status); });
  }
  return absl::OkStatus();
}

absl::Status ChangeStatus(const AdapterChange& change,
                          const std::vector<AdapterChangeResult>& results) {
  const AdapterChangeResult* failed = nullptr;
  size_t done = 0;
  for (const AdapterChangeResult& result : results) {
    done += result.status.ok() ? 1 : 0;
    const bool counts = !result.status.ok() && !HadItBefore(change, result.status);
    if (counts && failed == nullptr) failed = &result;
  }
  if (failed == nullptr && done > 0) return absl::OkStatus();
  if (failed == nullptr) failed = &results.front();
  const absl::StatusCode code = CodeFor(failed->status);
  const bool is_clients = code == absl::StatusCode::kInvalidArgument;
  const std::string_view field = change.load ? "lora_path" : "lora_name";
  return ApiError(code,
                  Concat("adapter '", change.name, "' was ", change.load ? "loaded" : "unloaded",
                         " at ", done, " of ", results.size(), " workers; at ", failed->worker,
                         ": ", std::string(failed->status.message())),
                  is_clients ? field : "", is_clients ? "invalid_value" : "worker_unavailable");
}

}  // namespace pingti::router
