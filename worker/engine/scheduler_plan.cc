// The scheduling policy: Scheduler::Plan, one pass per rule. Counts blocks, leases none.
#include <algorithm>

#include "worker/engine/scheduler.h"

namespace pingti::worker {
namespace {

int32_t CeilDiv(int32_t a, int32_t b) { return (a + b - 1) / b; }

class Planner {
 public:
  Planner(const SchedulerState& state, const StepBudget& budget, TimePoint now, StepPlan* plan)
      : state_(state),
        now_(now),
        plan_(plan),
        block_tokens_(state.cache->block_tokens()),
        blocks_left_(state.cache->pool().available()),
        tokens_left_(budget.max_tokens),
        rows_left_(budget.rows()),
        max_prefill_tokens_(budget.max_prefill_tokens),
        max_sequences_(budget.max_sequences),
        max_adapters_(static_cast<size_t>(budget.max_adapters)),
        victim_end_(state.running.size()) {
    for (const Sequence* sequence : state.running) num_running_ += sequence->num_places;
  }

  void Run() {
    Expire();
    ListAdapters();
    MakeRoomForPriority();
    PlanDecodes();
    PlanDrafts();
    if (!plan_->chunks.empty()) tokens_left_ = std::min(tokens_left_, max_prefill_tokens_);
    PlanBegunPrefills();
    if (plan_->preempted.empty() || made_room_) Admit();
    if (!plan_->changes_anything()) PreemptIdle();
  }

 private:
  bool Expired(const Sequence& sequence) const { return sequence.deadline <= now_; }

  void Expire() {
    for (Sequence* sequence : state_.running) {
      if (!Expired(*sequence)) continue;
      plan_->expired.push_back(sequence);
      num_running_ -= sequence->num_places;
    }
    for (Sequence* sequence : state_.waiting) {
      if (Expired(*sequence)) plan_->expired.push_back(sequence);
    }
  }

  void ListAdapters() {
    for (const Sequence* sequence : state_.running) {
      if (!Expired(*sequence) && !IsListed(sequence->adapter)) {
        plan_->adapters.push_back(sequence->adapter);
      }
    }
  }

  bool IsListed(const Adapter* adapter) const {
    return adapter == nullptr || std::find(plan_->adapters.begin(), plan_->adapters.end(),
                                           adapter) != plan_->adapters.end();
  }

  // Whether a sequence with this adapter may run beside the others.
  bool HasAdapter(const Adapter* adapter) const {
    return IsListed(adapter) || plan_->adapters.size() < max_adapters_;
  }

  // Blocks that only this sequence holds: what its preemption surely frees.
  int32_t OwnBlocks(const Sequence& sequence) const {
    int32_t own = 0;
    for (const BlockLease& lease : sequence.blocks) {
      own += state_.cache->pool().ref_count(lease.block()) == 1 ? 1 : 0;
    }
    return own;
  }

  // New blocks that computing `num_tokens` more takes, a copy of a shared last block included.
  int32_t BlocksFor(const Sequence& sequence, int32_t num_tokens) const {
    const int32_t have = static_cast<int32_t>(sequence.blocks.size());
    const int32_t need = CeilDiv(sequence.num_computed + num_tokens, block_tokens_) - have;
    return need + (Scheduler::SharesLastBlock(*state_.cache, sequence) ? 1 : 0);
  }

  // Preempts the last running sequence that is not `keep`; false when there is none behind index
  // `first`.
  bool PreemptLast(size_t first, const Sequence* keep) {
    while (victim_end_ > first) {
      Sequence* victim = state_.running[--victim_end_];
      if (victim == keep || Expired(*victim)) continue;
      plan_->preempted.push_back(victim);
      blocks_left_ += OwnBlocks(*victim);
      num_running_ -= victim->num_places;
      return true;
    }
    return false;
  }

  void MakeRoomForPriority() {
    const auto head =
        std::find_if(state_.waiting.begin(), state_.waiting.end(),
                     [&](const Sequence* s) { return !Expired(*s) && HasAdapter(s->adapter); });
    if (head == state_.waiting.end()) return;
    const Sequence& newcomer = **head;
    const int32_t need = CeilDiv(newcomer.target(), block_tokens_);
    const auto fits = [&](int32_t running, int32_t blocks) {
      return running + newcomer.num_places <= max_sequences_ && need + running <= blocks;
    };
    if (fits(num_running_, blocks_left_)) return;
    // Only if the room that lower priorities take is enough.
    size_t first = state_.running.size();
    int32_t running = num_running_;
    int32_t blocks = blocks_left_;
    while (first > 0 && state_.running[first - 1]->priority < newcomer.priority) {
      const Sequence& lower = *state_.running[--first];
      if (Expired(lower)) continue;
      running -= lower.num_places;
      blocks += OwnBlocks(lower);
    }
    if (!fits(running, blocks)) return;
    while (!fits(num_running_, blocks_left_) && PreemptLast(first, nullptr)) made_room_ = true;
  }

  void PlanDecodes() {
    for (size_t i = 0; i < victim_end_; ++i) {
      Sequence* sequence = state_.running[i];
      if (!sequence->decodes() || Expired(*sequence)) continue;
      if (tokens_left_ == 0 || rows_left_ == 0) return;
      const int32_t need = BlocksFor(*sequence, 1);
      bool fits = need <= blocks_left_;
      while (!fits && PreemptLast(i + 1, sequence)) fits = need <= blocks_left_;
      if (!fits) {
        PreemptLast(i, nullptr);
        return;
      }
      Take(sequence, 1, need);
    }
  }

  // After every decode has its token, so that drafts take nobody's place.
  void PlanDrafts() {
    for (PlannedChunk& chunk : plan_->chunks) {
      const Sequence& sequence = *chunk.sequence;
      if (sequence.num_draft == 0) continue;
      const int32_t before = BlocksFor(sequence, 1);
      int32_t drafts = std::min({sequence.num_draft, tokens_left_, rows_left_});
      while (drafts > 0 && BlocksFor(sequence, 1 + drafts) - before > blocks_left_) --drafts;
      if (drafts <= 0) continue;
      chunk.num_tokens += drafts;
      plan_->num_tokens += drafts;
      tokens_left_ -= drafts;
      rows_left_ -= drafts;
      blocks_left_ -= BlocksFor(sequence, 1 + drafts) - before;
    }
  }

  void PlanBegunPrefills() {
    for (size_t i = 0; i < victim_end_ && tokens_left_ > 0; ++i) {
      Sequence* sequence = state_.running[i];
      if (sequence->pending() <= 0 || sequence->decodes() || Expired(*sequence)) continue;
      int32_t chunk = ChunkOf(*sequence, sequence->pending());
      if (chunk == 0) continue;
      // While others move, a prefill that finds no block waits; else somebody must give way.
      while (BlocksFor(*sequence, 1) > blocks_left_ && plan_->chunks.empty() &&
             PreemptLast(0, sequence)) {
      }
      while (chunk > 0 && BlocksFor(*sequence, chunk) > blocks_left_) {
        chunk -= (sequence->num_computed + chunk - 1) % block_tokens_ + 1;
      }
      if (chunk > 0) Take(sequence, chunk, BlocksFor(*sequence, chunk));
    }
  }

  void Admit() {
    bool adapter_waits = false;
    for (Sequence* sequence : state_.waiting) {
      if (Expired(*sequence)) continue;
      if (sequence->adapter != nullptr) {
        adapter_waits |= !HasAdapter(sequence->adapter);
        if (adapter_waits) continue;
      }
      if (num_running_ + sequence->num_places > max_sequences_) return;
      if (tokens_left_ == 0 || rows_left_ == 0) return;
      const int32_t hits = Scheduler::CountCachedBlocks(*state_.cache, *sequence);
      const int32_t chunk = ChunkOf(*sequence, sequence->target() - hits * block_tokens_);
      const int32_t need = AdmissionNeed(*sequence, hits);
      // Each running sequence may ask for a block before this one is done.
      if (chunk == 0 || need + num_running_ > blocks_left_) return;
      plan_->chunks.push_back({sequence, chunk, hits, true});
      if (!IsListed(sequence->adapter)) plan_->adapters.push_back(sequence->adapter);
      Spend(*sequence, chunk, sequence->target() - hits * block_tokens_, need);
      num_running_ += sequence->num_places;
    }
  }

  void PreemptIdle() {
    if (state_.waiting.empty()) return;
    const auto idle = std::find_if(state_.running.rbegin(), state_.running.rend(),
                                   [](const Sequence* s) { return s->pending() == 0; });
    if (idle != state_.running.rend()) plan_->preempted.push_back(*idle);
  }

  // Blocks that the whole input takes from those that are available.
  int32_t AdmissionNeed(const Sequence& sequence, int32_t hits) const {
    int32_t revived = 0;  // hits that no running sequence holds
    if (made_room_) {
      revived = hits;  // they may be held by the preempted only
    } else {
      ChainLink link;
      for (int32_t i = 0; i < hits; ++i) {
        const BlockId block =
            state_.cache->Find(link, sequence.block_hashes[i],
                               std::span(sequence.tokens)
                                   .subspan(static_cast<size_t>(i) * block_tokens_, block_tokens_),
                               sequence.salt, &link);
        revived += state_.cache->pool().ref_count(block) == 0 ? 1 : 0;
      }
    }
    return CeilDiv(sequence.target(), block_tokens_) - hits + revived;
  }

  // The largest chunk the token and row budgets allow.
  int32_t ChunkOf(const Sequence& sequence, int32_t pending) const {
    int32_t chunk = std::min(pending, tokens_left_);
    if (sequence.row_per_token) return std::min(chunk, rows_left_);
    // The last token of the input needs a row.
    if (chunk == pending && rows_left_ == 0) --chunk;
    return chunk;
  }

  void Take(Sequence* sequence, int32_t chunk, int32_t num_blocks) {
    plan_->chunks.push_back({sequence, chunk, 0, false});
    Spend(*sequence, chunk, sequence->pending(), num_blocks);
  }

  void Spend(const Sequence& sequence, int32_t chunk, int32_t pending, int32_t num_blocks) {
    plan_->num_tokens += chunk;
    tokens_left_ -= chunk;
    blocks_left_ -= num_blocks;
    rows_left_ -= RowsOf(sequence, chunk, pending);
  }

  // Rows of logits that the first `chunk` of `pending` tokens take.
  static int32_t RowsOf(const Sequence& sequence, int32_t chunk, int32_t pending) {
    if (sequence.row_per_token) return chunk;
    return std::max(0, chunk - (pending - 1 - sequence.num_draft));
  }

  const SchedulerState& state_;
  const TimePoint now_;
  StepPlan* const plan_;
  const int32_t block_tokens_;
  int32_t blocks_left_;
  int32_t tokens_left_;
  int32_t rows_left_;
  const int32_t max_prefill_tokens_;
  const int32_t max_sequences_;
  const size_t max_adapters_;
  size_t victim_end_;        // running sequences from here on are preempted, expired or spared
  int32_t num_running_ = 0;  // places that are taken
  bool made_room_ = false;
};

}  // namespace

void Scheduler::Plan(const SchedulerState& state, const StepBudget& budget, TimePoint now,
                     StepPlan* plan) {
  plan->Clear();
  Planner(state, budget, now, plan).Run();
}

int32_t Scheduler::CountCachedBlocks(const PrefixCache& cache, const Sequence& sequence) {
  if (sequence.row_per_token) return 0;
  const int32_t block_tokens = cache.block_tokens();
  // At least one token is computed: its logits are what the sequence is after.
  const int32_t most = std::min((sequence.target() - 1) / block_tokens,
                                static_cast<int32_t>(sequence.block_hashes.size()));
  ChainLink link;
  int32_t hits = 0;
  while (hits < most &&
         cache.Find(link, sequence.block_hashes[hits],
                    std::span(sequence.tokens)
                        .subspan(static_cast<size_t>(hits) * block_tokens, block_tokens),
                    sequence.salt, &link) != kNoBlock) {
    ++hits;
  }
  return hits;
}

}  // namespace pingti::worker
