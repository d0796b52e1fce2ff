// One thread for each rank of a tensor-parallel group, for as long as the group lives: what belongs
// to a rank (its backend, its part of the model) is made, used and destroyed on its thread, so that
// a device that a thread has to choose is chosen once.
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/mutex.h"

namespace pingti::worker {

// Run is for one thread; Running for any.
class RankThreads {
 public:
  // REQUIRES: size >= 1.
  explicit RankThreads(int size);
  // A thread per name; thread i may stand for several ranks: "2 to 3". `group_size`: of all ranks.
  RankThreads(std::vector<std::string> names, int group_size);
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  int size() const { return static_cast<int>(names_.size()); }

  struct Outcome {
    // The first error in time, which names its rank unless all ranks say the same.
    absl::Status status;
    // Whether all ranks returned the same: an error is then one of the input, and the ranks are
    // still in step.
    bool agreed = true;
  };
  // Calls call(rank) on every rank's thread and waits for all. Ranks that still run a little while
  // after another one's error are taken to wait for it: `release` is then called once, on this
  // thread, to end their waits.
  Outcome Run(const std::function<absl::Status(int rank)>& call,
              const std::function<void()>& release);

  // The ranks that have not returned from the call in progress. Empty: there is none.
  std::vector<int> Running() const;

 private:
  void ThreadMain(int rank);
  Outcome Judge() const PINGTI_REQUIRES(mutex_);

  const std::vector<std::string> names_;
  const int group_size_;
  mutable Mutex mutex_;
  CondVar called_;
  CondVar returned_;
  const std::function<absl::Status(int)>* call_ PINGTI_GUARDED_BY(mutex_) = nullptr;
  uint64_t round_ PINGTI_GUARDED_BY(mutex_) = 0;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::vector<bool> running_ PINGTI_GUARDED_BY(mutex_);
  std::vector<absl::Status> results_ PINGTI_GUARDED_BY(mutex_);
  int num_running_ PINGTI_GUARDED_BY(mutex_) = 0;
  int first_failed_ PINGTI_GUARDED_BY(mutex_) = -1;  // rank of the first error; -1: none
  std::vector<std::thread> threads_;
};

}  // namespace pingti::worker
