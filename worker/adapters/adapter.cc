#include "worker/adapters/adapter.h"

#include <algorithm>

namespace pingti::worker {

int64_t Adapter::max_rank() const {
  int64_t rank = 0;
  for (const auto& [of, module] : modules) rank = std::max(rank, module.rank());
  return rank;
}

}  // namespace pingti::worker
