// What a step that only decodes takes, by the number of its tokens: learned from the steps so far.
//
// Confined to the engine thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>

namespace pingti::worker {

class StepTimes {
 public:
  // A time that was not seen again in so many steps is forgotten: contexts grow, and what was slow
  // may have been a disturbance.
  static constexpr int64_t kForgetAfter = 1024;

  // `num_tokens` > 0.
  void Add(int32_t num_tokens, std::chrono::nanoseconds duration);

  // In seconds; 0 while nothing is known. A size is known once it was seen twice: the first step of
  // a size may prepare something. Between two known sizes it is interpolated. Below the smallest it
  // is in proportion, beyond the largest it grows as it did last or, while only one is known, not
  // at all: each promises the most that can be, so that it is tried.
  double At(int32_t num_tokens) const;

 private:
  struct Entry {
    double seconds = 0.0;
    int64_t seen_at = 0;
    int32_t count = 0;
  };
  // Sizes above 16 are kept in classes an eighth apart, so that few are unknown.
  static int32_t ClassOf(int32_t num_tokens);

  std::map<int32_t, Entry> entries_;  // by the largest size of a class
  int64_t num_steps_ = 0;
};

}  // namespace pingti::worker
