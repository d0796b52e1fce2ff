// Sequences that wait in this router for a worker's credit, and how they leave: best first, all
// that can be placed in one round, so that the dispatcher gathers one envelope per worker.
//
// A batch is an envelope, never a barrier: whatever can be placed leaves at once, in order of
// priority, then of arrival; what has no worker with credit stays without holding back others.
// Read next: router/pipeline/dispatcher.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "router/registry/sequence_handler.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// One sequence on its way to a worker. The handler is shared: whoever holds the job may have to
// answer it while the request it belongs to is going away.
struct SequenceJob {
  uint64_t id = 0;
  std::string fingerprint;  // the model build that must run it
  Sequence sequence;
  std::shared_ptr<SequenceHandler> handler;
  std::vector<uint64_t> excluded_workers;  // those that failed it before
  int32_t priority = 0;
  bool resumed = false;  // its client already reads: it goes before new ones of its priority
  uint32_t tokens = 0;   // to prefill
  std::span<const uint64_t> block_hashes;  // of the prompt; the handler keeps them
  std::chrono::steady_clock::time_point give_up_at;
};

// Thread-compatible.
class Batcher {
 public:
  // Finds a worker for a job; false when none has credit for it now.
  using Place = std::function<bool(const SequenceJob&)>;
  using Take = std::function<void(SequenceJob)>;

  void Add(SequenceJob job);
  // Takes a job out again; false when it is not waiting here.
  bool Remove(uint64_t id, SequenceJob* job);

  // Calls `place` for jobs in order, and right after each success `take` with that job. Once a job
  // of some model found no worker, later ones of that model that exclude no worker are not tried.
  void TakePlaceable(const Place& place, const Take& take);
  // Jobs whose time in the queue is over.
  std::vector<SequenceJob> TakeExpired(std::chrono::steady_clock::time_point now);

  size_t size() const { return jobs_.size(); }
  uint64_t tokens() const { return tokens_; }

 private:
  // Ascending: higher priority, then resumed, then arrival.
  using Rank = std::tuple<int64_t, bool, uint64_t>;

  std::map<Rank, SequenceJob>::iterator Erase(std::map<Rank, SequenceJob>::iterator it,
                                              SequenceJob* job);

  std::map<Rank, SequenceJob> jobs_;
  std::unordered_map<uint64_t, Rank> ranks_;
  uint64_t arrivals_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace pingti::router
