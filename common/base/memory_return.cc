// See memory_return.h.
#include "common/base/memory_return.h"

#include <malloc.h>

#include <algorithm>

namespace pingti {

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
