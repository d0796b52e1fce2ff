// Who hears what becomes of one attempt to run a sequence on a worker.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// Names one session of one worker: a worker that restarts or reconnects gets a new key, so that a
// sequence which excludes the failed one may still use the next. 0: none.
using WorkerKey = uint64_t;

// Where an attempt was put.
struct SequencePlace {
  WorkerKey worker = 0;
  std::string worker_address;  // as logs name it
  uint64_t sequence_id = 0;
  bool holds_outputs = false;  // see WorkerInfo
};

// Called on any thread, without locks, one call at a time but for OnPlaced, which may overlap an
// OnLost; must not block. Ends with OnQueueTimeout, OnLost, an output with `finish`, or a Cancel.
class SequenceHandler {
 public:
  virtual ~SequenceHandler() = default;
  // The sequence is about to be sent; comes before its first output.
  virtual void OnPlaced(const SequencePlace& place) = 0;
  virtual void OnOutput(SequenceOutput output) = 0;
  // The worker is gone.
  virtual void OnLost(const absl::Status& why) = 0;
  // No worker had room for it in time.
  virtual void OnQueueTimeout() = 0;
};

}  // namespace pingti::router
