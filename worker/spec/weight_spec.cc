#include "worker/spec/weight_spec.h"

#include <utility>

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

int64_t WeightSpec::rows() const {
  int64_t total = 0;
  for (const RowBlock& part : parts) total += part.rows;
  return total;
}

std::vector<RowBlock> JoinedParts(const WeightSpec& spec) {
  std::vector<RowBlock> joined;
  const auto add = [&joined](const RowBlock& part) {
    RowBlock* last = joined.empty() ? nullptr : &joined.back();
    if (last != nullptr && last->module == part.module && last->first + last->rows == part.first &&
        last->interleaved_heads == 0 && part.interleaved_heads == 0) {
      last->rows += part.rows;
    } else {
      joined.push_back(part);
    }
  };
  for (const RowBlock& part : spec.parts) {
    if (part.run == 0) {
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
