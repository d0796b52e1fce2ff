// The arrays of one step on the device: token ids, lengths, cache slots, rotations, block table.
//
// Owns their device memory and two page-locked copies, so that the next step can be written while
// the last one's copy is on its way. Small steps (a decode step is one) have an area of their own
// whose addresses never change, for graphs, and go over in one copy. Confined to the engine thread.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "pingti/kernels/lora.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"

namespace pingti::worker::cuda {

// Device memory; what pads the step included: such sequences have no tokens and no context, such
// rows no sequence and no slot. Sequences [0, num_decode) have at most decode_len tokens each,
// which are rows [0, num_decode_tokens) of the step; the rows of the others are numbered from 0 in
// prefill_start.
struct StepPointers {
  const int32_t* token_ids = nullptr;      // [num_tokens]
  const int32_t* context_len = nullptr;    // [num_seqs]
  const int32_t* query_start = nullptr;    // [num_seqs + 1], rows of the step
  const int32_t* decode_start = nullptr;   // [num_decode + 1]; null: decode_len tokens each
  const int32_t* prefill_start = nullptr;  // [num_seqs - num_decode + 1]
  const int32_t* last_rows = nullptr;      // [num_seqs], of each sequence's last token
  const int32_t* rows = nullptr;           // [num_tokens], see StepInputs
  const int64_t* slots = nullptr;          // [num_tokens], see kernels' rope_kv.h
  const float* cos = nullptr;              // [num_tokens, StepLimits::rope_dim() / 2]
  const float* sin = nullptr;              // [num_tokens, StepLimits::rope_dim() / 2]
  const int32_t* block_table = nullptr;    // [num_seqs, block_table_stride]
  int64_t block_table_stride = 0;
  // Tiles of rows with one adapter each, or with none, padding included: as many as any step of so
  // many tokens may take; none in a step without adapters. See kernels' lora.h.
  kernels::LoraTiles adapter_tiles;
  int32_t num_tokens = 0;
  int32_t num_seqs = 0;
  int32_t num_decode = 0;
  int32_t num_decode_tokens = 0;
  int32_t decode_len = 0;
};

class StepArrays {
 public:
  static int64_t BytesFor(const StepLimits& limits);
  absl::Status Allocate(const StepLimits& limits);
  // Errors: InvalidArgument when the step is larger than the limits.
  absl::Status Upload(const StepInputs& inputs, cudaStream_t stream);
  const StepPointers& device() const { return pointers_; }
  // Tiles of adapters' rows that steps of up to so many tokens take.
  static int64_t MostTiles(const StepLimits& limits, int64_t tokens);
  // The most tokens of a sequence that the decode kernel takes.
  int32_t max_decode_len() const { return max_decode_len_; }

 private:
  // The sequences at the beginning of a step that go to the decode kernel.
  struct Decodes {
    int32_t num_seqs = 0;
    int32_t num_tokens = 0;
    int32_t longest = 0;
    bool uniform = true;
  };
  // Offsets of the arrays for steps of up to `tokens` tokens, from the start of either memory.
  struct Layout {
    int64_t tokens = 0;
    int64_t begin = 0;
    int64_t token_ids = 0;
    int64_t rows = 0;
    int64_t context_len = 0;
    int64_t last_rows = 0;
    int64_t query_start = 0;  // of all sequences, then of the prefills from 0
    int64_t slots = 0;
    int64_t tile_rows = 0;   // of adapters
    int64_t tile_slots = 0;  // of adapters
    int64_t cos = 0;
    int64_t sin = 0;
    int64_t end = 0;
  };
  struct Copy {
    int64_t offset;
    int64_t bytes;
  };

  Layout MakeLayout(int64_t tokens, int64_t begin) const;
  absl::Status Check(const StepInputs& inputs, const StepShape& shape) const;
  Decodes FindDecodes(const StepInputs& inputs, const StepShape& shape) const;
  // Writes the arrays but for the block table, with padding up to `shape`.
  void Fill(const Layout& layout, const StepInputs& inputs, const StepShape& shape,
            const Decodes& decodes, uint8_t* pinned) const;
  void FillSlots(const StepInputs& inputs, int64_t* slots) const;
  // That a step launches: none without adapters, and else as many as any mix of them takes.
  int64_t NumTiles(const StepInputs& inputs, const StepShape& shape) const;
  // All `num_rows` rows by adapter, in tiles. `rows` and `slots` have room for `num_tiles`.
  void FillTiles(const StepInputs& inputs, int32_t num_rows, int64_t num_tiles, int32_t* rows,
                 int32_t* slots) const;
  void SetPointers(const Layout& layout, const StepShape& shape, const Decodes& decodes,
                   int64_t num_tiles);
  absl::Status CopyTable(const StepInputs& inputs, uint8_t* pinned, cudaStream_t stream);

  StepLimits limits_;
  int64_t half_dim_ = 0;
  int32_t max_decode_len_ = 1;
  Layout small_;
  Layout large_;
  int64_t table_ = 0;  // offset of the block table
  std::unique_ptr<CudaBuffer> device_;
  std::array<PinnedBuffer, 2> pinned_;
  std::array<CudaEvent, 2> copied_;
  size_t next_ = 0;
  StepPointers pointers_;
};

}  // namespace pingti::worker::cuda
