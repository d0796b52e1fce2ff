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
  int64_t group_rows = 0;
  for (const int64_t count : rows_per_group) group_rows += count;
  std::vector<RowBlock> blocks;
  int64_t offset = 0;  // within a group
  for (const int64_t count : rows_per_group) {
    for (int64_t g = 0; g < groups; ++g) {
      blocks.push_back({module, count, g * group_rows + offset, groups * group_rows});
    }
    offset += count;
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
  for (const RowBlock& part : spec.parts) {
    RowBlock* last = joined.empty() ? nullptr : &joined.back();
    if (last != nullptr && last->module == part.module && last->first + last->rows == part.first &&
        last->interleaved_heads == 0 && part.interleaved_heads == 0) {
      last->rows += part.rows;
    } else {
      joined.push_back(part);
    }
  }
  return joined;
}

}  // namespace pingti::worker
