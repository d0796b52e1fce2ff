#include "worker/spec/weight_spec.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

RowBlock WholeModule(std::string module, int64_t rows, int64_t interleaved_heads) {
  return {std::move(module), rows, 0, rows, interleaved_heads};
}

std::vector<RowBlock> StackedModule(const std::string& module, const std::vector<int64_t>& rows) {
  int64_t total = 0;
  for (const int64_t count : rows) total += count;
  std::vector<RowBlock> blocks;
  int64_t first = 0;
  for (const int64_t count : rows) {
    blocks.push_back({module, count, first, total});
    first += count;
  }
  return blocks;
}

std::vector<RowBlock> GroupedModule(const std::string& module, int64_t groups,
                                    const std::vector<int64_t>& rows_per_group) {
  if (groups == 1) return StackedModule(module, rows_per_group);
  int64_t group_rows = 0;
  for (const int64_t count : rows_per_group) group_rows += count;
  std::vector<RowBlock> blocks;
  int64_t first = 0;
  for (const int64_t count : rows_per_group) {
    RowBlock block{module, groups * count, first, groups * group_rows};
    block.run = count;
    block.stride = group_rows;
    blocks.push_back(std::move(block));
    first += count;
  }
  return blocks;
}

namespace {

// Rows [first, first + count) of a block, appended to `out`.
void SliceBlock(const RowBlock& block, int64_t first, int64_t count, std::vector<RowBlock>* out) {
  if (count == 0) return;
  RowBlock slice = block;
  slice.rows = count;
  if (block.run == 0) {
    slice.first += first;
    if (block.interleaved_heads != 0) {
      const int64_t head_rows = block.rows / block.interleaved_heads;
      PINGTI_CHECK(first % head_rows == 0 && count % head_rows == 0);
      slice.interleaved_heads = count / head_rows;
    }
    out->push_back(std::move(slice));
    return;
  }
  slice.first += first / block.run * block.stride;
  const int64_t into = first % block.run;
  if (into == 0 && count % block.run == 0) {
    out->push_back(std::move(slice));
    return;
  }
  // A run of which a part is cut off, then the rest; or whole runs, then the rest.
  const bool cut = into != 0 || count < block.run;
  const int64_t now = cut ? std::min(count, block.run - into) : count / block.run * block.run;
  slice.rows = now;
  if (cut) {
    slice.first += into;
    slice.run = 0;
    slice.stride = 0;
  }
  out->push_back(std::move(slice));
  SliceBlock(block, first + now, count - now, out);
}

}  // namespace

std::vector<RowBlock> SliceRows(const std::vector<RowBlock>& blocks, int64_t first, int64_t count) {
  std::vector<RowBlock> slices;
  for (const RowBlock& block : blocks) {
    const int64_t skipped = std::min(first, block.rows);
    const int64_t taken = std::min(count, block.rows - skipped);
    SliceBlock(block, skipped, taken, &slices);
    first -= skipped;
    count -= taken;
  }
  PINGTI_CHECK(count == 0);
  return slices;
}

int64_t WeightSpec::rows() const {
  int64_t total = 0;
  for (const RowBlock& part : parts) total += part.rows;
  return total;
}

std::vector<RowBlock> JoinedParts(const WeightSpec& spec) {
  std::vector<RowBlock> joined;
  const int64_t apart = std::max({spec.experts, spec.heads, int64_t{1}});
  const int64_t rows_apart = spec.rows() / apart;
  int64_t rows = 0;  // so far
  const auto add = [&](const RowBlock& part) {
    const bool next = apart > 1 && rows % rows_apart == 0;
    rows += part.rows;
    RowBlock* last = joined.empty() || next ? nullptr : &joined.back();
    if (last != nullptr && last->module == part.module && last->first + last->rows == part.first &&
        last->interleaved_heads == 0 && part.interleaved_heads == 0 && last->run == 0 &&
        part.run == 0) {
      last->rows += part.rows;
    } else {
      joined.push_back(part);
    }
  };
  for (const RowBlock& part : spec.parts) {
    if (part.run <= 1) {
      add(part);
      continue;
    }
    for (int64_t i = 0; i < part.rows / part.run; ++i) {
      add({part.module, part.run, part.first + i * part.stride, part.module_rows});
    }
  }
  return joined;
}

}  // namespace pingti::worker
