#include "worker/backend/cuda/step_arrays.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/decode_attention.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kAlign = 256;

int64_t Place(int64_t* end, int64_t bytes) {
  const int64_t offset = *end;
  *end += (bytes + kAlign - 1) / kAlign * kAlign;
  return offset;
}

}  // namespace

StepArrays::Decodes StepArrays::FindDecodes(const StepInputs& inputs,
                                            const StepShape& shape) const {
  if (inputs.padded.has_value() && shape.query_len <= max_decode_len_) {
    return {shape.num_seqs, shape.num_tokens, shape.query_len, shape.uniform};
  }
  Decodes decodes;
  for (size_t s = 0; s < inputs.context_len.size(); ++s) {
    const int32_t length = inputs.query_start[s + 1] - inputs.query_start[s];
    if (length > max_decode_len_) break;
    decodes.uniform = decodes.uniform && length == inputs.query_start[1];
    decodes.longest = std::max(decodes.longest, length);
    decodes.num_tokens += length;
    ++decodes.num_seqs;
  }
  return decodes;
}

StepArrays::Layout StepArrays::MakeLayout(int64_t tokens, int64_t begin) const {
  Layout layout;
  int64_t end = begin;
  layout.tokens = tokens;
  layout.begin = begin;
  layout.context_len = Place(&end, limits_.max_seqs * 4);
  layout.query_start = Place(&end, 2 * (limits_.max_seqs + 1) * 4);
  layout.last_rows = Place(&end, limits_.max_seqs * 4);
  layout.token_ids = Place(&end, tokens * 4);
  layout.rows = Place(&end, tokens * 4);
  layout.slots = Place(&end, tokens * 8);
  const int64_t tiles = MostTiles(limits_, tokens);
  layout.tile_rows = Place(&end, tiles * kernels::kLoraTileRows * 4);
  layout.tile_slots = Place(&end, tiles * 4);
  layout.cos = Place(&end, tokens * half_dim_ * 4);
  layout.sin = Place(&end, tokens * half_dim_ * 4);
  layout.end = end;
  return layout;
}

// Each adapter of a step fills all of its tiles but one, and so do the rows without.
int64_t StepArrays::MostTiles(const StepLimits& limits, int64_t tokens) {
  if (limits.max_adapters == 0) return 0;
  return std::min(tokens, tokens / kernels::kLoraTileRows + limits.max_adapters + 1);
}

int64_t StepArrays::BytesFor(const StepLimits& limits) {
  const int64_t rows = limits.max_tokens + limits.max_seqs;
  const int64_t tiles = MostTiles(limits, limits.max_tokens) + MostTiles(limits, limits.max_seqs);
  return tiles * (kernels::kLoraTileRows + 1) * 4 + rows * (16 + limits.rope_dim() * 4) +
         limits.max_seqs * (limits.max_blocks_per_seq + 7) * 4;
}

absl::Status StepArrays::Allocate(const StepLimits& limits) {
  limits_ = limits;
  half_dim_ = limits.rope_dim() / 2;
  const int64_t group = limits.num_heads / std::max<int64_t>(limits.num_kv_heads, 1);
  max_decode_len_ = static_cast<int32_t>(std::clamp<int64_t>(
      kernels::kMaxDecodeRows / std::max<int64_t>(group, 1), 1, kernels::kMaxDecodeQueryTokens));
  small_ = MakeLayout(std::min(limits.max_seqs, limits.max_tokens), 0);
  large_ = MakeLayout(limits.max_tokens, small_.end);
  table_ = large_.end;
  const int64_t bytes = table_ + limits.max_seqs * limits.max_blocks_per_seq * 4;
  PINGTI_ASSIGN_OR_RETURN(device_, CudaBuffer::MakeZeroed(bytes));
  for (PinnedBuffer& pinned : pinned_) {
    PINGTI_ASSIGN_OR_RETURN(pinned, PinnedBuffer::Make(bytes));
    std::memset(pinned.data(), 0, static_cast<size_t>(bytes));
  }
  return absl::OkStatus();
}

absl::Status StepArrays::Check(const StepInputs& inputs, const StepShape& shape) const {
  if (device_ == nullptr || shape.num_tokens > limits_.max_tokens ||
      shape.num_seqs > limits_.max_seqs || inputs.max_blocks_per_seq > limits_.max_blocks_per_seq) {
    return absl::InvalidArgumentError(
        Concat("a step of ", shape.num_tokens, " tokens, ", shape.num_seqs, " sequences, ",
               inputs.max_blocks_per_seq, " blocks each; allocated for ", limits_.max_tokens, ", ",
               limits_.max_seqs, ", ", limits_.max_blocks_per_seq));
  }
  PINGTI_CHECK(shape.num_tokens >= static_cast<int32_t>(inputs.token_ids.size()) &&
               shape.num_seqs >= static_cast<int32_t>(inputs.context_len.size()));
  PINGTI_CHECK(inputs.rows.empty() || inputs.rows.size() == inputs.token_ids.size());
  PINGTI_CHECK(inputs.block_tokens > 0 &&
               inputs.rope_cos.size() == inputs.token_ids.size() * static_cast<size_t>(half_dim_));
  return absl::OkStatus();
}

void StepArrays::FillSlots(const StepInputs& inputs, int64_t* slots) const {
  for (size_t s = 0; s < inputs.context_len.size(); ++s) {
    const int32_t* table =
        inputs.block_table.data() + s * static_cast<size_t>(inputs.max_blocks_per_seq);
    for (int32_t t = inputs.query_start[s]; t < inputs.query_start[s + 1]; ++t) {
      const int32_t position = inputs.positions[static_cast<size_t>(t)];
      slots[t] = int64_t{table[position / inputs.block_tokens]} * inputs.block_tokens +
                 position % inputs.block_tokens;
    }
  }
}

int64_t StepArrays::NumTiles(const StepInputs& inputs, const StepShape& shape) const {
  return inputs.adapter_slots.empty() ? 0 : MostTiles(limits_, shape.num_tokens);
}

void StepArrays::FillTiles(const StepInputs& inputs, int32_t num_rows, int64_t num_tiles,
                           int32_t* rows, int32_t* slots) const {
  if (num_tiles == 0) return;
  constexpr auto kRows = int64_t{kernels::kLoraTileRows};
  std::fill_n(rows, num_tiles * kRows, -1);
  std::fill_n(slots, num_tiles, kNoAdapterSlot);
  int64_t tile = 0;
  for (int32_t slot = kNoAdapterSlot; slot < static_cast<int32_t>(limits_.max_adapters); ++slot) {
    int64_t filled = 0;  // rows of this adapter
    const auto add = [&](int32_t begin, int32_t end) {
      for (int32_t row = begin; row < end; ++row) {
        const int64_t at = tile * kRows + filled++;
        PINGTI_CHECK(at < num_tiles * kRows);
        rows[at] = row;
        slots[at / kRows] = slot;
      }
    };
    for (size_t s = 0; s < inputs.adapter_slots.size(); ++s) {
      if (inputs.adapter_slots[s] == slot) add(inputs.query_start[s], inputs.query_start[s + 1]);
    }
    if (slot == kNoAdapterSlot) add(inputs.query_start.back(), num_rows);
    tile += (filled + kRows - 1) / kRows;
  }
}

void StepArrays::Fill(const Layout& layout, const StepInputs& inputs, const StepShape& shape,
                      const Decodes& decodes, uint8_t* pinned) const {
  const size_t num_tokens = inputs.token_ids.size();
  const size_t num_seqs = inputs.context_len.size();
  const auto all_tokens = static_cast<size_t>(shape.num_tokens);
  const auto all_seqs = static_cast<size_t>(shape.num_seqs);
  auto* token_ids = reinterpret_cast<int32_t*>(pinned + layout.token_ids);
  std::copy(inputs.token_ids.begin(), inputs.token_ids.end(), token_ids);
  std::fill(token_ids + num_tokens, token_ids + all_tokens, 0);
  auto* context_len = reinterpret_cast<int32_t*>(pinned + layout.context_len);
  std::copy(inputs.context_len.begin(), inputs.context_len.end(), context_len);
  std::fill(context_len + num_seqs, context_len + all_seqs, 0);
  auto* query_start = reinterpret_cast<int32_t*>(pinned + layout.query_start);
  std::copy(inputs.query_start.begin(), inputs.query_start.end(), query_start);
  std::fill(query_start + num_seqs, query_start + all_seqs + 1, inputs.query_start.back());
  int32_t* prefill_start = query_start + all_seqs + 1;
  for (int32_t s = decodes.num_seqs; s <= shape.num_seqs; ++s) {
    prefill_start[s - decodes.num_seqs] = query_start[s] - decodes.num_tokens;
  }
  auto* last_rows = reinterpret_cast<int32_t*>(pinned + layout.last_rows);
  for (size_t s = 0; s < all_seqs; ++s) last_rows[s] = std::max(0, query_start[s + 1] - 1);
  if (!inputs.rows.empty()) {
    auto* rows = reinterpret_cast<int32_t*>(pinned + layout.rows);
    std::copy(inputs.rows.begin(), inputs.rows.end(), rows);
    std::fill(rows + num_tokens, rows + all_tokens, 0);
  }
  auto* slots = reinterpret_cast<int64_t*>(pinned + layout.slots);
  FillSlots(inputs, slots);
  std::fill(slots + num_tokens, slots + all_tokens, -1);
  FillTiles(inputs, shape.num_tokens, NumTiles(inputs, shape),
            reinterpret_cast<int32_t*>(pinned + layout.tile_rows),
            reinterpret_cast<int32_t*>(pinned + layout.tile_slots));
  // Padding turns as an earlier step's rows did.
  std::memcpy(pinned + layout.cos, inputs.rope_cos.data(), inputs.rope_cos.size_bytes());
  std::memcpy(pinned + layout.sin, inputs.rope_sin.data(), inputs.rope_sin.size_bytes());
}

void StepArrays::SetPointers(const Layout& layout, const StepShape& shape, const Decodes& decodes,
                             int64_t num_tiles) {
  const uint8_t* base = device_->as<uint8_t>();
  pointers_.token_ids = reinterpret_cast<const int32_t*>(base + layout.token_ids);
  pointers_.context_len = reinterpret_cast<const int32_t*>(base + layout.context_len);
  const auto* query_start = reinterpret_cast<const int32_t*>(base + layout.query_start);
  pointers_.query_start = query_start;
  pointers_.decode_start = decodes.uniform ? nullptr : query_start;
  pointers_.prefill_start = query_start + shape.num_seqs + 1;
  pointers_.last_rows = reinterpret_cast<const int32_t*>(base + layout.last_rows);
  pointers_.rows = reinterpret_cast<const int32_t*>(base + layout.rows);
  pointers_.slots = reinterpret_cast<const int64_t*>(base + layout.slots);
  pointers_.cos = reinterpret_cast<const float*>(base + layout.cos);
  pointers_.sin = reinterpret_cast<const float*>(base + layout.sin);
  pointers_.block_table = reinterpret_cast<const int32_t*>(base + table_);
  pointers_.block_table_stride = limits_.max_blocks_per_seq;
  pointers_.adapter_tiles = {reinterpret_cast<const int32_t*>(base + layout.tile_rows),
                             reinterpret_cast<const int32_t*>(base + layout.tile_slots),
                             static_cast<int32_t>(num_tiles)};
  pointers_.num_tokens = shape.num_tokens;
  pointers_.num_seqs = shape.num_seqs;
  pointers_.num_decode = decodes.num_seqs;
  pointers_.num_decode_tokens = decodes.num_tokens;
  pointers_.decode_len = decodes.longest;
}

absl::Status StepArrays::CopyTable(const StepInputs& inputs, uint8_t* pinned, cudaStream_t stream) {
  if (inputs.block_table.empty()) return absl::OkStatus();
  std::memcpy(pinned + table_, inputs.block_table.data(), inputs.block_table.size_bytes());
  const size_t width = static_cast<size_t>(inputs.max_blocks_per_seq) * sizeof(int32_t);
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(
      device_->as<uint8_t>() + table_,
      static_cast<size_t>(limits_.max_blocks_per_seq) * sizeof(int32_t), pinned + table_, width,
      width, inputs.context_len.size(), cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

absl::Status StepArrays::Upload(const StepInputs& inputs, cudaStream_t stream) {
  StepShape own;
  own.num_seqs = static_cast<int32_t>(inputs.context_len.size());
  own.num_tokens = static_cast<int32_t>(inputs.token_ids.size());
  const StepShape shape = inputs.padded.value_or(own);
  PINGTI_RETURN_IF_ERROR(Check(inputs, shape));
  const int64_t tokens = shape.num_tokens;
  const Layout& layout = tokens <= small_.tokens ? small_ : large_;
  const Decodes decodes = FindDecodes(inputs, shape);
  next_ = (next_ + 1) % pinned_.size();
  PINGTI_RETURN_IF_ERROR(copied_[next_].Wait());
  uint8_t* pinned = pinned_[next_].data();
  Fill(layout, inputs, shape, decodes, pinned);
  const int64_t tiles = NumTiles(inputs, shape);

  const int64_t rope_bytes = tokens * half_dim_ * 4;
  const Copy whole[] = {{layout.begin, layout.end - layout.begin}};
  const Copy parts[] = {{layout.begin, layout.token_ids - layout.begin + tokens * 4},
                        {layout.rows, inputs.rows.empty() ? 0 : tokens * 4},
                        {layout.slots, tokens * 8},
                        {layout.tile_rows, tiles * kernels::kLoraTileRows * 4},
                        {layout.tile_slots, tiles * 4},
                        {layout.cos, rope_bytes},
                        {layout.sin, rope_bytes}};
  const std::span<const Copy> copies =
      &layout == &small_ ? std::span<const Copy>(whole) : std::span<const Copy>(parts);
  for (const Copy& copy : copies) {
    if (copy.bytes == 0) continue;
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaMemcpyAsync(device_->as<uint8_t>() + copy.offset, pinned + copy.offset,
                        static_cast<size_t>(copy.bytes), cudaMemcpyHostToDevice, stream));
  }
  PINGTI_RETURN_IF_ERROR(CopyTable(inputs, pinned, stream));
  SetPointers(layout, shape, decodes, tiles);
  return copied_[next_].Record(stream);
}

}  // namespace pingti::worker::cuda
