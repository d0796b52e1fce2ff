// See batcher.h.
#include "router/batcher/batcher.h"

#include <set>
#include <utility>

namespace pingti::router {

void Batcher::Add(SequenceJob job) {
  const Rank rank(-static_cast<int64_t>(job.priority), !job.resumed, arrivals_++);
  tokens_ += job.tokens;
  ranks_.emplace(job.id, rank);
  jobs_.emplace(rank, std::move(job));
}

std::map<Batcher::Rank, SequenceJob>::iterator Batcher::Erase(
    std::map<Rank, SequenceJob>::iterator it, SequenceJob* job) {
  *job = std::move(it->second);
  tokens_ -= job->tokens;
  ranks_.erase(job->id);
  return jobs_.erase(it);
}

bool Batcher::Remove(uint64_t id, SequenceJob* job) {
  const auto rank = ranks_.find(id);
  if (rank == ranks_.end()) return false;
  Erase(jobs_.find(rank->second), job);
  return true;
}

void Batcher::TakePlaceable(const Place& place, const Take& take) {
  std::set<std::string> full;  // models that have no worker with credit left
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    const SequenceJob& job = it->second;
    const bool plain = job.excluded_workers.empty();
    if (plain && full.contains(job.fingerprint)) {
      ++it;
      continue;
    }
    if (!place(job)) {
      if (plain) full.insert(job.fingerprint);
      ++it;
      continue;
    }
    SequenceJob taken;
    it = Erase(it, &taken);
    take(std::move(taken));
  }
}

std::vector<SequenceJob> Batcher::TakeExpired(std::chrono::steady_clock::time_point now) {
  std::vector<SequenceJob> expired;
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    if (now < it->second.give_up_at) {
      ++it;
      continue;
    }
    SequenceJob taken;
    it = Erase(it, &taken);
    expired.push_back(std::move(taken));
  }
  return expired;
}

}  // namespace pingti::router
