// The scheduling policy written down a second time: nothing but numbers, every queue searched anew.
// Sequences share no tokens, so that a prefix is found only by who computed it.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "worker/engine/scheduler.h"

namespace pingti::worker {

class NaiveScheduler {
 public:
  // By `order`.
  struct Step {
    std::map<uint64_t, int32_t> chunks;
    std::set<uint64_t> preempted;
    std::set<uint64_t> expired;
  };

  NaiveScheduler(StepBudget budget, int32_t num_blocks, int32_t block_tokens)
      : budget_(budget), block_tokens_(block_tokens), free_(num_blocks) {}

  void Add(uint64_t order, int32_t priority, int32_t length, bool waits, int32_t places,
           TimePoint deadline);
  void Remove(uint64_t order);
  void Propose(uint64_t order, int32_t num_drafts) { Find(order).drafts = num_drafts; }
  // It waits for no others any more: its next token is there, in one place.
  void LetGo(uint64_t order) {
    Item& item = Find(order);
    item.waits_for_others = false;
    item.places = 1;
    item.idle = false;
    ++item.length;
  }

  // `accepted`: of the drafts that the step computes for a sequence, how many stay.
  template <typename Accept>
  Step Run(TimePoint now, const Accept& accepted) {
    Plan(now);
    Apply();
    for (const uint64_t order : planned_) {
      Item& item = Find(order);
      const int32_t chunk = step_.chunks.at(order);
      Compute(order, &item, chunk, item.drafts > 0 ? accepted(order, chunk - 1) : 0);
    }
    return step_;
  }

  // Blocks of a sequence, from its first one on, that can be found.
  int32_t FindableBlocks(uint64_t order) const;

 private:
  struct Item {
    uint64_t order = 0;
    int32_t priority = 0;
    int32_t length = 0;
    bool waits_for_others = false;  // gets no token when all it has is computed
    int32_t places = 1;
    TimePoint deadline;
    int32_t drafts = 0;
    int32_t computed = 0;
    bool running = false;
    bool idle = false;  // preempted with nothing to compute: in no queue

    bool waits() const { return !running && !idle; }
    int32_t pending() const { return length + drafts - computed; }
    bool decodes() const { return computed > 0 && pending() == 1 + drafts; }
  };
  using Block = std::pair<uint64_t, int32_t>;  // of which sequence, at which place

  Item& Find(uint64_t order);
  int32_t BlocksOf(int32_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  int32_t NewBlocks(const Item& item, int32_t tokens) const {
    return BlocksOf(item.computed + tokens) - BlocksOf(item.computed);
  }
  bool IsCached(const Block& block) const;

  void Plan(TimePoint now);
  void MakeRoom();
  void PlanDecodes();
  void PlanPrefills();
  void Admit();
  // Nothing else is to be done, and others wait: the last that has nothing to compute gives way.
  void PreemptIdle();
  // Items that take part in this step: neither expired nor preempted.
  std::vector<Item*> Running();
  // Sends back the last that runs behind `after` (null: any), but not `keep`.
  bool PreemptLast(const Item* after, const Item* keep);
  void Take(Item* item, int32_t chunk, int32_t pending, int32_t blocks);

  void Apply();
  void Release(Item* item);
  void Allocate(int32_t count);
  void Compute(uint64_t order, Item* item, int32_t chunk, int32_t accepted);

  const StepBudget budget_;
  const int32_t block_tokens_;
  std::map<std::pair<int32_t, uint64_t>, Item> items_;  // by -priority and order: serving order
  int32_t free_;
  std::list<Block> cached_;  // released longest ago first

  // The step in progress.
  Step step_;
  std::vector<uint64_t> planned_;
  std::map<uint64_t, int32_t> hits_;  // of the admitted
  int32_t tokens_ = 0;
  int32_t rows_ = 0;
  int32_t blocks_ = 0;
  int32_t num_running_ = 0;
  bool made_room_ = false;
};

}  // namespace pingti::worker
