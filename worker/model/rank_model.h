// A share of a model, which is of use only together with the other ranks' shares: a Model that also
// knows whether its group still works. Next: tensor_parallel_model.h.
#pragma once

#include "absl/status/status.h"
#include "worker/model/model.h"

namespace pingti::worker {

class RankModel : public Model {
 public:
  // OK while the group works, without waiting for a device. Any thread. Errors: Aborted.
  virtual absl::Status CheckGroup() = 0;
  // Ends what waits for other ranks; every later call is an error. Any thread.
  virtual void AbortGroup() = 0;
  // See Communicator::WaitsForPeers.
  virtual bool WaitsForPeers() const { return false; }
};

}  // namespace pingti::worker
