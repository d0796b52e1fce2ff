// What grammars may cost the sequences beside them: work on masks and replays, counted by the step.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/grammar/matcher.h"

namespace pingti::worker {

// In units of grammar::Configurations::work().
struct MaskLimits {
  int64_t most = grammar::kMaskWork;  // of one mask, and of what is saved up
  int64_t per_step = grammar::kMaskWork / 5;
  // A mask that costs no more than this is worked out at once, whatever others have spent: far less
  // than a millisecond.
  int64_t small = grammar::kMaskWork / 50;
};

// A bucket: what is begun while something is left is finished, on credit; then nothing of the kind
// is begun for as many steps as that takes. So a step takes at most the work of about two costly
// masks longer, and steps on average `per_step`. Confined to the engine thread.
class MaskBudget {
 public:
  explicit MaskBudget(const MaskLimits& limits) : limits_(limits), left_(limits.most) {}

  // `alone`: no other sequence would be held up.
  void BeginStep(bool alone) {
    left_ = alone ? limits_.most : std::min(limits_.most, left_ + limits_.per_step);
  }
  bool has_left() const { return left_ > 0; }
  void Spend(int64_t work) { left_ -= work; }
  // What a mask may cost that is worked out now. `put_off`: it cost more than a small one before.
  int64_t MostWork(bool put_off) const {
    if (has_left()) return limits_.most;
    return put_off ? 0 : limits_.small;
  }

 private:
  const MaskLimits limits_;
  int64_t left_;
};

}  // namespace pingti::worker
