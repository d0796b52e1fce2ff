// What turns latents in int8 into the tiles of bf16 that the products read: three warps beside the
// one that loads (producer.cuh). Next: consumer.cuh.
#pragma once

#include <cstdint>

#include "kernels/attention/latent/traits.cuh"
#include "kernels/common/tma.cuh"

namespace pingti::kernels::latent {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Two int8 in the low bytes of either half of `magic`, which is 0x43 in the high ones, times
// `scale` in both halves; rounded once. 0x4300 | low seven bits is 128 plus them, 0x4300 | sign bit
// is 128 or 256, and their difference, the value, is exact in bf16.
__device__ __forceinline__ uint32_t ScalePair(uint32_t magic, __nv_bfloat162 scale) {
  const uint32_t low = magic & 0xFF7FFF7F;
  const uint32_t sign = magic & 0xFF80FF80;
  const __nv_bfloat162 value = __hmul2(__hsub2(reinterpret_cast<const __nv_bfloat162&>(low),
                                               reinterpret_cast<const __nv_bfloat162&>(sign)),
                                       scale);
  return reinterpret_cast<const uint32_t&>(value);
}

// Four int8 times scale.
__device__ __forceinline__ uint2 ScaleFour(uint32_t bytes, __nv_bfloat162 scale) {
  constexpr uint32_t kMagic = 0x43434343;
  return {ScalePair(__byte_perm(bytes, kMagic, 0x4140), scale),
          ScalePair(__byte_perm(bytes, kMagic, 0x4342), scale)};
}

// A tile's half of the values is 16 units of four tokens. Warp w of the three converts units w,
// w + 3, ..., each two loads of 16 bytes per lane: lane 8 b + 2 t + c has, of box b of the half and
// token t of the unit, the elements from 16 c and from 32 + 16 c on. Loads run kAhead units ahead
// of the conversion, within the work, into registers: there is no shared memory left for bytes.
// What they read has been brought to L2 (Producer::Prefetch).
struct Converter {
  static constexpr int kUnits = kTileTokens / 4;
  static constexpr int kRounds = (kUnits + kConverterWarps - 1) / kConverterWarps;
  static constexpr int kAhead = 3;
  static_assert(kRounds % kAhead == 0, "a place among the loads is a number of the round");
  static_assert(kLatentScaleGroup == kBoxDims, "a box has one scale");

  // Of one unit.
  struct Bytes {
    uint4 values[2];
    uint16_t scale;
  };

  const Args& args;
  Shared& shared;
  int lane;
  int warp;               // of the three
  uint32_t parities = 0;  // of the tiles in each stage so far, a bit each
  uint32_t work_count = 0;

  // Token of the tile that this lane has in a round; past the tile in rounds that are none. With
  // tokens 0, 1, 4 and 5 or 2, 3, 6 and 7 of eight in a unit, eight lanes write to all banks.
  __device__ __forceinline__ int Token(int round) const {
    const int unit = kConverterWarps * round + warp;
    return unit / 2 * 8 + unit % 2 * 2 + lane / 2 % 2 + lane / 4 % 2 * 4;
  }

  // In lane i the i-th page of a tile; past the sequence's end any.
  __device__ __forceinline__ int32_t LookUpPage(const Work& work, int tile) const {
    const int in_tile = lane * args.box_tokens;
    const int token = tile * kTileTokens + in_tile;
    if (in_tile >= kTileTokens || token >= work.kv_end) return 0;
    return __ldg(args.block_table + work.seq * args.block_table_stride +
                 (token >> args.page_shift));
  }

  // Loads what a round of a half of `tile` converts; zeros past the sequence's end. `pages`: as
  // LookUpPage returns them.
  __device__ __forceinline__ void Load(const Work& work, int tile, int half, int round,
                                       int32_t pages, Bytes& bytes) const {
    const int in_tile = Token(round);
    const int32_t page = __shfl_sync(~0u, pages, in_tile >> min(args.page_shift, kTileShift));
    const int token = tile * kTileTokens + in_tile;
    bytes = Bytes{};
    if (in_tile >= kTileTokens || token >= work.kv_end) return;
    const int page_tokens = 1 << args.page_shift;
    const int in_page = token & (page_tokens - 1);
    const uint8_t* at =
        args.latents + static_cast<int64_t>(page << args.page_shift) * kLatentInt8Bytes;
    const int box = half * kHalfBoxes + lane / 8;
    const uint8_t* row = at + in_page * kLatentInt8RowBytes + box * kBoxDims + lane % 2 * 16;
    LoadOnce(row, bytes.values[0]);
    LoadOnce(row + 32, bytes.values[1]);
    bytes.scale = __ldg(reinterpret_cast<const uint16_t*>(at + page_tokens * kLatentInt8RowBytes) +
                        in_page * kLatentScales + box);
  }
  static __device__ __forceinline__ void LoadOnce(const uint8_t* from, uint4& to) {
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
                 : "l"(from));
  }

  // Writes what a round has loaded to its place, which TMA's swizzle would give it.
  __device__ __forceinline__ void Convert(int stage, int half, int round,
                                          const Bytes& bytes) const {
    const int token = Token(round);
    if (token >= kTileTokens) return;
    const __nv_bfloat162 scale = __bfloat162bfloat162(__ushort_as_bfloat16(bytes.scale));
    auto* chunks = reinterpret_cast<uint4*>(shared.kv[stage][half * kHalfBoxes + lane / 8][token]);
    const int first = (lane % 2 * 2) ^ (token % 8);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint2 a = ScaleFour(bytes.values[i].x, scale);
      const uint2 b = ScaleFour(bytes.values[i].y, scale);
      const uint2 c = ScaleFour(bytes.values[i].z, scale);
      const uint2 d = ScaleFour(bytes.values[i].w, scale);
      chunks[first ^ (4 * i)] = uint4{a.x, a.y, b.x, b.y};
      chunks[first ^ (4 * i + 1)] = uint4{c.x, c.y, d.x, d.y};
    }
  }

  // Halves of a work's tiles, in the order in which the tile before is done with: first that of the
  // stage's owner.
  __device__ __forceinline__ void ConvertAll(const Work& work) {
    const int num_halves = 2 * (work.tile_end - work.tile_begin);
    int32_t pages = LookUpPage(work, work.tile_begin);
    Bytes bytes[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      Load(work, work.tile_begin, 0, i, pages, bytes[i]);
    }
#pragma unroll 1
    for (int h = 0; h < num_halves; ++h) {
      const int stage = h / 2 % kStages;
      const int half = stage ^ (h % 2);
      const int next_tile = work.tile_begin + (h + 1) / 2;
      const int next_half = (h + 1) / 2 % kStages ^ ((h + 1) % 2);
      const int32_t next_pages = h % 2 == 0 ? pages : LookUpPage(work, next_tile);
      MbarrierWait(&shared.half_empty[stage][half], (parities >> stage & 1) ^ 1);
#pragma unroll 1
      for (int first = 0; first < kRounds; first += kAhead) {
        const bool same = first + kAhead < kRounds;
        const int load_tile = same ? work.tile_begin + h / 2 : next_tile;
        const int load_half = same ? half : next_half;
        const int load_first = same ? first + kAhead : 0;
        const int32_t load_pages = same ? pages : next_pages;
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          Convert(stage, half, first + i, bytes[i]);
          Load(work, load_tile, load_half, load_first + i, load_pages, bytes[i]);
        }
      }
      FenceProxyAsync();  // what is written, before products read it
      __syncwarp();
      if (lane == 0) MbarrierArrive(&shared.full[stage][half * kHalfBoxes]);
      if (h % 2 == 1) parities ^= 1u << stage;
      pages = next_pages;
    }
  }

  __device__ __forceinline__ void Run() {
    for (;; ++work_count) {
      const uint32_t slot = work_count % 2;
      MbarrierWait(&shared.work_full[slot], work_count / 2 % 2);
      Work work = shared.work[slot];
      if (work.seq < 0) break;
      work.kv_end = min(work.kv_end, work.tile_end * kTileTokens);  // no loads behind the work
      if (work.tile_begin < work.tile_end) ConvertAll(work);
      __syncwarp();  // the warp has read the work
      if (lane == 0) MbarrierArrive(&shared.work_empty[slot]);
    }
  }
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels::latent
