// Loading and unloading adapters while everything runs: a client asks a router, the router asks
// every ready worker of the model, and the answer tells what each of them said. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "router/registry/worker_registry.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// What one worker made of a change.
struct AdapterChangeResult {
  std::string worker;  // its address
  absl::Status status;
};
using AdapterChangeDone = std::function<void(const std::vector<AdapterChangeResult>&)>;

// Asks all ready workers of `model`, or, where that is empty, of the only model there is; `done` is
// called once, when all have answered, on any thread. Errors, without that call: Unavailable
// without a ready worker, InvalidArgument where it takes a model's name to choose.
absl::Status ChangeAdapter(const WorkerRegistry& registry, const AdapterChange& change,
                           std::string_view model, AdapterChangeDone done);

// OK if every worker has done it, or had done it before and some has now. Else the first error, and
// of how many workers it is one.
absl::Status ChangeStatus(const AdapterChange& change,
                          const std::vector<AdapterChangeResult>& results);

}  // namespace pingti::router
