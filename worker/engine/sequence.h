// One line of tokens that is being computed: a request's only sample, or one of its beams.
//
// What the scheduler knows of it; what the tokens mean (stop conditions, sampling, outputs) is in
// request_group.h. Owned by its RequestGroup; confined to the engine thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/cache/block_pool.h"
#include "worker/cache/prefix_cache.h"

namespace pingti::worker {

using TimePoint = std::chrono::steady_clock::time_point;

struct Adapter;
struct RequestGroup;

struct Sequence {
  enum class State { kIdle, kWaiting, kRunning };

  // ---- who it is
  RequestGroup* group = nullptr;
  int32_t index = 0;  // within the group

  // ---- order: higher priority first, then earlier arrival; `order` is unique
  int32_t priority = 0;
  uint64_t order = 0;
  TimePoint deadline = TimePoint::max();

  // ---- content
  std::string salt;                  // see PrefixSalt
  const Adapter* adapter = nullptr;  // the request's; null: none
  std::vector<int32_t> tokens;       // prompt, then output
  // Tokens at the end that were proposed, not drawn: they are computed in one step with the last
  // drawn one, and each gets a row of logits that says what the model draws in its place.
  // Scheduler::Trim takes back the wrong ones. Only a sequence that decodes has any.
  int32_t num_draft = 0;
  // Places in the batch that it is admitted for: beams are to find theirs when their prompt is
  // computed.
  int32_t num_places = 1;
  // Every computed token needs its logits (log-probabilities of the prompt): no prefix is reused
  // then.
  bool row_per_token = false;

  // ---- progress
  State state = State::kIdle;
  int32_t num_computed = 0;        // tokens whose KV is valid
  std::vector<BlockLease> blocks;  // ceil(num_computed / block_tokens), plus the step's new ones
  int32_t num_preemptions = 0;
  int32_t num_cached = 0;             // tokens that the latest admission took from the prefix cache
  int32_t num_uncached_estimate = 0;  // tokens to compute, as far as known when it began to wait

  // ---- place in the prefix cache's chain
  std::vector<uint64_t> block_hashes;  // of full blocks, as far as needed so far
  ChainLink link;
  int32_t num_linked = 0;     // blocks that `link` stands behind
  bool chain_broken = false;  // a hash collision: nothing further is stored

  int32_t target() const { return static_cast<int32_t>(tokens.size()); }
  int32_t pending() const { return target() - num_computed; }
  // Whether all before the last drawn token is computed: a step computes that token and its drafts.
  bool decodes() const { return num_computed > 0 && pending() == 1 + num_draft; }
  // The first token whose logits are drawn from, as an index into `tokens`; the later ones follow.
  int32_t first_drawn_from() const { return target() - 1 - num_draft; }
};

// The order in which sequences are served.
inline bool RunsBefore(const Sequence& a, const Sequence& b) {
  if (a.priority != b.priority) return a.priority > b.priority;
  return a.order < b.order;
}

}  // namespace pingti::worker
