// Checks the parameters of latent attention and launches its plans and kernels. Host code only.

#include <algorithm>
#include <bit>

#include "kernels/attention/decode/launch.h"
#include "kernels/attention/latent/launch.h"

namespace pingti::kernels {
namespace {

using latent::DecodeGrid;

bool ValidTensors(const LatentTensors& t) {
  const PagedKv& kv = t.kv;
  const bool power_of_two = std::has_single_bit(static_cast<uint32_t>(kv.page_tokens));
  return (kv.dtype != DType::kI8 || HasDenseLatents(kv)) && IsPresent(t.q) && IsPresent(t.out) &&
         t.num_rows > 0 && t.softmax_scale > 0.0f &&
         (t.q_token_stride | t.q_head_stride | t.out_token_stride | t.out_head_stride) % 8 == 0 &&
         kv.num_kv_heads == 1 && kv.num_pages > 0 && power_of_two && kv.page_tokens >= 16 &&
         kv.page_tokens <= 256 && IsPresent(kv.k) && IsPresent(kv.block_table, 4) &&
         (kv.token_stride | kv.head_stride | kv.page_stride) % 8 == 0;
}

bool ValidHeads(int num_heads) { return num_heads >= 1 && num_heads <= kMaxLatentHeads; }

cudaError_t CheckTensors(const LatentTensors& tensors, const DeviceTraits& device) {
  const DType dtype = tensors.kv.dtype;
  if (device.compute_capability != 90 || (dtype != DType::kBf16 && dtype != DType::kI8) ||
      tensors.kv.head_dim != kLatentKeyDim) {
    return cudaErrorNotSupported;
  }
  return ValidTensors(tensors) ? cudaSuccess : cudaErrorInvalidValue;
}

bool ValidShape(const LatentDecodeShape& shape) {
  return shape.num_seqs >= 0 && shape.num_seqs <= kMaxLatentDecodeSeqs &&
         ValidHeads(shape.num_heads) && shape.max_q_len >= 1 &&
         shape.max_q_len <= kMaxLatentDecodeTokens;
}

cudaError_t ReadGrid(const LatentDecodeShape& shape, DecodeGrid* grid) {
  if (!ValidShape(shape)) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  *grid = latent::MakeDecodeGrid(shape.num_heads, shape.max_q_len, device.num_sms);
  return cudaSuccess;
}

// Everything but where partial results go.
latent::Args MakeArgs(const LatentTensors& t) {
  latent::Args args{};
  args.q = static_cast<const latent::T*>(t.q);
  args.q_token_stride = t.q_token_stride;
  args.q_head_stride = t.q_head_stride;
  args.out = static_cast<latent::T*>(t.out);
  args.out_token_stride = t.out_token_stride;
  args.out_head_stride = t.out_head_stride;
  args.num_heads = t.num_heads;
  args.block_table = t.kv.block_table;
  args.block_table_stride = t.kv.block_table_stride;
  args.page_shift = std::countr_zero(static_cast<uint32_t>(t.kv.page_tokens));
  args.box_tokens = std::min(t.kv.page_tokens, latent::kTileTokens);
  args.scale_log2 = t.softmax_scale * 1.4426950408889634f;
  args.latents = static_cast<const uint8_t*>(t.kv.k);
  return args;
}

// The instance for the latents' type.
template <class Source>
cudaError_t Launch(const LatentTensors& tensors, const latent::Args& args,
                   const typename Source::Args& source, int num_blocks, int blocks_per_worker,
                   cudaStream_t stream) {
  const auto launch = tensors.kv.dtype == DType::kI8 ? latent::LaunchInstance<Source, true>
                                                     : latent::LaunchInstance<Source, false>;
  return launch(tensors, args, source, num_blocks, blocks_per_worker, stream);
}

// The plan's view of a step: a "KV head" is a group of tiles of rows.
DecodeShape PlanShape(const LatentDecodeShape& shape, const DecodeGrid& grid) {
  DecodeShape plan;
  plan.num_seqs = shape.num_seqs;
  plan.num_q_heads = plan.num_kv_heads = grid.groups;
  plan.max_q_len = shape.max_q_len;
  plan.kv_lens = shape.kv_lens;
  plan.q_starts = shape.q_starts;
  return plan;
}

int64_t MaxPrefillItems(int32_t num_rows, int32_t num_seqs, int tile_tokens) {
  return num_rows / tile_tokens + num_seqs;
}

bool ValidPrefill(const LatentPrefillParams& params) {
  return params.num_seqs >= 0 && params.num_seqs <= kMaxLatentPrefillSeqs &&
         params.tensors.num_rows >= 0 && ValidHeads(params.tensors.num_heads);
}

// Of a batch that has work.
bool HasPrefillBuffers(const LatentPrefillParams& params) {
  return params.q_start != nullptr && params.kv_len != nullptr && IsPresent(params.workspace, 32) &&
         params.workspace_bytes >=
             LatentPrefillWorkspaceBytes(params.tensors.num_rows, params.num_seqs);
}

}  // namespace

cudaError_t LatentDecodePlanBytes(const LatentDecodeShape& shape, size_t* bytes) {
  if (!ValidShape(shape) || bytes == nullptr) return cudaErrorInvalidValue;
  // Fewer query tokens than the most may make one worker of each block, and so more of them.
  *bytes = 0;
  for (int q_len = 1; q_len <= shape.max_q_len; ++q_len) {
    LatentDecodeShape shorter = shape;
    shorter.max_q_len = q_len;
    DecodeGrid grid;
    PINGTI_CUDA_RETURN(ReadGrid(shorter, &grid));
    const decode::PlanLayout layout{shape.num_seqs, grid.num_workers};
    *bytes = std::max(*bytes, static_cast<size_t>(layout.Size(grid.groups)) * sizeof(int32_t));
  }
  return cudaSuccess;
}

cudaError_t LatentDecodeWorkspaceBytes(const LatentDecodeShape& shape, size_t* bytes) {
  if (!ValidShape(shape) || bytes == nullptr) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  // A tile of rows per block, twice, whether or not two blocks are a worker.
  *bytes = 2 * static_cast<size_t>(device.num_sms) *
           decode::PartialFloats(latent::kTileRows, kLatentValueDim) * sizeof(float);
  return cudaSuccess;
}

cudaError_t LaunchLatentDecodePlan(const LatentDecodeShape& shape, void* plan,
                                   cudaStream_t stream) {
  DecodeGrid grid;
  PINGTI_CUDA_RETURN(ReadGrid(shape, &grid));
  return decode::LaunchPlan(PlanShape(shape, grid), grid.num_workers, plan, stream);
}

cudaError_t LaunchLatentDecode(const LatentDecodeParams& params, cudaStream_t stream) {
  const LatentDecodeShape& shape = params.shape;
  DecodeGrid grid;
  PINGTI_CUDA_RETURN(ReadGrid(shape, &grid));
  if (shape.num_seqs == 0) return cudaSuccess;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  PINGTI_CUDA_RETURN(CheckTensors(params.tensors, device));
  if (!IsPresent(params.plan, 32) || !IsPresent(params.workspace) || shape.kv_lens == nullptr ||
      shape.num_heads != params.tensors.num_heads) {
    return cudaErrorInvalidValue;
  }
  const auto* plan = static_cast<const int32_t*>(params.plan);
  const decode::PlanLayout layout{shape.num_seqs, grid.num_workers};
  latent::Args args = MakeArgs(params.tensors);
  args.partials = static_cast<float*>(params.workspace);
  args.partial_rows = grid.rows();
  const latent::DecodeArgs source{
      {static_cast<const decode::WorkerStart*>(params.plan), plan + layout.TileStart(),
       shape.kv_lens, shape.q_starts, grid.groups, shape.max_q_len, 0},
      grid.packing,
      grid.blocks_per_worker};
  PINGTI_CUDA_RETURN(Launch<latent::DecodeSource>(params.tensors, args, source,
                                                  grid.num_workers * grid.blocks_per_worker,
                                                  grid.blocks_per_worker, stream));
  return latent::LaunchCombine(args, source, grid, shape.num_seqs, stream);
}

// Tiles of the fewest query tokens, so that it fits any number of heads.
size_t LatentPrefillWorkspaceBytes(int32_t num_rows, int32_t num_seqs) {
  return sizeof(prefill::PlanHeader) +
         MaxPrefillItems(num_rows, num_seqs, 1) * sizeof(prefill::WorkItem);
}

cudaError_t LaunchLatentPrefillPlan(const LatentPrefillParams& params, cudaStream_t stream) {
  if (!ValidPrefill(params)) return cudaErrorInvalidValue;
  if (params.num_seqs == 0 || params.tensors.num_rows == 0) return cudaSuccess;
  if (!HasPrefillBuffers(params)) return cudaErrorInvalidValue;
  const latent::RowPacking packing = latent::PackRows(params.tensors.num_heads);
  prefill::PlanArgs args{};
  args.q_start = params.q_start;
  args.kv_len = params.kv_len;
  args.num_seqs = params.num_seqs;
  args.num_kv_heads = packing.head_tiles;
  args.tile_rows = packing.tokens;
  args.max_items =
      static_cast<int>(MaxPrefillItems(params.tensors.num_rows, params.num_seqs, packing.tokens));
  args.causal = true;
  args.header = static_cast<prefill::PlanHeader*>(params.workspace);
  args.items = const_cast<prefill::WorkItem*>(prefill::Items(params.workspace));
  return prefill::LaunchPlan(args, stream);
}

cudaError_t LaunchLatentPrefill(const LatentPrefillParams& params, cudaStream_t stream) {
  if (!ValidPrefill(params)) return cudaErrorInvalidValue;
  if (params.num_seqs == 0 || params.tensors.num_rows == 0) return cudaSuccess;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  PINGTI_CUDA_RETURN(CheckTensors(params.tensors, device));
  if (!HasPrefillBuffers(params)) return cudaErrorInvalidValue;
  const latent::PrefillArgs source{static_cast<prefill::PlanHeader*>(params.workspace),
                                   prefill::Items(params.workspace),
                                   latent::PackRows(params.tensors.num_heads)};
  return Launch<latent::PrefillSource>(params.tensors, MakeArgs(params.tensors), source,
                                       device.num_sms, 2, stream);
}

}  // namespace pingti::kernels
