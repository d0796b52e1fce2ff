// See memory_return.h.
#include "common/base/memory_return.h"

#include <malloc.h>

#include <algorithm>

namespace pingti {

void BoundFreeHeapEnds() {
  constexpr int kOwnMapping = 1 << 20;  // larger blocks go back to the system when they are freed
  constexpr int kMostAtEnd = 4 << 20;
  ::mallopt(M_MMAP_THRESHOLD, kOwnMapping);
  ::mallopt(M_TRIM_THRESHOLD, kMostAtEnd);
}

void MemoryReturn::Tick() {
  peak_ = std::max(peak_, budget_->TakePeak());
  const size_t used = budget_->used();
  const auto now = clock_->Now();
  if (peak_ < used + kLeastBytes || now < next_) return;
  trim_();
  peak_ = used;
  next_ = now + kInterval;
}

void MemoryReturn::TrimHeap() { ::malloc_trim(0); }

}  // namespace pingti
