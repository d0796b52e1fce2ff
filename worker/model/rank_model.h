// A share of a model, which is of use only together with the other ranks' shares; its Health is the
// group's. Next: tensor_parallel_model.h.
#pragma once

#include "worker/model/model.h"

namespace pingti::worker {

class RankModel : public Model {
 public:
  // Ends what waits for other ranks; every later call is an error. Any thread.
  virtual void AbortGroup() = 0;
  // See Communicator::WaitsForPeers.
  virtual bool WaitsForPeers() const { return false; }
  // Whether Sample and Logprobs are calls of all ranks, with the same arguments, of which rank 0
  // alone fills in the results. Else rank 0 is called alone. Of all ranks alike.
  virtual bool SamplesWithAllRanks() const { return false; }
};

}  // namespace pingti::worker
