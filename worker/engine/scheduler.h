// Decides what the next step computes. Holds the queues and the KV leases, knows no device, no
// model and no wall clock.
//
// Each step: Plan (pure: reads, changes nothing), Apply (leases blocks, moves sequences between the
// queues), then, after the forward pass, Commit per chunk. Confined to the engine thread.
// Read next: scheduler_plan.cc for the policy, engine.cc for the loop around it.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "worker/cache/prefix_cache.h"
#include "worker/engine/sequence.h"

namespace pingti::worker {

struct StepBudget {
  int32_t max_tokens = 0;     // computed in one step; REQUIRES: >= max_sequences
  int32_t max_sequences = 0;  // running at once
  int32_t max_rows = 0;       // of logits in one step, >= max_sequences; 0: max_sequences
  // Of max_tokens, for prefills in a step that has decodes: those wait for them. REQUIRES: > 0.
  int32_t max_prefill_tokens = std::numeric_limits<int32_t>::max();

  int32_t max_adapters = 0;  // of running sequences, all together

  int32_t rows() const { return max_rows == 0 ? max_sequences : max_rows; }
};

struct PlannedChunk {
  Sequence* sequence = nullptr;
  int32_t num_tokens = 0;     // to compute, after the cached ones; maybe fewer than it has drafts
  int32_t cached_blocks = 0;  // to lease from the prefix cache first (newly admitted only)
  bool admit = false;         // comes from the waiting queue
};

// Reused between steps.
struct StepPlan {
  std::vector<PlannedChunk> chunks;  // decodes first
  std::vector<Sequence*> preempted;  // give back their blocks and wait again
  std::vector<Sequence*> expired;    // deadline passed: leave the queues
  int32_t num_tokens = 0;
  std::vector<const Adapter*> adapters;  // of the sequences that run with this plan

  bool changes_anything() const {
    return !chunks.empty() || !preempted.empty() || !expired.empty();
  }
  void Clear() {
    chunks.clear();
    preempted.clear();
    expired.clear();
    adapters.clear();
    num_tokens = 0;
  }
};

// What Plan looks at. Both queues are in serving order.
struct SchedulerState {
  std::vector<Sequence*> running;
  std::vector<Sequence*> waiting;
  const PrefixCache* cache = nullptr;
};

// Copy on write: the source belongs to another sequence too, or to the prefix cache. It keeps its
// content until the copies before this one are done, not longer.
struct PlannedCopy {
  BlockId from = kNoBlock;
  BlockId to = kNoBlock;
};

class Scheduler {
 public:
  // `cache` must outlive it.
  Scheduler(PrefixCache* cache, StepBudget budget);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // The policy, a function of its arguments alone. `plan` is cleared first.
  //  1. Sequences past their deadline leave.
  //  2. A waiting sequence of higher priority takes the place of running ones of lower priority.
  //  3. Every decode gets its token; when blocks run out, the last in serving order is preempted.
  //  4. Decodes get as many of their drafts as tokens, rows and blocks are left for.
  //  5. Prefills that have begun get chunks of what is left of the token budget; beside decodes,
  //     of at most max_prefill_tokens together with those that rule 6 admits.
  //  6. Waiting sequences are admitted in serving order, with their cached prefix, when their whole
  //     input fits the free blocks and all its places are free. None overtakes another, but for
  //     this: one whose adapter would be one too many waits until those that run have ended with
  //     theirs, and lets pass those without an adapter, which take nothing that it waits for.
  //  7. When nothing of this can be done, the last sequence that has nothing to compute (a beam
  //     that waits for the others of its request) gives way to those that wait.
  static void Plan(const SchedulerState& state, const StepBudget& budget, TimePoint now,
                   StepPlan* plan);

  void Plan(TimePoint now, StepPlan* plan) const { Plan(state_, budget_, now, plan); }

  // Carries out a plan just made. Appends the block copies that must precede the forward pass.
  void Apply(const StepPlan& plan, std::vector<PlannedCopy>* copies);

  // `num_tokens` more tokens of a running sequence have valid KV; full blocks become findable.
  void Commit(Sequence* sequence, int32_t num_tokens);

  // Takes back a sequence's last `num_tokens` tokens, drafts or not, computed or not: tokens,
  // leases, hashes and its place in the chain are then as if they had never been. What the prefix
  // cache knows of them stays. REQUIRES: fewer than it has.
  void Trim(Sequence* sequence, int32_t num_tokens);

  // Puts an idle sequence into the waiting queue. It must stay until Remove.
  void Add(Sequence* sequence);
  // Takes a sequence out of whatever queue it is in and releases its blocks. Idempotent.
  void Remove(Sequence* sequence);
  // Releases a running sequence's blocks, drops its drafts and puts it back to wait; one that has
  // nothing to compute becomes idle.
  void Preempt(Sequence* sequence);

  // `to` (idle) takes over everything of `from`, its queue and leases too; `from` becomes idle. It
  // waits if `from` had been preempted with nothing to compute.
  void Replace(Sequence* from, Sequence* to);

  // `to` (idle) becomes a copy of `from`: its tokens and leases, which the two share until one of
  // them writes. It runs at once if `from` runs and a place is free, else it waits (and finds its
  // full blocks through the prefix cache). REQUIRES: no drafts.
  void Fork(const Sequence& from, Sequence* to);

  // Whether the next token would be written to a block that others read.
  static bool SharesLastBlock(const PrefixCache& cache, const Sequence& sequence);
  // Upper bound of prefix cache hits for a sequence as it stands, in blocks.
  static int32_t CountCachedBlocks(const PrefixCache& cache, const Sequence& sequence);
  // Computes the hashes of all full blocks; done once at arrival, so that Plan only compares.
  static void ExtendHashes(Sequence* sequence, int32_t block_tokens);

  const SchedulerState& state() const { return state_; }
  const StepBudget& budget() const { return budget_; }
  PrefixCache* cache() { return cache_; }
  int64_t preemptions_total() const { return preemptions_total_; }

  // The cache's invariants, the queues' order, and each sequence's leases against its progress.
  absl::Status CheckInvariants() const;

 private:
  absl::Status CheckSequence(const Sequence& sequence) const;
  void InsertInOrder(std::vector<Sequence*>* queue, Sequence* sequence);
  void ReleaseBlocks(Sequence* sequence);
  void LeaseCachedPrefix(Sequence* sequence, int32_t num_blocks);
  void LeaseForChunk(Sequence* sequence, int32_t num_tokens, std::vector<PlannedCopy>* copies);

  PrefixCache* const cache_;
  const StepBudget budget_;
  SchedulerState state_;
  int64_t preemptions_total_ = 0;
};

}  // namespace pingti::worker
