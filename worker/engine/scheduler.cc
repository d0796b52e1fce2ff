// See scheduler.h: the queues and leases. The policy is in scheduler_plan.cc.
#include "worker/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "common/base/block_hash.h"
#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {

Scheduler::Scheduler(PrefixCache* cache, StepBudget budget) : cache_(cache), budget_(budget) {
  PINGTI_CHECK(budget.max_sequences > 0 && budget.max_tokens >= budget.max_sequences &&
               budget.rows() >= budget.max_sequences);
  state_.cache = cache;
  state_.running.reserve(budget.max_sequences);
  state_.waiting.reserve(1024);
}

Scheduler::~Scheduler() {
  for (Sequence* sequence : state_.running) ReleaseBlocks(sequence);
}

void Scheduler::Apply(const StepPlan& plan, std::vector<PlannedCopy>* copies) {
  for (Sequence* sequence : plan.expired) Remove(sequence);
  for (Sequence* sequence : plan.preempted) Preempt(sequence);
  // Hits first: an allocation could evict them.
  for (const PlannedChunk& chunk : plan.chunks) {
    if (!chunk.admit) continue;
    std::erase(state_.waiting, chunk.sequence);
    InsertInOrder(&state_.running, chunk.sequence);
    chunk.sequence->state = Sequence::State::kRunning;
    LeaseCachedPrefix(chunk.sequence, chunk.cached_blocks);
  }
  for (const PlannedChunk& chunk : plan.chunks) {
    LeaseForChunk(chunk.sequence, chunk.num_tokens, copies);
  }
}

void Scheduler::Commit(Sequence* sequence, int32_t num_tokens) {
  const int32_t block_tokens = cache_->block_tokens();
  sequence->num_computed += num_tokens;
  PINGTI_CHECK(sequence->num_computed <= static_cast<int32_t>(sequence->tokens.size()));
  const int32_t num_full = sequence->num_computed / block_tokens;
  if (num_full > sequence->num_linked) ExtendHashes(sequence, block_tokens);
  while (!sequence->chain_broken && sequence->num_linked < num_full) {
    const int32_t i = sequence->num_linked;
    const auto tokens =
        std::span(sequence->tokens).subspan(static_cast<size_t>(i) * block_tokens, block_tokens);
    if (cache_->Store(sequence->link, sequence->block_hashes[i], tokens, sequence->salt,
                      &sequence->blocks[i], &sequence->link)) {
      ++sequence->num_linked;
    } else {
      sequence->chain_broken = true;
    }
  }
}

void Scheduler::Trim(Sequence* sequence, int32_t num_tokens) {
  PINGTI_CHECK(num_tokens >= 0 && num_tokens < static_cast<int32_t>(sequence->tokens.size()));
  const int32_t block_tokens = cache_->block_tokens();
  sequence->tokens.resize(sequence->tokens.size() - static_cast<size_t>(num_tokens));
  const int32_t length = static_cast<int32_t>(sequence->tokens.size());
  sequence->num_draft = std::max(0, sequence->num_draft - num_tokens);
  sequence->num_computed = std::min(sequence->num_computed, length);
  while (static_cast<int32_t>(sequence->block_hashes.size()) > length / block_tokens) {
    sequence->block_hashes.pop_back();
  }
  // Last block first, as in ReleaseBlocks.
  const int32_t num_blocks = (sequence->num_computed + block_tokens - 1) / block_tokens;
  while (static_cast<int32_t>(sequence->blocks.size()) > num_blocks) sequence->blocks.pop_back();
  const int32_t num_full = sequence->num_computed / block_tokens;
  if (num_full <= sequence->num_linked) {
    sequence->num_linked = num_full;
    sequence->link =
        num_full == 0 ? ChainLink() : cache_->LinkAfter(sequence->blocks[num_full - 1].block());
    sequence->chain_broken = false;
  }
}

void Scheduler::Add(Sequence* sequence) {
  PINGTI_CHECK(sequence->state == Sequence::State::kIdle && sequence->num_draft == 0);
  sequence->state = Sequence::State::kWaiting;
  InsertInOrder(&state_.waiting, sequence);
}

void Scheduler::Remove(Sequence* sequence) {
  if (sequence->state == Sequence::State::kIdle) return;
  std::erase(sequence->state == Sequence::State::kRunning ? state_.running : state_.waiting,
             sequence);
  ReleaseBlocks(sequence);
  sequence->state = Sequence::State::kIdle;
}

void Scheduler::Preempt(Sequence* sequence) {
  PINGTI_CHECK(sequence->state == Sequence::State::kRunning);
  if (sequence->num_draft > 0) Trim(sequence, sequence->num_draft);
  const bool has_work = sequence->pending() > 0;
  Remove(sequence);
  if (has_work) Add(sequence);
  ++sequence->num_preemptions;
  ++preemptions_total_;
}

void Scheduler::Fork(const Sequence& from, Sequence* to) {
  PINGTI_CHECK(to->state == Sequence::State::kIdle && to->blocks.empty() && from.num_draft == 0);
  to->salt = from.salt;
  to->tokens = from.tokens;
  to->block_hashes = from.block_hashes;
  if (from.state != Sequence::State::kRunning ||
      static_cast<int32_t>(state_.running.size()) >= budget_.max_sequences) {
    Add(to);
    return;
  }
  to->num_computed = from.num_computed;
  to->link = from.link;
  to->num_linked = from.num_linked;
  to->chain_broken = from.chain_broken;
  for (const BlockLease& lease : from.blocks) to->blocks.push_back(lease.Share());
  to->state = Sequence::State::kRunning;
  InsertInOrder(&state_.running, to);
}

void Scheduler::Replace(Sequence* from, Sequence* to) {
  PINGTI_CHECK(to->state == Sequence::State::kIdle && from->num_draft == 0);
  to->salt = from->salt;
  to->tokens = from->tokens;
  to->block_hashes = from->block_hashes;
  to->num_computed = std::exchange(from->num_computed, 0);
  to->link = std::exchange(from->link, ChainLink());
  to->num_linked = std::exchange(from->num_linked, 0);
  to->chain_broken = std::exchange(from->chain_broken, false);
  for (BlockLease& lease : from->blocks) to->blocks.push_back(std::move(lease));
  from->blocks.clear();
  if (from->state == Sequence::State::kIdle) return Add(to);
  to->state = from->state;
  Remove(from);
  InsertInOrder(to->state == Sequence::State::kRunning ? &state_.running : &state_.waiting, to);
}

void Scheduler::ExtendHashes(Sequence* sequence, int32_t block_tokens) {
  const size_t num_full = sequence->tokens.size() / block_tokens;
  while (sequence->block_hashes.size() < num_full) {
    const size_t i = sequence->block_hashes.size();
    const uint64_t parent = i == 0 ? BlockHashSeed(sequence->salt) : sequence->block_hashes[i - 1];
    sequence->block_hashes.push_back(ChainBlockHash(
        parent, std::span(sequence->tokens).subspan(i * block_tokens, block_tokens)));
  }
}

void Scheduler::InsertInOrder(std::vector<Sequence*>* queue, Sequence* sequence) {
  const auto place =
      std::upper_bound(queue->begin(), queue->end(), sequence,
                       [](const Sequence* a, const Sequence* b) { return RunsBefore(*a, *b); });
  queue->insert(place, sequence);
}

void Scheduler::ReleaseBlocks(Sequence* sequence) {
  // Last block first, so that the cache evicts ends of chains before their beginnings.
  while (!sequence->blocks.empty()) sequence->blocks.pop_back();
  sequence->num_computed = 0;
  sequence->link = ChainLink();
  sequence->num_linked = 0;
  sequence->chain_broken = false;
}

void Scheduler::LeaseCachedPrefix(Sequence* sequence, int32_t num_blocks) {
  const int32_t block_tokens = cache_->block_tokens();
  for (int32_t i = 0; i < num_blocks; ++i) {
    const BlockId block = cache_->Find(
        sequence->link, sequence->block_hashes[i],
        std::span(sequence->tokens).subspan(static_cast<size_t>(i) * block_tokens, block_tokens),
        sequence->salt, &sequence->link);
    PINGTI_CHECK_MSG(block != kNoBlock, "a planned cache hit is gone");
    sequence->blocks.push_back(cache_->pool().Lease(block));
  }
  sequence->num_linked = num_blocks;
  sequence->num_computed = num_blocks * block_tokens;
  sequence->num_cached = sequence->num_computed;
}

bool Scheduler::SharesLastBlock(const PrefixCache& cache, const Sequence& sequence) {
  if (sequence.num_computed % cache.block_tokens() == 0) return false;
  const BlockId block = sequence.blocks.back().block();
  // The cache keeps a block whose end was trimmed away.
  return cache.pool().ref_count(block) > 1 || cache.pool().kept(block);
}

void Scheduler::LeaseForChunk(Sequence* sequence, int32_t num_tokens,
                              std::vector<PlannedCopy>* copies) {
  const int32_t block_tokens = cache_->block_tokens();
  BlockPool& pool = cache_->pool();
  if (SharesLastBlock(*cache_, *sequence)) {
    BlockLease copy = pool.Allocate();
    PINGTI_CHECK_MSG(!copy.empty(), "the plan leased more blocks than there are");
    copies->push_back({sequence->blocks.back().block(), copy.block()});
    sequence->blocks.back() = std::move(copy);
  }
  const int32_t length = sequence->num_computed + num_tokens;
  while (static_cast<int32_t>(sequence->blocks.size()) * block_tokens < length) {
    sequence->blocks.push_back(pool.Allocate());
    PINGTI_CHECK_MSG(!sequence->blocks.back().empty(),
                     "the plan leased more blocks than there are");
  }
}

absl::Status Scheduler::CheckInvariants() const {
  absl::Status status = cache_->CheckInvariants();
  if (!status.ok()) return status;
  const auto in_order = [](const Sequence* a, const Sequence* b) { return RunsBefore(*a, *b); };
  if (!std::is_sorted(state_.running.begin(), state_.running.end(), in_order) ||
      !std::is_sorted(state_.waiting.begin(), state_.waiting.end(), in_order)) {
    return absl::InternalError("a queue is not in serving order");
  }
  if (static_cast<int32_t>(state_.running.size()) > budget_.max_sequences) {
    return absl::InternalError(
        Concat(state_.running.size(), " sequences run, at most ", budget_.max_sequences, " may"));
  }
  for (const Sequence* sequence : state_.waiting) {
    if (!sequence->blocks.empty()) return absl::InternalError("a waiting sequence holds blocks");
    if (sequence->num_draft != 0) return absl::InternalError("a waiting sequence has drafts");
  }
  for (const Sequence* sequence : state_.running) {
    status.Update(CheckSequence(*sequence));
  }
  return status;
}

absl::Status Scheduler::CheckSequence(const Sequence& sequence) const {
  const int32_t block_tokens = cache_->block_tokens();
  const int32_t blocks = static_cast<int32_t>(sequence.blocks.size());
  const int32_t num_full = sequence.num_computed / block_tokens;
  if (blocks != (sequence.num_computed + block_tokens - 1) / block_tokens) {
    return absl::InternalError(Concat("a sequence with ", sequence.num_computed,
                                      " computed tokens holds ", blocks, " blocks"));
  }
  if (sequence.num_draft < 0 || (sequence.num_draft > 0 && !sequence.decodes())) {
    return absl::InternalError(Concat("a sequence with ", sequence.num_draft, " drafts has ",
                                      sequence.pending(), " tokens to compute"));
  }
  if (sequence.chain_broken ? sequence.num_linked >= num_full : sequence.num_linked != num_full) {
    return absl::InternalError(
        Concat("a sequence with ", num_full, " full blocks has linked ", sequence.num_linked));
  }
  const ChainLink link = sequence.num_linked == 0
                             ? ChainLink()
                             : cache_->LinkAfter(sequence.blocks[sequence.num_linked - 1].block());
  if (link != sequence.link)
    return absl::InternalError("a sequence's link is not its last block's");
  const size_t num_hashes = sequence.block_hashes.size();
  if (num_hashes < static_cast<size_t>(sequence.num_linked) ||
      num_hashes > sequence.tokens.size() / static_cast<size_t>(block_tokens)) {
    return absl::InternalError(Concat("a sequence of ", sequence.tokens.size(), " tokens has ",
                                      num_hashes, " block hashes"));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
