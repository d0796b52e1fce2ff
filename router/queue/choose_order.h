// The table of queue orders, by name. For wiring alone: the queue knows queue_order.h only.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "router/queue/queue_order.h"

namespace pingti::router {

// Errors: InvalidArgument naming the orders there are.
absl::StatusOr<std::unique_ptr<QueueOrder>> MakeQueueOrder(std::string_view name);

}  // namespace pingti::router
