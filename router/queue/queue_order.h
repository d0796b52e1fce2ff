// Whose turn it is among sequences of one priority. One file per order beside this one;
// choose_order.h knows them all. Read next: sequence_queue.h, which asks.
#pragma once

#include <string>
#include <string_view>

#include "router/queue/sequence_job.h"

namespace pingti::router {

// Jobs wait in lines. Those of one line leave in the order in which they came; among lines, the one
// that stands lowest goes first, and of equal ones the one whose first job came first.
// Thread-compatible; called under the dispatcher's lock, so it must be quick and not call back.
class QueueOrder {
 public:
  virtual ~QueueOrder() = default;
  // As the setting `queue_order` spells it.
  virtual std::string_view name() const = 0;
  virtual std::string_view Line(const SequenceJob& job) const = 0;
  // Where a line that has jobs stands. Changes with OnTaken of a job of that line alone.
  virtual double Rank(std::string_view line) const = 0;

  virtual void OnAdded(const SequenceJob&) {}
  // A job left for a worker.
  virtual void OnTaken(const SequenceJob&) {}
  // An answer of a job that was taken has so many tokens more than its job counted for, or fewer.
  virtual void OnAnswer(std::string_view line, double weight, double tokens) {}
  // A job left without being served: cancelled, or its time is over.
  virtual void OnRemoved(const SequenceJob&) {}
};

}  // namespace pingti::router
