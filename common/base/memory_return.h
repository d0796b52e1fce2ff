// Gives memory back to the system after it was needed for a moment: malloc keeps what was freed
// between other allocations.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

#include "common/base/clock.h"
#include "common/base/memory_budget.h"

namespace pingti {

// Has malloc keep little that is free at the end of a thread's heap, which MemoryReturn cannot give
// back: by itself glibc comes to keep 64 MiB there for each thread that once freed large blocks
// (mallopt(3), M_TRIM_THRESHOLD). Call it before other threads start.
void BoundFreeHeapEnds();

// Thread-compatible.
class MemoryReturn {
 public:
  // Once the budget's use has fallen by so much, it is worth the time, some milliseconds in which
  // other threads may have to wait for memory.
  static constexpr size_t kLeastBytes = 64u << 20;
  static constexpr std::chrono::seconds kInterval{2};

  // Both must outlive this. `trim` gives back what is free.
  MemoryReturn(MemoryBudget* budget, const Clock* clock, std::function<void()> trim = TrimHeap)
      : budget_(budget), clock_(clock), trim_(std::move(trim)) {}

  // Looks whether it is time. Call it every now and then.
  void Tick();

 private:
  static void TrimHeap();

  MemoryBudget* const budget_;
  const Clock* const clock_;
  const std::function<void()> trim_;
  size_t peak_ = 0;  // of the budget's use since memory was given back
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace pingti
