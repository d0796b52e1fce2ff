// Tokens that wait for others of their sequence, so that one message carries those of several
// steps: see Sequence.output_interval_ms in worker.proto.
//
// An answer's first output and its end are never held, nor is one that comes when the answer's last
// report is an interval ago. What is held is due at the next multiple of its interval on the clock,
// so that the sequences of one interval go together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "worker/engine/request.h"

namespace pingti::worker {

// Adds what came later to what the same sample got before.
void Join(SequenceOutput&& later, SequenceOutput* earlier);

// Thread-compatible.
class HeldOutputs {
 public:
  // True: `output` was moved from and waits. False: it goes now, and has what was held of its
  // answer before it. O(log n) of the answers under way.
  bool Hold(SequenceOutput* output, TimePoint now);
  // Moves out what is due, in the order of the sequences' ids. O(n).
  std::vector<SequenceOutput> TakeDue(TimePoint now);
  // When that has something, or before; TimePoint::max(): nothing is held.
  TimePoint due() const { return due_; }

 private:
  struct Answer {
    TimePoint reported;                // last
    TimePoint due = TimePoint::max();  // max(): nothing is held
    SequenceOutput held;
  };
  // By sequence and sample: those that had an output, may be held and have not ended.
  std::map<std::pair<uint64_t, int32_t>, Answer> answers_;
  size_t num_held_ = 0;               // answers of which something is held
  TimePoint due_ = TimePoint::max();  // not later than that of any of them; max(): there are none
};

}  // namespace pingti::worker
