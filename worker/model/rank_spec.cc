#include "worker/model/rank_spec.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

// Columns of a module that the file keeps together.
int64_t BlockColumns(const Checkpoint& checkpoint, const std::string& module) {
  if (const TensorView* tensor = checkpoint.Find(module + ".weight")) {
    return BlockElements(tensor->dtype);
  }
  if (checkpoint.mxfp4() && checkpoint.Find(module + "_blocks") != nullptr) {
    return BlockElements(DType::kMxfp4);
  }
  // One group for all columns (0) can be cut anywhere.
  return std::max<int64_t>(checkpoint.packed().group_size, 1);
}

// Columns that every feed-forward of a layer whose columns are shared keeps together.
int64_t InnerBlock(const Checkpoint& checkpoint, const LayerSpec& layer, ExpertSplit split) {
  if (!layer.experts.has_value()) return BlockColumns(checkpoint, layer.mlp.down);
  const ExpertsSpec& experts = *layer.experts;
  int64_t block = 1;
  if (split == ExpertSplit::kColumns) {
    for (const RowBlock& down : experts.down) {
      block = std::lcm(block, BlockColumns(checkpoint, down.module));
    }
  }
  if (!experts.shared.has_value()) return block;
  return std::lcm(block, BlockColumns(checkpoint, experts.shared->down));
}

}  // namespace

absl::StatusOr<DecoderSpec> RankSpec(const Checkpoint& checkpoint, int rank, int size,
                                     ExpertSplit expert_split) {
  const DecoderSpec& whole = checkpoint.spec();
  if (size == 1) return whole;
  std::vector<int64_t> inner_blocks;
  for (const LayerSpec& layer : whole.layers) {
    inner_blocks.push_back(InnerBlock(checkpoint, layer, expert_split));
  }
  absl::StatusOr<DecoderSpec> share = ShardSpec(whole, rank, size, inner_blocks, expert_split);
  if (share.ok()) return share;
  return absl::Status(share.status().code(),
                      Concat(checkpoint.path(), ": ", std::string(share.status().message())));
}

}  // namespace pingti::worker
