// The share of a decoder that one rank of a tensor-parallel group computes, as a decoder of its
// own: the same layers with fewer heads, a narrower feed-forward and fewer tokens of embedding and
// output projection. Pure: a spec in, a spec out. The sum of all ranks' attention and feed-forward
// outputs is the whole decoder's (Shoeybi et al., "Megatron-LM", section 3).
//
// Shares are as equal as the units allow, and need not be equal: nothing is padded.
//   heads        With no more ranks than KV heads: whole KV heads, each with its query heads. With
//                more: one KV head per rank, so that some are held by several ranks, which divide
//                its query heads. Of latent attention: query heads; every rank holds the latent.
//   feed-forward Columns in units, see InnerUnit; of every expert the same ones, or whole experts,
//                see ExpertSplit.
//   vocabulary   Rows of the embedding and of the output projection.
// Norms and routers are whole. The bias of a product whose input is split is with the first
// columns, on rank 0.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

// [first, first + count) of something.
struct Share {
  int64_t first = 0;
  int64_t count = 0;
};

// The share of rank `rank` of `total` units, as equal as they can be. The shares follow each other.
Share ShareOf(int64_t total, int rank, int size);

struct HeadShare {
  Share q;
  Share kv;
};
// REQUIRES: 1 <= size <= num_heads, which num_kv_heads divides.
HeadShare HeadsOf(int64_t num_heads, int64_t num_kv_heads, int rank, int size);

// In what units ranks share a feed-forward's inner width: the largest that is good for products
// (128), keeps `block` columns of the checkpoint together (those of a GGUF block or of a
// quantization group) and leaves no rank without any; smaller units cut blocks.
// REQUIRES: 1 <= size <= inner.
int64_t InnerUnit(int64_t inner, int64_t block, int size);

// How ranks share a layer's experts (docs/adr/0024).
enum class ExpertSplit {
  kColumns,  // every rank has some columns of every expert
  kExperts,  // every rank has some whole experts, which follow each other
};

// `inner_blocks[i]`: see `block` of InnerUnit, for layer i; with whole experts, of what is shared
// by columns. REQUIRES: one per layer, at least 1
// each; 0 <= rank < size; `whole` is no share itself.
// Errors: InvalidArgument, naming what has too few parts for so many ranks, and how many would do;
// or where a model without experts is to be shared by them.
absl::StatusOr<DecoderSpec> ShardSpec(const DecoderSpec& whole, int rank, int size,
                                      std::span<const int64_t> inner_blocks,
                                      ExpertSplit expert_split = ExpertSplit::kColumns);

}  // namespace pingti::worker
