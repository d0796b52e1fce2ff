// What a block of a model says about one of its weights: where the values lie in the checkpoint,
// their shape, what they are for, and how the ranks of a tensor-parallel group divide them. Loader,
// memory arithmetic, `pingti quantize`, `pingti profile` and `pingti inspect` all read these.
// Plain data. Next: decoder_spec.h; shard_spec.h, a rank's share; worker/layers/declarations.h,
// where blocks declare.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pingti::worker {

// How ranks divide a weight: shares as equal as units of `split_unit` allow (shard_spec.h).
enum class Split {
  kWhole,       // every rank holds all of it
  kOutput,      // rows: output features
  kInput,       // columns: input features; the ranks' products are added up
  kExpert,      // whole experts
  kVocabulary,  // rows: tokens
};

// What a weight is for.
enum class WeightRole {
  kEmbedding,
  kNorm,
  kSinks,         // of attention's softmax, a vector
  kConstant,      // follows from the configuration; see WeightSpec::constant
  kQkv,           // queries, keys and values, or what latent attention makes them of, stacked
  kQueryUp,       // queries of their latent
  kLatentHeads,   // of each head a matrix into or out of the keys' and values' latent
  kAttentionOut,  // attention's output projection
  kMlpIn,         // into the feed-forward's inner width: gate and up, stacked
  kMlpOut,        // back from it
  kRouter,        // scores of experts; products are f32, and nothing is rounded to int8
  kExpertsIn,     // the same as kMlpIn of each expert, stacked
  kExpertsOut,    // the same as kMlpOut
  kStateIn,       // of a draft head: joined states; nothing is rounded to int8
  kLogits,        // the output projection; products are f32, activations are never rounded to int8
};

// Rows of a module's tensor, which has `module_rows` rows: [first, first + rows), or, with `run`,
// runs of that many rows, the first at `first` and each `stride` rows after the one before. Runs of
// one row are brought together when they are read.
struct RowBlock {
  std::string module;  // as the checkpoint names it, without ".weight": "blk.0.attn_q"
  int64_t rows = 0;
  int64_t first = 0;
  int64_t module_rows = 0;
  // Not 0: these are the rows of so many heads in GGUF's order; see MatrixSource in
  // worker/backend/backend.h.
  int64_t interleaved_heads = 0;
  int64_t run = 0;  // 0: all rows lie together
  int64_t stride = 0;
};

// Columns of modules' tensors, which have `total` columns, from `first` on; total 0: all columns.
struct ColumnRange {
  int64_t first = 0;
  int64_t total = 0;
};

// All rows of a module.
RowBlock WholeModule(std::string module, int64_t rows, int64_t interleaved_heads = 0);
// A module whose tensor stacks blocks of the given numbers of rows.
std::vector<RowBlock> StackedModule(const std::string& module, const std::vector<int64_t>& rows);
// A module whose tensor holds `groups` such stacks one after the other: the first block of each of
// them together, then the second ones, and so on.
std::vector<RowBlock> GroupedModule(const std::string& module, int64_t groups,
                                    const std::vector<int64_t>& rows_per_group);

// Rows [first, first + count) of what `blocks` stack, in order. REQUIRES: they exist, and of blocks
// with interleaved heads they are whole heads.
std::vector<RowBlock> SliceRows(const std::vector<RowBlock>& blocks, int64_t first, int64_t count);

struct WeightSpec {
  WeightRole role = WeightRole::kNorm;
  std::vector<RowBlock> parts;  // stacked in this order; empty of a constant
  int64_t cols = 0;             // 0: a vector
  ColumnRange columns;          // which of the modules' columns those are
  bool bias = false;            // every module has one, in ".bias"
  Split split = Split::kWhole;
  int64_t split_unit = 1;               // rows or columns that stay together, as those of a head
  std::string_view suffix = ".weight";  // of the tensor's name, after the module's
  // Not 0: `parts` are so many equal stacks, of one expert each: of those of a layer, which are
  // `layer_experts`, the ones from `first_expert` on.
  int64_t experts = 0;
  int64_t first_expert = 0;
  int64_t layer_experts = 0;
  bool gate_and_up_alternate = false;  // see ExpertsSpec
  // Not 0: `parts` are the matrices of so many heads, one after the other; prepared ones stay apart
  // and in the type of activations. See LinearSource in worker/backend/backend.h.
  int64_t heads = 0;
  bool transposed = false;      // of heads alone: products are x W
  std::vector<float> constant;  // not empty: the values of a vector that no checkpoint holds

  bool is_vector() const { return cols == 0; }
  bool is_of_experts() const {
    return role == WeightRole::kExpertsIn || role == WeightRole::kExpertsOut;
  }
  // Of the modules' tensors.
  int64_t module_cols() const { return columns.total == 0 ? cols : columns.total; }
  int64_t rows() const;
  int64_t num_values() const { return rows() * (is_vector() ? 1 : cols) + (bias ? rows() : 0); }
};

// The parts as runs of rows, those that follow each other in one module joined to one, but for
// those of different experts or heads: what a loader reads at once. Parts whose runs are single
// rows stay as they are.
std::vector<RowBlock> JoinedParts(const WeightSpec& spec);

}  // namespace pingti::worker
