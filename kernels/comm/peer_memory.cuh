// Words that travel between GPUs: 16-byte stores into a peer's memory, loads that see what peers
// stored, and the word that says "nothing has arrived here". Device code.
//
// A vector counts as arrived when none of its four words is kEmpty, so nothing is assumed of the
// order in which the parts of a store become visible. kEmpty is a NaN both as f32 and as a pair of
// bf16; a sender replaces it by another NaN, so every number, -0 included, travels as it is.
//
// Source: PTX ISA 8.x, memory consistency model; "ld", "st" (.relaxed.sys).
#pragma once

#include <cstdint>

namespace pingti::kernels {

inline constexpr uint32_t kEmpty = 0xFFFFFFFFu;
inline constexpr uint32_t kOtherNan = 0xFFFFFFFEu;

__device__ __forceinline__ void StoreToPeer(uint4* to, uint4 value) {
  asm volatile("st.relaxed.sys.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(value.x),
               "r"(value.y), "r"(value.z), "r"(value.w)
               : "memory");
}

// Past the L1, to the L2 where peers' stores land.
__device__ __forceinline__ uint4 LoadFromPeer(const uint4* from) {
  uint4 value;
  asm volatile("ld.relaxed.sys.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from)
               : "memory");
  return value;
}

__device__ __forceinline__ uint32_t LoadFromHost(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.relaxed.sys.global.b32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ __forceinline__ void StoreToHost(uint32_t* to, uint32_t value) {
  asm volatile("st.relaxed.sys.global.b32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

__device__ __forceinline__ bool HasArrived(uint4 value) {
  return value.x != kEmpty && value.y != kEmpty && value.z != kEmpty && value.w != kEmpty;
}

__device__ __forceinline__ uint4 WithoutEmpty(uint4 value) {
  const auto mend = [](uint32_t word) { return word == kEmpty ? kOtherNan : word; };
  return make_uint4(mend(value.x), mend(value.y), mend(value.z), mend(value.w));
}

// Of a clock that all threads of a device share; wraps around after 71 minutes.
__device__ __forceinline__ uint32_t GlobalMicroseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return static_cast<uint32_t>(now / 1000);
}

}  // namespace pingti::kernels
