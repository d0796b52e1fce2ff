// Sequences that wait in this router for a worker's credit, and how they leave: best first, all
// that can be placed in one round, so that the dispatcher gathers one envelope per worker.
//
// A round is never a barrier: whatever can be placed leaves at once, in order of priority, resumed
// before new, then as the QueueOrder says; what has no worker with credit stays without holding
// back others. Read next: queue_order.h, router/pipeline/dispatcher.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "router/queue/queue_order.h"
#include "router/queue/sequence_job.h"

namespace pingti::router {

// Thread-compatible.
class SequenceQueue {
 public:
  enum class Placed {
    kYes,
    kNo,     // no worker has credit for it now
    kWaits,  // for a worker without credit, though others have some
  };
  // Finds a worker for a job.
  using Place = std::function<Placed(const SequenceJob&)>;
  // Jobs of one round that may wait for their workers while others go first: what bounds a round.
  static constexpr int kMostThatWait = 32;
  using Take = std::function<void(SequenceJob)>;

  explicit SequenceQueue(std::unique_ptr<QueueOrder> order) : order_(std::move(order)) {}

  void Add(SequenceJob job);
  // Takes a job out again; false when it is not waiting here.
  bool Remove(uint64_t id, SequenceJob* job);

  // Calls `place` for jobs in order, and right after each success `take` with that job. Once a job
  // of some model found no worker, later ones of that model that exclude no worker and need as
  // large a context are not tried. The round ends when kMostThatWait have been passed by.
  void TakePlaceable(const Place& place, const Take& take);
  // Jobs that have waited since `queued_by` or longer go with those of the highest priority that
  // waits, where their lines take turns as before: no priority waits for ever behind others.
  void Promote(std::chrono::steady_clock::time_point queued_by);
  // Of a job that was taken: see QueueOrder::OnAnswer.
  void CountAnswer(std::string_view line, double weight, double tokens) {
    order_->OnAnswer(line, weight, tokens);
  }
  // Jobs whose time in the queue is over.
  std::vector<SequenceJob> TakeExpired(std::chrono::steady_clock::time_point now);

  size_t size() const { return positions_.size(); }
  uint64_t tokens() const { return tokens_; }

 private:
  using Line = std::map<uint64_t, SequenceJob>;  // by arrival
  using Lines = std::map<std::string, Line, std::less<>>;
  // Ascending: higher priority, then resumed before new.
  using Class = std::pair<int64_t, bool>;
  struct Position {
    Class of_class;
    std::string line;
    uint64_t arrival;
  };
  // Models and the least context for which none of their workers has credit left in this round.
  using FullModels = std::map<std::string, uint32_t, std::less<>>;

  void TakeFromLines(Lines* lines, const Place& place, const Take& take, FullModels* full,
                     int* may_wait);
  // Whether a job is worth trying.
  static bool MayFit(const SequenceJob& job, const FullModels& full);
  // Nothing that waits is worth trying any more.
  bool AllFull(const FullModels& full) const;
  // Takes a job out of its line and out of the counts; empty lines stay for the caller to erase.
  SequenceJob Detach(Line* line, Line::iterator job);
  SequenceJob DetachAt(const Position& position);
  void Attach(const Class& of_class, uint64_t arrival, SequenceJob job);

  const std::unique_ptr<QueueOrder> order_;
  std::map<Class, Lines> classes_;
  std::unordered_map<uint64_t, Position> positions_;  // by job id
  // The contexts that jobs which exclude no worker need, by model; none is empty.
  std::map<std::string, std::multiset<uint32_t>> unpicky_;
  size_t picky_ = 0;  // jobs that exclude one
  uint64_t arrivals_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace pingti::router
