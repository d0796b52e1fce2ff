// See choose_order.h.
#include "router/queue/choose_order.h"

#include "common/base/strings.h"
#include "router/queue/fair_order.h"
#include "router/queue/fifo_order.h"

namespace pingti::router {

absl::StatusOr<std::unique_ptr<QueueOrder>> MakeQueueOrder(std::string_view name) {
  if (name == FairOrder::kName) return std::make_unique<FairOrder>();
  if (name == FifoOrder::kName) return std::make_unique<FifoOrder>();
  return absl::InvalidArgumentError(Concat("queue_order '", name, "': expected one of ",
                                           FairOrder::kName, ", ", FifoOrder::kName));
}

}  // namespace pingti::router
