// See naive_scheduler.h.
#include "tests/worker/engine/naive_scheduler.h"

#include <algorithm>

namespace pingti::worker {

void NaiveScheduler::Add(uint64_t order, int32_t priority, int32_t length, bool waits,
                         int32_t places, TimePoint deadline) {
  Item& item = items_[{-priority, order}];
  item.order = order;
  item.priority = priority;
  item.length = length;
  item.waits_for_others = waits;
  item.places = places;
  item.deadline = deadline;
}

void NaiveScheduler::Remove(uint64_t order) {
  Release(&Find(order));
  std::erase_if(items_, [&](const auto& entry) { return entry.first.second == order; });
}

NaiveScheduler::Item& NaiveScheduler::Find(uint64_t order) {
  return std::find_if(items_.begin(), items_.end(),
                      [&](const auto& entry) { return entry.first.second == order; })
      ->second;
}

bool NaiveScheduler::IsCached(const Block& block) const {
  return std::find(cached_.begin(), cached_.end(), block) != cached_.end();
}

int32_t NaiveScheduler::FindableBlocks(uint64_t order) const {
  int32_t count = 0;
  for (const auto& [key, item] : items_) {
    if (key.second == order) count = item.computed / block_tokens_;
  }
  while (IsCached({order, count})) ++count;
  return count;
}

void NaiveScheduler::Plan(TimePoint now) {
  step_ = Step();
  planned_.clear();
  hits_.clear();
  tokens_ = budget_.max_tokens;
  rows_ = budget_.rows();
  blocks_ = free_ + static_cast<int32_t>(cached_.size());
  num_running_ = 0;
  made_room_ = false;
  for (auto& [key, item] : items_) {
    if (item.deadline <= now && !item.idle) {
      step_.expired.insert(item.order);
    } else if (item.running) {
      num_running_ += item.places;
    }
  }
  MakeRoom();
  PlanDecodes();
  PlanPrefills();
  if (step_.preempted.empty() || made_room_) Admit();
  if (planned_.empty() && step_.preempted.empty() && step_.expired.empty()) PreemptIdle();
}

void NaiveScheduler::PreemptIdle() {
  const bool any_waits = std::any_of(items_.begin(), items_.end(),
                                     [](const auto& entry) { return entry.second.waits(); });
  std::vector<Item*> idle = Running();
  std::erase_if(idle, [](const Item* item) { return item->pending() > 0; });
  if (any_waits && !idle.empty()) step_.preempted.insert(idle.back()->order);
}

std::vector<NaiveScheduler::Item*> NaiveScheduler::Running() {
  std::vector<Item*> running;
  for (auto& [key, item] : items_) {
    const bool leaves =
        step_.expired.count(item.order) > 0 || step_.preempted.count(item.order) > 0;
    if (item.running && !leaves) running.push_back(&item);
  }
  return running;
}

bool NaiveScheduler::PreemptLast(const Item* after, const Item* keep) {
  std::vector<Item*> candidates = Running();
  if (after != nullptr) {
    candidates.erase(candidates.begin(),
                     std::find(candidates.begin(), candidates.end(), after) + 1);
  }
  std::erase(candidates, keep);
  if (candidates.empty()) return false;
  step_.preempted.insert(candidates.back()->order);
  blocks_ += BlocksOf(candidates.back()->computed);
  num_running_ -= candidates.back()->places;
  return true;
}

void NaiveScheduler::MakeRoom() {
  const auto head = std::find_if(items_.begin(), items_.end(), [&](const auto& entry) {
    return entry.second.waits() && step_.expired.count(entry.second.order) == 0;
  });
  if (head == items_.end()) return;
  const int32_t need = BlocksOf(head->second.length);
  const auto fits_beside = [&](int32_t running, int32_t blocks) {
    return running + head->second.places <= budget_.max_sequences && need + running <= blocks;
  };
  const auto fits = [&] { return fits_beside(num_running_, blocks_); };
  if (fits()) return;
  // All of lower priority together must be enough.
  int32_t running_without = 0;
  int32_t blocks_without = blocks_;
  for (const Item* item : Running()) {
    const bool is_lower = item->priority < head->second.priority;
    running_without += is_lower ? 0 : item->places;
    blocks_without += is_lower ? BlocksOf(item->computed) : 0;
  }
  if (!fits_beside(running_without, blocks_without)) return;
  while (!fits()) {
    const std::vector<Item*> running = Running();
    if (running.empty()) return;
    if (running.back()->priority >= head->second.priority) return;
    PreemptLast(nullptr, nullptr);
    made_room_ = true;
  }
}

void NaiveScheduler::Take(Item* item, int32_t chunk, int32_t pending, int32_t blocks) {
  planned_.push_back(item->order);
  step_.chunks[item->order] = chunk;
  tokens_ -= chunk;
  blocks_ -= blocks;
  if (chunk == pending) --rows_;
}

void NaiveScheduler::PlanDecodes() {
  std::vector<Item*> decodes;
  for (Item* item : Running()) {
    if (!item->decodes() || step_.preempted.count(item->order) > 0) continue;
    while (NewBlocks(*item, 1) > blocks_ && PreemptLast(item, nullptr)) {
    }
    if (NewBlocks(*item, 1) > blocks_) {
      PreemptLast(nullptr, nullptr);  // itself
      break;
    }
    Take(item, 1, 1, NewBlocks(*item, 1));
    decodes.push_back(item);
  }
  for (Item* item : decodes) {
    int32_t drafts = std::min({item->drafts, tokens_, rows_});
    const auto more = [&] { return NewBlocks(*item, 1 + drafts) - NewBlocks(*item, 1); };
    while (more() > blocks_) --drafts;
    step_.chunks[item->order] += drafts;
    tokens_ -= drafts;
    rows_ -= drafts;
    blocks_ -= more();
  }
  if (!decodes.empty()) tokens_ = std::min(tokens_, budget_.max_prefill_tokens);
}

void NaiveScheduler::PlanPrefills() {
  for (Item* item : Running()) {
    const bool moves = item->pending() > 0 && !item->decodes();
    if (!moves || tokens_ == 0 || step_.preempted.count(item->order) > 0) continue;
    int32_t chunk = std::min(item->pending(), tokens_);
    if (chunk == item->pending() && rows_ == 0) --chunk;
    if (chunk == 0) continue;
    while (NewBlocks(*item, 1) > blocks_ && planned_.empty() && PreemptLast(nullptr, item)) {
    }
    // Whole blocks only when not all fits.
    while (chunk > 0 && NewBlocks(*item, chunk) > blocks_) {
      chunk -= (item->computed + chunk - 1) % block_tokens_ + 1;
    }
    if (chunk > 0) Take(item, chunk, item->pending(), NewBlocks(*item, chunk));
  }
}

void NaiveScheduler::Admit() {
  for (auto& [key, item] : items_) {
    if (!item.waits() || step_.expired.count(item.order) > 0) continue;
    if (num_running_ + item.places > budget_.max_sequences || tokens_ == 0 || rows_ == 0) return;
    const int32_t target = item.length;
    const int32_t hits = std::min(FindableBlocks(item.order), (target - 1) / block_tokens_);
    const int32_t pending = target - hits * block_tokens_;
    // The hits are taken from the available ones too. A block stays for each that runs.
    if (BlocksOf(target) + num_running_ > blocks_) return;
    hits_[item.order] = hits;
    Take(&item, std::min(pending, tokens_), pending, BlocksOf(target));
    num_running_ += item.places;
  }
}

void NaiveScheduler::Release(Item* item) {
  for (int32_t i = BlocksOf(item->computed) - 1; i >= 0; --i) {
    if (i < item->computed / block_tokens_) {
      cached_.push_back({item->order, i});
    } else {
      ++free_;
    }
  }
  item->computed = 0;
  item->running = false;
  item->drafts = 0;
}

void NaiveScheduler::Allocate(int32_t count) {
  for (; count > 0; --count) {
    if (free_ > 0) {
      --free_;
    } else {
      cached_.pop_front();
    }
  }
}

void NaiveScheduler::Apply() {
  // As they stand in the queues: those that run, then those that wait.
  for (auto& [key, item] : items_) {
    if (step_.expired.count(item.order) > 0 && item.running) Release(&item);
  }
  std::erase_if(items_,
                [&](const auto& entry) { return step_.expired.count(entry.second.order) > 0; });
  // The last first.
  for (auto it = items_.rbegin(); it != items_.rend(); ++it) {
    if (step_.preempted.count(it->second.order) == 0) continue;
    it->second.idle = it->second.pending() == 0;
    Release(&it->second);
  }
  for (const auto& [order, hits] : hits_) {
    for (int32_t i = 0; i < hits; ++i) cached_.remove({order, i});
    Find(order).computed = hits * block_tokens_;
    Find(order).running = true;
  }
  for (const uint64_t order : planned_) Allocate(NewBlocks(Find(order), step_.chunks.at(order)));
}

void NaiveScheduler::Compute(uint64_t order, Item* item, int32_t chunk, int32_t accepted) {
  const int32_t leased = BlocksOf(item->computed + chunk);
  const int32_t before = item->computed / block_tokens_;
  if (item->drafts > 0) {
    item->computed += 1 + accepted;
    item->length += accepted;
    item->drafts = 0;
  } else {
    item->computed += chunk;
  }
  free_ += leased - BlocksOf(item->computed);
  for (int32_t i = before; i < item->computed / block_tokens_; ++i) {
    // Known from an earlier time: that one is kept, the new one given back.
    if (!IsCached({order, i})) continue;
    cached_.remove({order, i});
    ++free_;
  }
  if (item->computed == item->length && !item->waits_for_others) ++item->length;
}

}  // namespace pingti::worker
