#include "worker/backend/cpu/aligned_buffer.h"

#include <sys/mman.h>

#include "common/base/strings.h"

namespace pingti::worker::cpu {

absl::StatusOr<AlignedBuffer> AlignedBuffer::Make(int64_t bytes) {
  constexpr int64_t kCacheLine = 64;
  constexpr int64_t kHugePage = int64_t{2} << 20;
  AlignedBuffer buffer;
  if (bytes <= 0) return buffer;
  const int64_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  const int64_t padded = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
  if (::posix_memalign(&buffer.data_, static_cast<size_t>(alignment),
                       static_cast<size_t>(padded)) != 0) {
    buffer.data_ = nullptr;
    return absl::ResourceExhaustedError(Concat("cannot allocate ", bytes, " bytes of memory"));
  }
#if defined(MADV_HUGEPAGE)
  // Advice only: where it is refused, ordinary pages do. The last, partial huge page gets none:
  // over many matrices that would be memory for nothing.
  if (alignment == kHugePage) {
    (void)::madvise(buffer.data_, static_cast<size_t>(padded / kHugePage * kHugePage),
                    MADV_HUGEPAGE);
  }
#endif
  buffer.bytes_ = bytes;
  return buffer;
}

}  // namespace pingti::worker::cpu
