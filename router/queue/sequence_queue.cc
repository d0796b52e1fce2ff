// See sequence_queue.h.
#include "router/queue/sequence_queue.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace pingti::router {
namespace {

bool IsPicky(const SequenceJob& job) { return !job.excluded_workers.empty(); }

}  // namespace

void SequenceQueue::Add(SequenceJob job) {
  const Class of_class(-static_cast<int64_t>(job.priority), !job.resumed);
  order_->OnAdded(job);
  Attach(of_class, arrivals_++, std::move(job));
}

void SequenceQueue::Attach(const Class& of_class, uint64_t arrival, SequenceJob job) {
  tokens_ += job.tokens;
  if (IsPicky(job)) {
    ++picky_;
  } else {
    unpicky_[job.fingerprint].insert(job.context_tokens);
  }
  std::string line(order_->Line(job));
  Line& jobs = classes_[of_class][line];
  positions_.emplace(job.id, Position{of_class, std::move(line), arrival});
  jobs.emplace(arrival, std::move(job));
}

void SequenceQueue::Promote(std::chrono::steady_clock::time_point queued_by) {
  if (classes_.empty()) return;
  const int64_t highest = classes_.begin()->first.first;
  std::vector<Position> late;
  for (const auto& [of_class, lines] : classes_) {
    if (of_class.first == highest) continue;
    for (const auto& [name, line] : lines) {
      // Those of a line came in this order.
      for (const auto& [arrival, job] : line) {
        if (job.queued_at > queued_by) break;
        late.push_back({of_class, name, arrival});
      }
    }
  }
  for (const Position& position : late) {
    SequenceJob job = DetachAt(position);
    const Class of_class(highest, !job.resumed);
    Attach(of_class, position.arrival, std::move(job));
  }
}

SequenceJob SequenceQueue::Detach(Line* line, Line::iterator it) {
  SequenceJob job = std::move(it->second);
  line->erase(it);
  positions_.erase(job.id);
  tokens_ -= job.tokens;
  if (IsPicky(job)) {
    --picky_;
  } else {
    const auto model = unpicky_.find(job.fingerprint);
    model->second.erase(model->second.find(job.context_tokens));
    if (model->second.empty()) unpicky_.erase(model);
  }
  return job;
}

SequenceJob SequenceQueue::DetachAt(const Position& position) {
  const auto lines = classes_.find(position.of_class);
  const auto line = lines->second.find(position.line);
  SequenceJob job = Detach(&line->second, line->second.find(position.arrival));
  if (line->second.empty()) lines->second.erase(line);
  if (lines->second.empty()) classes_.erase(lines);
  return job;
}

bool SequenceQueue::Remove(uint64_t id, SequenceJob* job) {
  const auto found = positions_.find(id);
  if (found == positions_.end()) return false;
  *job = DetachAt(Position(found->second));
  order_->OnRemoved(*job);
  return true;
}

bool SequenceQueue::MayFit(const SequenceJob& job, const FullModels& full) {
  if (IsPicky(job)) return true;
  const auto least = full.find(job.fingerprint);
  return least == full.end() || job.context_tokens < least->second;
}

bool SequenceQueue::AllFull(const FullModels& full) const {
  return picky_ == 0 && std::all_of(unpicky_.begin(), unpicky_.end(), [&](const auto& model) {
           const auto least = full.find(model.first);
           return least != full.end() && *model.second.begin() >= least->second;
         });
}

void SequenceQueue::TakePlaceable(const Place& place, const Take& take) {
  FullModels full;
  int may_wait = kMostThatWait;
  for (auto it = classes_.begin(); it != classes_.end() && may_wait > 0 && !AllFull(full);) {
    TakeFromLines(&it->second, place, take, &full, &may_wait);
    it = it->second.empty() ? classes_.erase(it) : std::next(it);
  }
}

void SequenceQueue::TakeFromLines(Lines* lines, const Place& place, const Take& take,
                                  FullModels* full, int* may_wait) {
  // A line's turn, and the job that it would send.
  struct Turn {
    double rank;
    Lines::iterator line;
    Line::iterator job;
    // For a heap that has the lowest on top.
    bool operator<(const Turn& other) const {
      return std::tie(other.rank, other.job->first) < std::tie(rank, job->first);
    }
  };
  std::vector<Turn> turns;
  const auto push = [&](Lines::iterator line, Line::iterator job) {
    while (job != line->second.end() && !MayFit(job->second, *full)) ++job;
    if (job == line->second.end()) return;
    turns.push_back({order_->Rank(line->first), line, job});
    std::push_heap(turns.begin(), turns.end());
  };
  for (auto line = lines->begin(); line != lines->end(); ++line) push(line, line->second.begin());
  while (!turns.empty() && *may_wait > 0 && !AllFull(*full)) {
    std::pop_heap(turns.begin(), turns.end());
    const auto [rank, line, job] = turns.back();
    turns.pop_back();
    const auto next = std::next(job);
    if (!MayFit(job->second, *full)) {
      push(line, next);
      continue;
    }
    const Placed placed = place(job->second);
    if (placed == Placed::kWaits) {
      --*may_wait;
      push(line, next);
    } else if (placed == Placed::kNo) {
      if (!IsPicky(job->second)) {
        full->insert_or_assign(job->second.fingerprint, job->second.context_tokens);
      }
      push(line, next);
    } else {
      SequenceJob taken = Detach(&line->second, job);
      order_->OnTaken(taken);
      if (line->second.empty()) {
        lines->erase(line);
      } else {
        push(line, next);
      }
      take(std::move(taken));
    }
  }
}

std::vector<SequenceJob> SequenceQueue::TakeExpired(std::chrono::steady_clock::time_point now) {
  std::vector<Position> expired;
  for (const auto& [of_class, lines] : classes_) {
    for (const auto& [name, line] : lines) {
      for (const auto& [arrival, job] : line) {
        if (now >= job.give_up_at) expired.push_back({of_class, name, arrival});
      }
    }
  }
  std::vector<SequenceJob> jobs;
  for (const Position& position : expired) {
    jobs.push_back(DetachAt(position));
    order_->OnRemoved(jobs.back());
  }
  return jobs;
}

}  // namespace pingti::router
