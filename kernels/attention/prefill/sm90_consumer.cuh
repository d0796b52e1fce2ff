// The computing half of the sm_90a prefill kernel: a warpgroup that owns 64 query rows of a tile.
// Next: sm90_producer.cuh (the other half), sm90_kernel.cuh (the whole).
#pragma once

#include <cstdint>

#include "kernels/attention/prefill/sm90_traits.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/tma.cuh"
#include "kernels/common/wgmma_f16.cuh"

namespace pingti::kernels::prefill {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A consumer warpgroup: 64 query rows; a thread holds two of them (row and row + 8), a quad a row.
template <class Tr>
struct Sm90Consumer {
  using T = typename Tr::T;
  using Scores = WgmmaF16<T, kTileKv>;
  using Outs = WgmmaF16<T, Tr::kHeadDim>;
  // The hardware barrier on which warpgroup w waits for its turn is kFirstTurn + w; the ones after
  // them make a warpgroup meet itself.
  static constexpr int kFirstTurn = 1;
  static constexpr int kFirstSelf = kFirstTurn + Tr::kConsumers;

  const Sm90Args& args;
  Sm90Shared<Tr>& shared;
  int group;  // 0 .. kConsumers - 1
  int lane;
  int warp;  // of the warpgroup
  RingPosition k_position, v_position, work_position;
  uint32_t q_parity = 0;

  __device__ __forceinline__ void WaitTurn() { NamedBarrierSync(kFirstTurn + group, 256); }
  __device__ __forceinline__ void PassTurn() {
    NamedBarrierArrive(kFirstTurn + (group + 1) % Tr::kConsumers, 256);
  }
  __device__ __forceinline__ void Release(uint64_t* empty) {
    if (lane == 0) MbarrierArrive(empty);
  }
  // K and V stages are written by every block of the cluster, so all of them are told.
  __device__ __forceinline__ void ReleaseStage(uint64_t* empty) {
    if constexpr (Tr::kCluster > 1) {
      if (lane < Tr::kCluster) MbarrierArriveCluster(empty, lane);
    } else {
      Release(empty);
    }
  }

  // scores = q K^T of the tile in this K stage.
  __device__ __forceinline__ void MultiplyQk(float (&scores)[Tr::kScoreRegisters]) {
    const uint64_t q = MakeKMajorDescriptor128B(&shared.q[0][64 * group][0]);
    const uint64_t k = MakeKMajorDescriptor128B(shared.k[k_position.index]);
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
      const int box = step / 4;
      const int in_box = (step % 4) * 2;  // 32 bytes of a 128-byte row, in units of 16
      Scores::template Run<false>(scores, q + box * (Tr::kRows * 128 / 16) + in_box,
                                  k + box * (kTileKv * 128 / 16) + in_box, step > 0);
    }
    WgmmaCommit();
  }

  // out += P V of the tile in this V stage.
  __device__ __forceinline__ void MultiplyPv(float (&out)[Tr::kOutRegisters],
                                             const uint32_t (&p)[kTileKv / 16][4],
                                             bool accumulate) {
    const uint64_t v =
        MakeMatrixDescriptor(shared.v[v_position.index], Swizzle::k128B, kTileKv * 128, 1024);
#pragma unroll
    for (int step = 0; step < kTileKv / 16; ++step) {
      Outs::template Run<true>(out, p[step], v + step * (16 * 128 / 16), accumulate || step > 0);
    }
    WgmmaCommit();
  }

  // Sets scores outside [left, right) to -inf; the limits are of columns of this tile, a row each.
  __device__ __forceinline__ void Mask(float (&scores)[Tr::kScoreRegisters], const WorkItem& item,
                                       int tile) const {
    const int tile_first = tile * kTileKv;
    const int group_position = item.position + 64 * group;
    const int column = 2 * (lane % 4);
    const bool cut_right = tile_first + kTileKv > item.kv_len ||
                           (args.causal && tile_first + kTileKv > group_position + 1);
    if (cut_right) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int position = group_position + 16 * warp + lane / 4 + 8 * half;
        int right = item.kv_len;
        if (args.causal) right = min(right, position + 1);
        right -= tile_first + column;
#pragma unroll
        for (int j = 0; j < kTileKv / 8; ++j) {
          if (8 * j >= right) scores[4 * j + 2 * half] = -INFINITY;
          if (8 * j + 1 >= right) scores[4 * j + 2 * half + 1] = -INFINITY;
        }
      }
    }
    if (args.window > 0 && tile_first < group_position + 64 - args.window) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int position = group_position + 16 * warp + lane / 4 + 8 * half;
        const int left = position - args.window + 1 - tile_first - column;
#pragma unroll
        for (int j = 0; j < kTileKv / 8; ++j) {
          if (8 * j < left) scores[4 * j + 2 * half] = -INFINITY;
          if (8 * j + 1 < left) scores[4 * j + 2 * half + 1] = -INFINITY;
        }
      }
    }
  }

  // Turns scores into unnormalised probabilities; updates the rows' maxima and (this thread's part
  // of the) sums. `rescale` gets what earlier results must be multiplied by.
  __device__ __forceinline__ void Softmax(float (&scores)[Tr::kScoreRegisters], float (&row_max)[2],
                                          float (&row_sum)[2], float (&rescale)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = fmaxf(scores[2 * half], scores[2 * half + 1]);
#pragma unroll
      for (int j = 1; j < kTileKv / 8; ++j) {
        highest = fmaxf(highest, fmaxf(scores[4 * j + 2 * half], scores[4 * j + 2 * half + 1]));
      }
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
      highest = fmaxf(highest, row_max[half]);
      // A row that has seen no key yet: any finite offset gives zeros.
      const float offset = highest == -INFINITY ? 0.0f : highest * args.scale_log2;
      rescale[half] = Exp2(fmaf(row_max[half], args.scale_log2, -offset));
      row_max[half] = highest;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kTileKv / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[4 * j + 2 * half + e];
          score = Exp2(fmaf(score, args.scale_log2, -offset));
          sum += score;
        }
      }
      row_sum[half] = fmaf(row_sum[half], rescale[half], sum);
    }
  }

  // Keeps what `sum` was computed from above this line. The assembler would else move the
  // exponentials below the wait that follows, where no product hides them; it does not move them
  // across a vote. Sums of exponentials are never negative, so the trap is dead.
  static __device__ __forceinline__ void FinishBefore(float sum) {
    asm volatile(
        "{\n.reg .pred negative, any;\n"
        "setp.lt.f32 negative, %0, 0f00000000;\n"
        "vote.sync.any.pred any, negative, 0xffffffff;\n"
        "@any trap;\n}" ::"f"(sum)
        : "memory");
  }

  // The accumulator layout of S is the operand layout of P, pair by pair.
  __device__ __forceinline__ void Convert(uint32_t (&p)[kTileKv / 16][4],
                                          const float (&scores)[Tr::kScoreRegisters]) const {
#pragma unroll
    for (int step = 0; step < kTileKv / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[step][i] = PackPair<T>(scores[8 * step + 2 * i], scores[8 * step + 2 * i + 1]);
      }
    }
  }

  // Zeroes the rows of this V stage at or past `num_tokens`. Every warpgroup does all of it, so
  // none needs to wait for another: they write the same zeros.
  __device__ __forceinline__ void ZeroValuesFrom(int num_tokens) {
    MbarrierWait(&shared.v_full[v_position.index], v_position.parity);
    const int thread = 32 * warp + lane;
    for (int box = 0; box < Tr::kBoxes; ++box) {
      auto* rows = reinterpret_cast<uint4*>(shared.v[v_position.index][box][num_tokens]);
      for (int i = thread; i < (kTileKv - num_tokens) * 8; i += 128) rows[i] = uint4{0, 0, 0, 0};
    }
    FenceProxyAsync();
    NamedBarrierSync(kFirstSelf + group, 128);  // all zeros written before any wgmma reads them
  }

  // Divides by the row sums and writes the rows that exist.
  __device__ __forceinline__ void Store(float (&out)[Tr::kOutRegisters], float (&row_sum)[2],
                                        const Tile& work) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = row_sum[half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      inverse[half] = sum > 0 ? 1.0f / sum : 0.0f;
    }
    constexpr int kChunks = Tr::kHeadDim / 8;  // of 16 bytes
    auto* staged = reinterpret_cast<uint4*>(shared.out[4 * group + warp]);
    // Matrix i of an stmatrix.x4: rows 8 (i % 2) on, chunk 2 pair + i / 2; lane 8 i + r addresses
    // row r.
    const int row = (lane % 8) + 8 * ((lane / 8) % 2);
#pragma unroll
    for (int pair = 0; pair < kChunks / 2; ++pair) {
      const float* o = out + 8 * pair;
      const uint32_t r0 = PackPair<T>(o[0] * inverse[0], o[1] * inverse[0]);
      const uint32_t r1 = PackPair<T>(o[2] * inverse[1], o[3] * inverse[1]);
      const uint32_t r2 = PackPair<T>(o[4] * inverse[0], o[5] * inverse[0]);
      const uint32_t r3 = PackPair<T>(o[6] * inverse[1], o[7] * inverse[1]);
      const int chunk = (2 * pair + lane / 16) ^ (row % 8);
      asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                       SmemAddress(staged + row * kChunks + chunk)),
                   "r"(r0), "r"(r1), "r"(r2), "r"(r3)
                   : "memory");
    }
    __syncwarp();  // the warp's rows are staged
    const int first_row = 64 * group + 16 * warp;
    T* target = static_cast<T*>(args.out) + work.head * args.out_head_stride +
                (work.item.row_begin + first_row) * args.out_token_stride;
#pragma unroll
    for (int i = 0; i < 16 * kChunks / 32; ++i) {
      const int r = (i * 32 + lane) / kChunks;
      const int chunk = (i * 32 + lane) % kChunks;
      if (first_row + r < work.item.num_rows) {
        *reinterpret_cast<uint4*>(target + r * args.out_token_stride + chunk * 8) =
            staged[r * kChunks + (chunk ^ (r % 8))];
      }
    }
    __syncwarp();  // reads done before the next tile is staged
  }

  // All KV tiles of one work item.
  __device__ __forceinline__ void Attend(const Tile& work, float (&out)[Tr::kOutRegisters],
                                         float (&row_sum)[2]) {
    const WorkItem& item = work.item;
    float scores[Tr::kScoreRegisters];
    uint32_t p[kTileKv / 16][4];
    float row_max[2] = {-INFINITY, -INFINITY};
    float rescale[2];
    int tile = item.tile_end - 1;

    MbarrierWait(&shared.q_full, q_parity);
    MbarrierWait(&shared.k_full[k_position.index], k_position.parity);
    WgmmaFence();
    MultiplyQk(scores);
    WgmmaWait<0>();
    ReleaseStage(&shared.k_empty[k_position.index]);
    k_position.Advance(Tr::kStages);
    if (tile == item.tile_begin) Release(&shared.q_empty);
    Mask(scores, item, tile);
    Softmax(scores, row_max, row_sum, rescale);
    Convert(p, scores);
    if (item.kv_len < item.tile_end * kTileKv) ZeroValuesFrom(item.kv_len - tile * kTileKv);

    for (--tile; tile >= item.tile_begin; --tile) {
      MbarrierWait(&shared.k_full[k_position.index], k_position.parity);
      WaitTurn();
      WgmmaFence();
      MultiplyQk(scores);
      MbarrierWait(&shared.v_full[v_position.index], v_position.parity);
      MultiplyPv(out, p, true);
      PassTurn();
      WgmmaWait<1>();  // scores are there; P V goes on
      ReleaseStage(&shared.k_empty[k_position.index]);
      k_position.Advance(Tr::kStages);
      if (tile == item.tile_begin) Release(&shared.q_empty);
      Mask(scores, item, tile);
      Softmax(scores, row_max, row_sum, rescale);
      FinishBefore(row_sum[0] + row_sum[1]);
      WgmmaWait<0>();  // out and P are free
      ReleaseStage(&shared.v_empty[v_position.index]);
      v_position.Advance(Tr::kStages);
      Convert(p, scores);
#pragma unroll
      for (int i = 0; i < Tr::kOutRegisters; ++i) out[i] *= rescale[(i / 2) % 2];
    }
    MbarrierWait(&shared.v_full[v_position.index], v_position.parity);
    WgmmaFence();
    MultiplyPv(out, p, true);
    WgmmaWait<0>();
    ReleaseStage(&shared.v_empty[v_position.index]);
    v_position.Advance(Tr::kStages);
    q_parity ^= 1;
    if (lane % 4 != 0) return;  // Store adds up what the row's threads have
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      row_sum[half] += SinkPart(args.sinks, work.head, row_max[half], args.scale_log2);
    }
  }

  __device__ __forceinline__ void Run() {
    // The first turn is group 0's: the last group passes it on.
    if (group == Tr::kConsumers - 1) PassTurn();
    for (;;) {
      MbarrierWait(&shared.work_full[work_position.index], work_position.parity);
      const Tile work = shared.work[work_position.index];
      __syncwarp();  // the warp has read the slot
      Release(&shared.work_empty[work_position.index]);
      work_position.Advance(2);
      if (work.head < 0) break;
      float out[Tr::kOutRegisters] = {};
      float row_sum[2] = {};
      if (work.item.tile_begin < work.item.tile_end) Attend(work, out, row_sum);
      Store(out, row_sum, work);
    }
    // Take the turn left over, so that no barrier is abandoned half full.
    if (group == 0) WaitTurn();
  }
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels::prefill
