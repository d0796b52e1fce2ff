// First come, first served, whoever it is.
#pragma once

#include "router/queue/queue_order.h"

namespace pingti::router {

// One line for all.
class FifoOrder final : public QueueOrder {
 public:
  static constexpr std::string_view kName = "fifo";

  std::string_view name() const override { return kName; }
  std::string_view Line(const SequenceJob&) const override { return {}; }
  double Rank(std::string_view) const override { return 0; }
};

}  // namespace pingti::router
