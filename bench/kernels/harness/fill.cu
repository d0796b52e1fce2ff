#include "bench/kernels/harness/fill.h"

namespace pingti::kernels::bench {
namespace {

__device__ uint32_t Hash(uint32_t seed, size_t index) {
  uint64_t z = (static_cast<uint64_t>(seed) << 40) + index * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return static_cast<uint32_t>(z >> 32);
}

struct ToS8 {
  __device__ int8_t operator()(uint32_t bits) const {
    return static_cast<int8_t>(static_cast<int>(__umulhi(bits, 255)) - 127);
  }
};
struct ToByte {
  __device__ uint8_t operator()(uint32_t bits) const { return static_cast<uint8_t>(bits >> 24); }
};
struct ToF32 {
  float low, range;
  __device__ float operator()(uint32_t bits) const { return low + range * (bits * 0x1p-32f); }
};
struct ToBf16 {
  float low, range;
  __device__ __nv_bfloat16 operator()(uint32_t bits) const {
    return __float2bfloat16_rn(low + range * (bits * 0x1p-32f));
  }
};

template <typename T, typename Convert>
__global__ void FillKernel(T* data, size_t size, uint32_t seed, Convert convert) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += step) {
    data[i] = convert(Hash(seed, i));
  }
}

template <typename T, typename Convert>
cudaError_t Fill(T* data, size_t size, uint32_t seed, Convert convert) {
  if (size == 0) return cudaSuccess;
  FillKernel<<<2048, 256>>>(data, size, seed, convert);
  return cudaGetLastError();
}

}  // namespace

cudaError_t FillS8(int8_t* data, size_t size, uint32_t seed) {
  return Fill(data, size, seed, ToS8{});
}
cudaError_t FillBits(void* data, size_t bytes, uint32_t seed) {
  return Fill(static_cast<uint8_t*>(data), bytes, seed, ToByte{});
}
cudaError_t FillF32(float* data, size_t size, float low, float high, uint32_t seed) {
  return Fill(data, size, seed, ToF32{low, high - low});
}
cudaError_t FillBf16(__nv_bfloat16* data, size_t size, float low, float high, uint32_t seed) {
  return Fill(data, size, seed, ToBf16{low, high - low});
}

}  // namespace pingti::kernels::bench
