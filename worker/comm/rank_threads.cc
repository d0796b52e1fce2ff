#include "worker/comm/rank_threads.h"

#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

// Ranks do the same work, so one that errs for a reason of the input is not alone for longer.
constexpr std::chrono::milliseconds kErrorGrace{250};

std::vector<std::string> Numbers(int size) {
  std::vector<std::string> names;
  for (int rank = 0; rank < size; ++rank) names.push_back(Concat(rank));
  return names;
}

}  // namespace

RankThreads::RankThreads(int size) : RankThreads(Numbers(size), size) {}

RankThreads::RankThreads(std::vector<std::string> names, int group_size)
    : names_(std::move(names)),
      group_size_(group_size),
      running_(names_.size()),
      results_(names_.size()) {
  PINGTI_CHECK(!names_.empty());
  for (int i = 0; i < size(); ++i) threads_.emplace_back([this, i] { ThreadMain(i); });
}

RankThreads::~RankThreads() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    called_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void RankThreads::ThreadMain(int rank) {
  const auto at = static_cast<size_t>(rank);
  uint64_t seen = 0;
  while (true) {
    const std::function<absl::Status(int)>* call = nullptr;
    {
      MutexLock lock(&mutex_);
      while (round_ == seen && !stopping_) called_.Wait(&mutex_);
      if (stopping_) return;
      seen = round_;
      call = call_;
    }
    absl::Status status = (*call)(rank);
    MutexLock lock(&mutex_);
    if (!status.ok() && first_failed_ < 0) first_failed_ = rank;
    results_[at] = std::move(status);
    running_[at] = false;
    if (--num_running_ == 0 || first_failed_ == rank) returned_.NotifyOne();
  }
}

RankThreads::Outcome RankThreads::Run(const std::function<absl::Status(int rank)>& call,
                                      const std::function<void()>& release) {
  {
    MutexLock lock(&mutex_);
    call_ = &call;
    running_.assign(running_.size(), true);
    num_running_ = size();
    first_failed_ = -1;
    ++round_;
    called_.NotifyAll();
    while (num_running_ > 0 && first_failed_ < 0) returned_.Wait(&mutex_);
    const auto deadline = std::chrono::steady_clock::now() + kErrorGrace;
    while (num_running_ > 0 && returned_.WaitUntil(&mutex_, deadline)) {
    }
    if (num_running_ == 0) return Judge();
  }
  release();
  MutexLock lock(&mutex_);
  while (num_running_ > 0) returned_.Wait(&mutex_);
  return Judge();
}

RankThreads::Outcome RankThreads::Judge() const {
  Outcome outcome;
  for (const absl::Status& result : results_) {
    if (result != results_.front()) outcome.agreed = false;
  }
  if (first_failed_ < 0) return outcome;
  outcome.status = results_[static_cast<size_t>(first_failed_)];
  if (outcome.agreed) return outcome;
  outcome.status = absl::Status(outcome.status.code(),
                                Concat("rank ", names_[static_cast<size_t>(first_failed_)], " of ",
                                       group_size_, ": ", std::string(outcome.status.message())));
  return outcome;
}

std::vector<int> RankThreads::Running() const {
  MutexLock lock(&mutex_);
  std::vector<int> ranks;
  for (int rank = 0; rank < size(); ++rank) {
    if (running_[static_cast<size_t>(rank)]) ranks.push_back(rank);
  }
  return ranks;
}

}  // namespace pingti::worker
