// Grouped GEMM on wgmma, for experts with many rows: the formula of GroupedGemmParams in moe.h.
//
//   x [rows, k], w [experts, n, k], y [rows, n] bf16, all row-major; sums in f32 (bf16) or s32.
// Mapping: the dense prefill product's (kernels/gemm/common/wgmma_tile.cuh), over the tiles of all
//   experts: persistent blocks of three or four warpgroups, in clusters of kCluster along an
//   expert's rows. Each block counts the tiles of all experts for itself, from first_row, so that
//   the launch depends on sizes alone. Tiles of one expert follow each other, its rows fastest.
//   Warpgroup 0 loads: w through the copy engine, 1/kCluster of a tile, multicast to the cluster;
//   x the same way where rows are contiguous, and by cp.async of 128 threads where x_row lists
//   them. The others own 64 rows each. A tile may end beyond its expert's rows: what is beyond is
//   not loaded in units of 64 rows (where rows are listed: of one), not multiplied in units of 64,
//   and never stored. A row's sum is added in the order of k, whichever tile it is in.
// Shared memory: kStages x (kBlockM + kBlockN) x 128 B, 3.5 KB a warp for scales, biases and
//   stores, 4 KB of lists.
// Bound: 2 rows n k operations over wgmma's rate; bytes of the experts that have rows; or the L2,
//   which gives an SM about 32 bytes a cycle: full tiles of 128 x 256 would take 48, pairs of them
//   32, tiles of 192 x 256 37.
// sm_90a only. Source: PTX ISA (wgmma, TMA, cp.async, mbarrier). Read next: launch.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cp_async.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/tma.cuh"
#include "kernels/gemm/common/wgmma_tile.cuh"
#include "kernels/gemm/int8/epilogue.cuh"
#include "kernels/moe/grouped_gemm/tile/launch.h"

namespace pingti::kernels {

// kGathers: rows of x are listed by x_row.
template <typename T, int kBlockM_, int kBlockN_, int kCluster_, bool kGathers_>
struct GroupedGemmTileTraits {
  using Element = T;
  using Sum = std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float>;
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  // An instruction's sums have to fit into the registers that every thread begins with.
  static constexpr int kInstructionN = kBlockM == 192 ? 128 : kBlockN;
  static constexpr int kBlockK = 128;  // bytes: one swizzle row
  static constexpr int kStepElements = kBlockK / sizeof(T);
  static constexpr int kStages = kBlockM == 192 ? 3 : 4;
  static constexpr int kCluster = kCluster_;
  static constexpr bool kGathers = kGathers_;
  static constexpr bool kThreadsCopy = kGathers;
  static constexpr int kConsumers = kBlockM / 64;  // warpgroups
  static constexpr int kThreads = 128 * (1 + kConsumers);
  // Of the 512 that a lane of each warpgroup has together.
  static constexpr int kLoaderRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : 160;

  static constexpr int kABytes = kBlockM * kBlockK;
  static constexpr int kWBytes = kBlockN * kBlockK;
  static constexpr int kStageBytes = kABytes + kWBytes;
  static constexpr int kStoreN = 64;                    // columns a warp stages at once
  static constexpr int kStoreBytes = 16 * kStoreN * 2;  // of a warp
  static constexpr int kBufferBytes = 4 * kConsumers * (kStoreBytes + 6 * kBlockN);
  static constexpr int kListBytes = (2 * kMaxExperts + 1) * 4;
  static constexpr int kSharedBytes =
      1024 + kStages * (kStageBytes + 16) + kBufferBytes + kListBytes;

  static_assert(kConsumers == 2 || kConsumers == 3);
  static_assert(kBlockN % kStoreN == 0);
  static_assert(kCluster == 1 || kCluster == 2);
  static_assert(kSharedBytes <= 232448, "227 KB is what a block may have");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A tile of a cluster: rows [row0, end) of the expert, of which it has as many as fit.
struct ExpertTile {
  int expert;
  int row0;
  int end;
  int n_tile;
};

// Every tile of every expert, in the order in which blocks take them.
template <typename Traits>
struct ExpertWalk {
  static constexpr int kRows = Traits::kBlockM * Traits::kCluster;
  // Rows of tiles before the walk moves along n: as many as a dense product's widest groups.
  static constexpr int kGroupM = 16 / Traits::kCluster;

  int num_experts;
  int n_tiles;
  int* first_row;  // shared, [num_experts + 1]
  int* tile_end;   // shared, [num_experts]: tiles of the expert and of those before it

  // Fills the lists. All threads of the block call it.
  __device__ __forceinline__ void List(const int32_t* rows) const {
    for (int i = threadIdx.x; i <= num_experts; i += Traits::kThreads) first_row[i] = rows[i];
    __syncthreads();
    if (threadIdx.x < 32) {
      const int each = (num_experts + 31) / 32;
      const int begin = min(num_experts, static_cast<int>(threadIdx.x) * each);
      const int end = min(num_experts, begin + each);
      int own = 0;
      for (int e = begin; e < end; ++e) own += Tiles(e);
      int before = own;  // of this lane and all before it
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int lower = __shfl_up_sync(0xffffffffu, before, step);
        if (static_cast<int>(threadIdx.x) >= step) before += lower;
      }
      before -= own;
      for (int e = begin; e < end; ++e) {
        before += Tiles(e);
        tile_end[e] = before;
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ int num_tiles() const { return tile_end[num_experts - 1]; }

  // Tile `index`, below num_tiles(). All lanes of a warp call it.
  __device__ __forceinline__ ExpertTile At(int index) const {
    const int lane = threadIdx.x % 32;
    ExpertTile tile;
    tile.expert = 0;
    for (int base = 0; base < num_experts; base += 32) {
      const bool is_before = base + lane < num_experts && tile_end[base + lane] <= index;
      tile.expert += __popc(__ballot_sync(0xffffffffu, is_before));
    }
    const int before = tile.expert == 0 ? 0 : tile_end[tile.expert - 1];
    const TileWalk walk = {RowTiles(tile.expert), n_tiles, kGroupM};
    int m_tile;
    walk.At(index - before, &m_tile, &tile.n_tile);
    tile.row0 = first_row[tile.expert] + m_tile * kRows;
    tile.end = first_row[tile.expert + 1];
    return tile;
  }

 private:
  __device__ __forceinline__ int RowTiles(int expert) const {
    return (first_row[expert + 1] - first_row[expert] + kRows - 1) / kRows;
  }
  __device__ __forceinline__ int Tiles(int expert) const { return RowTiles(expert) * n_tiles; }
};

// The rows of x that a thread of the loading warpgroup copies, one 16-byte column of every 16th.
template <typename Traits>
struct GatheredRows {
  static constexpr int kVector = 16 / sizeof(typename Traits::Element);
  static constexpr int kCopies = Traits::kBlockM / 16;
  static constexpr uint32_t kNone = 0xffffffffu;

  uint32_t vector_of[kCopies];  // of x, at k = 0

  __device__ __forceinline__ GatheredRows(const GroupedGemmParams& p, int row0, int end) {
    const int first = row0 + threadIdx.x / 8;
    const auto stride = static_cast<uint32_t>(p.x_stride / kVector);
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int row = first + 16 * i;
      vector_of[i] =
          row < end ? static_cast<uint32_t>(p.x_row[row]) * stride + threadIdx.x % 8 : kNone;
    }
  }

  // Copies 128 bytes of k of each into the stage's tile `a`; zeros beyond k.
  __device__ __forceinline__ void Copy(const GroupedGemmParams& p, int kb, uint8_t* a) const {
    const int row = threadIdx.x / 8;
    const int column = threadIdx.x % 8;
    const auto* x = static_cast<const uint4*>(p.x);
    const bool inside = kb * Traits::kStepElements + kVector * column < p.k;
    uint8_t* to = a + row * Traits::kBlockK + 16 * (column ^ row % 8);
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      if (vector_of[i] == kNone) continue;
      CpAsync16(to + 16 * i * Traits::kBlockK, inside ? x + vector_of[i] + 8 * kb : x, inside);
    }
  }
};

// The loaders' whole life: they fill stage after stage, for every tile of this block. All threads
// of the warpgroup where they gather, otherwise its first warp.
template <typename Traits>
__device__ __forceinline__ void LoadExpertTiles(const GroupedGemmTileArgs& args,
                                                const ExpertWalk<Traits>& walk, uint32_t rank,
                                                uint8_t* stages, uint64_t* full, uint64_t* empty) {
  constexpr int kPart = Traits::kBlockN / Traits::kCluster;  // of a tile's columns
  constexpr int kPartBytes = 64 * Traits::kBlockK;
  const GroupedGemmParams& p = args.product;
  const uint64_t policy = L2EvictNormal();
  const int k_blocks = (p.k + Traits::kStepElements - 1) / Traits::kStepElements;
  const auto load = [&](const ExpertTile& tile, int row0, int kb, int stage) {
    uint8_t* a = stages + stage * Traits::kStageBytes;
    uint8_t* w = a + Traits::kABytes + rank * kPart * Traits::kBlockK;
    const int k0 = kb * Traits::kStepElements;
    const int col0 = tile.n_tile * Traits::kBlockN + static_cast<int>(rank) * kPart;
    const int parts =
        Traits::kGathers ? 0 : min(Traits::kConsumers, max(0, (tile.end - row0 + 63) / 64));
    MbarrierArriveExpectBytes(&full[stage], Traits::kWBytes + parts * kPartBytes);
    if constexpr (Traits::kCluster > 1) {
      TmaLoad3dMulticast(w, &args.map_w, &full[stage], k0, col0, tile.expert,
                         (1 << Traits::kCluster) - 1, policy);
    } else {
      TmaLoad3d(w, &args.map_w, &full[stage], k0, col0, tile.expert, policy);
    }
    for (int i = 0; i < parts; ++i) {
      TmaLoad2d(a + i * kPartBytes, &args.map_x, &full[stage], k0, row0 + 64 * i, policy);
    }
  };
  RingPlace<Traits::kStages> place = {0, 1};
  for (int index = blockIdx.x / Traits::kCluster; index < walk.num_tiles();
       index += gridDim.x / Traits::kCluster) {
    const ExpertTile tile = walk.At(index);
    const int row0 = tile.row0 + static_cast<int>(rank) * Traits::kBlockM;
    if constexpr (Traits::kGathers) {
      const GatheredRows<Traits> rows(p, row0, tile.end);
      for (int kb = 0; kb < k_blocks; ++kb, place.Advance()) {
        MbarrierWait(&empty[place.stage], place.parity);
        if (threadIdx.x == 0) load(tile, row0, kb, place.stage);
        rows.Copy(p, kb, stages + place.stage * Traits::kStageBytes);
        CpAsyncArrive(&full[place.stage]);
      }
    } else if (threadIdx.x == 0) {
      for (int kb = 0; kb < k_blocks; ++kb, place.Advance()) {
        MbarrierWait(&empty[place.stage], place.parity);
        load(tile, row0, kb, place.stage);
      }
    }
    __syncwarp();
  }
  if (threadIdx.x == 0) DrainStages<Traits>(empty, &place);
}

// A warp's own shared memory: rows that it is about to store, then what its tile's columns have.
template <typename Traits>
struct WarpBuffer {
  uint8_t rows[Traits::kStoreBytes];
  float scale[Traits::kBlockN];  // int8 alone
  __nv_bfloat16 bias[Traits::kBlockN];

  // Starts to copy the tile's columns; zeros where there are none. All lanes.
  __device__ __forceinline__ void CopyColumns(const GroupedGemmParams& p, const ExpertTile& tile) {
    const int lane = threadIdx.x % 32;
    const int64_t expert_col = int64_t{tile.expert} * p.n;
    const auto copy = [&](auto* to, const auto* from) {
      constexpr int kVector = 16 / sizeof(*from);
#pragma unroll
      for (int i = kVector * lane; i < Traits::kBlockN; i += 32 * kVector) {
        const int col = tile.n_tile * Traits::kBlockN + i;  // n is a multiple of 8
        const bool is_there = from != nullptr && col < p.n;
        CpAsync16(to + i, is_there ? static_cast<const void*>(from + expert_col + col) : p.w,
                  is_there);
      }
    };
    if constexpr (std::is_same_v<typename Traits::Element, int8_t>) copy(scale, p.w_scale);
    copy(bias, p.bias);
    CpAsyncCommit();
  }
};

// A warp's epilogue of its 16 rows from row0 on: scales, bias, bf16, and out through its buffer in
// rows of 128 bytes. Rows from tile.end on are left alone.
template <typename Traits>
__device__ __forceinline__ void StoreExpertTile(
    const typename Traits::Sum (&acc)[Traits::kBlockN / 2], const GroupedGemmParams& p,
    const ExpertTile& tile, int row0, const float (&x_scale)[2], WarpBuffer<Traits>* buffer) {
  const int lane = threadIdx.x % 32;
  CpAsyncWait<0>();  // the tile's columns
#pragma unroll
  for (int chunk = 0; chunk < Traits::kBlockN / Traits::kStoreN; ++chunk) {
    const int chunk_col = chunk * Traits::kStoreN;
    const int col0 = tile.n_tile * Traits::kBlockN + chunk_col;
    if (col0 >= p.n) break;
    __syncwarp();  // all lanes' columns have landed, and the chunk before has been read
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      uint32_t packed[4];
#pragma unroll
      for (int h = 0; h < 4; ++h) {  // h = 2 * (which 8 columns) + (which 8 rows)
        const int col = chunk_col + 8 * (j + h / 2) + 2 * (lane % 4);
        const int i = (chunk_col / 8 + j + h / 2) * 4 + 2 * (h % 2);
        const float2 bias = LoadBf16Pair(buffer->bias + col);
        if constexpr (std::is_same_v<typename Traits::Element, int8_t>) {
          const float2 scale = *reinterpret_cast<const float2*>(buffer->scale + col);
          packed[h] = ScalePair(acc[i], acc[i + 1], x_scale[h % 2], scale, bias);
        } else {
          packed[h] = PackPair<__nv_bfloat16>(acc[i] + bias.x, acc[i + 1] + bias.y);
        }
      }
      // Lane l addresses row l % 16, 16-byte column j + l / 16, swizzled against bank conflicts.
      StoreMatrix4(buffer->rows + lane % 16 * 128 + 16 * ((j + lane / 16) ^ lane % 8), packed[0],
                   packed[1], packed[2], packed[3]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 4 * i + lane / 8;
      const int column = lane % 8;
      const uint4 vector =
          *reinterpret_cast<const uint4*>(buffer->rows + row * 128 + 16 * (column ^ row % 8));
      const int col = col0 + 8 * column;  // n is a multiple of 8
      if (row0 + row < tile.end && col < p.n) {
        *reinterpret_cast<uint4*>(p.y + (row0 + row) * p.y_stride + col) = vector;
      }
    }
  }
}

// A consumer warpgroup's whole life.
template <typename Traits>
__device__ __forceinline__ void MultiplyExpertTiles(const GroupedGemmParams& p,
                                                    const ExpertWalk<Traits>& walk, int warpgroup,
                                                    uint32_t rank, uint8_t* stages,
                                                    uint8_t* buffers, uint64_t* full,
                                                    uint64_t* empty) {
  const int warp = threadIdx.x % 128 / 32;
  const int lane = threadIdx.x % 32;
  const int k_blocks = (p.k + Traits::kStepElements - 1) / Traits::kStepElements;
  auto* const buffer = reinterpret_cast<WarpBuffer<Traits>*>(buffers) + 4 * warpgroup + warp;
  RingPlace<Traits::kStages> place = {0, 0};
  for (int index = blockIdx.x / Traits::kCluster; index < walk.num_tiles();
       index += gridDim.x / Traits::kCluster) {
    const ExpertTile tile = walk.At(index);
    const int first = tile.row0 + static_cast<int>(rank) * Traits::kBlockM + 64 * warpgroup;
    if (first >= tile.end) {
      SkipTile<Traits>(k_blocks, full, empty, &place);
      continue;
    }
    const int row0 = first + 16 * warp;  // of the warp
    float x_scale[2] = {};
    if constexpr (std::is_same_v<typename Traits::Element, int8_t>) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = row0 + lane / 4 + 8 * half;
        if (row < tile.end) x_scale[half] = p.x_scale[Traits::kGathers ? p.x_row[row] : row];
      }
    }
    if (row0 < tile.end) buffer->CopyColumns(p, tile);
    typename Traits::Sum acc[Traits::kBlockN / 2];
    MultiplyTile<Traits>(acc, k_blocks, warpgroup, stages, full, empty, &place);
    if (row0 < tile.end) StoreExpertTile<Traits>(acc, p, tile, row0, x_scale, buffer);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    GroupedGemmTileKernel(const __grid_constant__ GroupedGemmTileArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t shared[];
  uint8_t* stages = shared + (1024 - SmemAddress(shared) % 1024) % 1024;
  uint8_t* buffers = stages + Traits::kStages * Traits::kStageBytes;
  uint64_t* full = reinterpret_cast<uint64_t*>(buffers + Traits::kBufferBytes);
  uint64_t* empty = full + Traits::kStages;
  int* lists = reinterpret_cast<int*>(empty + Traits::kStages);

  if (threadIdx.x == 0) {
    TmaPrefetchDescriptor(&args.map_w);
    if constexpr (!Traits::kGathers) TmaPrefetchDescriptor(&args.map_x);
    for (int i = 0; i < Traits::kStages; ++i) {
      MbarrierInit(&full[i], Traits::kGathers ? 1 + 128 : 1);
      MbarrierInit(&empty[i], 4 * Traits::kConsumers * Traits::kCluster);  // consumer warps
    }
    MbarrierInitFence();
  }
  if constexpr (Traits::kCluster > 1) ClusterSync();
  LetNextKernelStart();
  WaitForPriorKernels();
  const ExpertWalk<Traits> walk = {args.product.num_experts,
                                   (args.product.n + Traits::kBlockN - 1) / Traits::kBlockN,
                                   lists + kMaxExperts, lists};
  walk.List(args.product.first_row);

  const uint32_t rank = Traits::kCluster > 1 ? ClusterRank() : 0;
  const int role = threadIdx.x / 128;
  if (role == 0) {
    DecreaseRegisters<Traits::kLoaderRegisters>();
    if (Traits::kGathers || threadIdx.x < 32) {
      LoadExpertTiles<Traits>(args, walk, rank, stages, full, empty);
    }
  } else {
    IncreaseRegisters<Traits::kConsumerRegisters>();
    MultiplyExpertTiles<Traits>(args.product, walk, role - 1, rank, stages, buffers, full, empty);
  }
#endif
}

}  // namespace pingti::kernels
