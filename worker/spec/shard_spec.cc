#include "worker/spec/shard_spec.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

constexpr int64_t kGoodUnit = 128;       // the largest tile of products
constexpr int64_t kVocabularyUnit = 64;  // rows that start at whole cache lines of f32 logits

absl::Status CheckShared(std::string_view what, int64_t parts, int size) {
  if (size <= parts) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("tensor_parallel is ", size, ": the model has ", parts,
                                           " ", what, "; expected 1 to ", parts));
}

int64_t RowsOf(const std::vector<RowBlock>& blocks) {
  int64_t rows = 0;
  for (const RowBlock& block : blocks) rows += block.rows;
  return rows;
}

void Append(std::vector<RowBlock> more, std::vector<RowBlock>* blocks) {
  blocks->insert(blocks->end(), more.begin(), more.end());
}

AttentionSpec ShardAttention(const AttentionSpec& whole, int rank, int size) {
  const HeadShare heads = HeadsOf(whole.num_heads, whole.num_kv_heads, rank, size);
  const int64_t dim = whole.head_dim;
  AttentionSpec share = whole;
  share.num_heads = heads.q.count;
  share.num_kv_heads = heads.kv.count;
  share.qkv = SliceRows(whole.qkv, heads.q.first * dim, heads.q.count * dim);
  const int64_t keys = whole.num_heads + heads.kv.first;
  Append(SliceRows(whole.qkv, keys * dim, heads.kv.count * dim), &share.qkv);
  const int64_t values = keys + whole.num_kv_heads;
  Append(SliceRows(whole.qkv, values * dim, heads.kv.count * dim), &share.qkv);
  share.out_columns = {heads.q.first * dim, whole.num_heads * dim};
  if (!whole.sinks.empty()) share.sinks = SliceRows(whole.sinks, heads.q.first, heads.q.count);
  if (!whole.alibi_slopes.empty()) {
    const auto first = whole.alibi_slopes.begin() + heads.q.first;
    share.alibi_slopes.assign(first, first + heads.q.count);
  }
  return share;
}

LatentAttentionSpec ShardLatentAttention(const LatentAttentionSpec& whole, int rank, int size) {
  const Share heads = ShareOf(whole.num_heads, rank, size);
  const auto slice = [&heads](const std::vector<RowBlock>& rows, int64_t per_head) {
    return SliceRows(rows, heads.first * per_head, heads.count * per_head);
  };
  LatentAttentionSpec share = whole;
  share.num_heads = heads.count;
  if (whole.query_latent_dim == 0) {
    share.in = slice(whole.in, whole.query_dim());
    Append(
        SliceRows(whole.in, whole.num_heads * whole.query_dim(), whole.latent_dim + whole.rope_dim),
        &share.in);
  } else {
    share.query = slice(whole.query, whole.query_dim());
  }
  share.keys = slice(whole.keys, whole.keys_transposed ? whole.nope_dim : whole.latent_dim);
  share.values = slice(whole.values, whole.value_dim);
  share.out_columns = {heads.first * whole.value_dim, whole.num_heads * whole.value_dim};
  return share;
}

MlpSpec ShardMlp(const MlpSpec& whole, int64_t block, int rank, int size) {
  const int64_t unit = InnerUnit(whole.inner, block, size);
  const Share units = ShareOf(whole.inner / unit, rank, size);
  const int64_t first = units.first * unit;
  MlpSpec share = whole;
  share.inner = units.count * unit;
  share.gate_up = SliceRows(whole.gate_up, first, share.inner);
  if (whole.gated) {
    Append(SliceRows(whole.gate_up, whole.inner + first, share.inner), &share.gate_up);
  }
  share.down_columns = {first, whole.inner};
  return share;
}

// Whole experts; what a token takes besides is shared by columns.
ExpertsSpec ShardByExpert(const ExpertsSpec& whole, int64_t block, int rank, int size) {
  const Share held = ShareOf(whole.routing.num_experts, rank, size);
  const int64_t hidden = RowsOf(whole.down) / whole.routing.num_experts;
  ExpertsSpec share = whole;
  share.routing.first_held = held.first;
  share.routing.num_held = held.count;
  share.gate_up =
      SliceRows(whole.gate_up, held.first * 2 * whole.inner, held.count * 2 * whole.inner);
  share.down = SliceRows(whole.down, held.first * hidden, held.count * hidden);
  if (whole.shared.has_value()) share.shared = ShardMlp(*whole.shared, block, rank, size);
  return share;
}

ExpertsSpec ShardByColumn(const ExpertsSpec& whole, int64_t block, int rank, int size) {
  const int64_t unit = InnerUnit(whole.inner, block, size);
  const Share units = ShareOf(whole.inner / unit, rank, size);
  const int64_t first = units.first * unit;
  ExpertsSpec share = whole;
  share.inner = units.count * unit;
  share.gate_up.clear();
  // Gate and up of every expert.
  for (int64_t i = 0; i < 2 * whole.routing.num_experts; ++i) {
    Append(SliceRows(whole.gate_up, i * whole.inner + first, share.inner), &share.gate_up);
  }
  share.down_columns = {first, whole.inner};
  if (whole.shared.has_value()) share.shared = ShardMlp(*whole.shared, block, rank, size);
  return share;
}

VocabularyShare ShardVocabulary(int64_t vocab_size, int rank, int size) {
  int64_t stride = 0;
  for (int64_t unit = kVocabularyUnit; unit >= 1; unit /= 2) {
    stride = ((vocab_size + size - 1) / size + unit - 1) / unit * unit;
    if (stride * (size - 1) < vocab_size) break;
  }
  const int64_t first = std::min(vocab_size, stride * rank);
  return {first, std::min(stride, vocab_size - first), stride};
}

absl::Status CheckFeedForward(const LayerSpec& layer, int size, ExpertSplit expert_split) {
  if (!layer.experts.has_value()) {
    return CheckShared("inner columns of a feed-forward", layer.mlp.inner, size);
  }
  const ExpertsSpec& experts = *layer.experts;
  PINGTI_RETURN_IF_ERROR(expert_split == ExpertSplit::kExperts
                             ? CheckShared("experts", experts.routing.num_experts, size)
                             : CheckShared("inner columns of an expert", experts.inner, size));
  if (!experts.shared.has_value()) return absl::OkStatus();
  return CheckShared("inner columns of a shared expert", experts.shared->inner, size);
}

absl::Status CheckShares(const DecoderSpec& whole, int size, ExpertSplit expert_split) {
  if (expert_split == ExpertSplit::kExperts && whole.experts() == nullptr) {
    return absl::InvalidArgumentError(
        "enable_expert_parallel is true: the model has no experts; expected false");
  }
  for (const LayerSpec& layer : whole.layers) {
    PINGTI_RETURN_IF_ERROR(CheckShared("query heads", layer.num_heads(), size));
    PINGTI_RETURN_IF_ERROR(CheckFeedForward(layer, size, expert_split));
  }
  if (ShardVocabulary(whole.vocab_size, size - 1, size).rows > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("tensor_parallel is ", size, ": a vocabulary of ",
                                           whole.vocab_size,
                                           " tokens leaves the last rank without any"));
}

}  // namespace

Share ShareOf(int64_t total, int rank, int size) {
  const int64_t least = total / size;
  const int64_t larger = total % size;  // ranks with one more
  const int64_t first = least * rank + std::min<int64_t>(rank, larger);
  return {first, least + (rank < larger ? 1 : 0)};
}

HeadShare HeadsOf(int64_t num_heads, int64_t num_kv_heads, int rank, int size) {
  PINGTI_CHECK(size >= 1 && size <= num_heads && num_heads % num_kv_heads == 0);
  const int64_t per_kv = num_heads / num_kv_heads;
  if (size <= num_kv_heads) {
    const Share kv = ShareOf(num_kv_heads, rank, size);
    return {{kv.first * per_kv, kv.count * per_kv}, kv};
  }
  // Which KV head's ranks this one is among.
  int64_t kv_head = 0;
  Share ranks;
  do {
    ranks = ShareOf(size, static_cast<int>(kv_head), static_cast<int>(num_kv_heads));
    ++kv_head;
  } while (rank >= ranks.first + ranks.count);
  --kv_head;
  const Share q =
      ShareOf(per_kv, rank - static_cast<int>(ranks.first), static_cast<int>(ranks.count));
  return {{kv_head * per_kv + q.first, q.count}, {kv_head, 1}};
}

int64_t InnerUnit(int64_t inner, int64_t block, int size) {
  for (const int64_t unit : {std::lcm(block, kGoodUnit), block}) {
    if (unit >= kGoodUnit / 4 && inner % unit == 0 && inner / unit >= size) return unit;
  }
  int64_t unit = kGoodUnit;
  while (inner % unit != 0 || inner / unit < size) unit /= 2;
  return unit;
}

absl::StatusOr<DecoderSpec> ShardSpec(const DecoderSpec& whole, int rank, int size,
                                      std::span<const int64_t> inner_blocks,
                                      ExpertSplit expert_split) {
  PINGTI_CHECK(rank >= 0 && rank < size && inner_blocks.size() == whole.layers.size());
  PINGTI_RETURN_IF_ERROR(CheckShares(whole, size, expert_split));
  const auto shard_experts = expert_split == ExpertSplit::kExperts ? ShardByExpert : ShardByColumn;
  DecoderSpec share = whole;
  for (size_t i = 0; i < whole.layers.size(); ++i) {
    LayerSpec& layer = share.layers[i];
    if (layer.latent_attention.has_value()) {
      layer.latent_attention = ShardLatentAttention(*layer.latent_attention, rank, size);
    } else {
      layer.attention = ShardAttention(layer.attention, rank, size);
    }
    if (layer.experts.has_value()) {
      layer.experts = shard_experts(*layer.experts, inner_blocks[i], rank, size);
    } else {
      layer.mlp = ShardMlp(layer.mlp, inner_blocks[i], rank, size);
    }
  }
  share.vocabulary_share = ShardVocabulary(whole.vocab_size, rank, size);
  return share;
}

}  // namespace pingti::worker
