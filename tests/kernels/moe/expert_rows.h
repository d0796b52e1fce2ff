// Rows of a grouped product divided among experts, as LaunchSortExpertRows lays them out. Host
// only.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "tests/kernels/testing/compare.h"

namespace pingti::kernels::testing {

enum class Rows { kRandom, kAllOfOne, kAllOfLast, kNone };

struct ExpertRows {
  // `spare`: rows that there is room for, but that no expert has. kRandom: odd experts have none.
  ExpertRows(Rows rows, int experts, int num_rows, int spare, Random* random) {
    for (int row = 0; row < num_rows; ++row) {
      const int any = static_cast<int>(random->Below(static_cast<uint32_t>(experts))) / 2 * 2;
      expert_of.push_back(rows == Rows::kAllOfOne    ? std::min(1, experts - 1)
                          : rows == Rows::kAllOfLast ? experts - 1
                                                     : any);
    }
    std::sort(expert_of.begin(), expert_of.end());
    for (int e = 0; e <= experts; ++e) {
      first_row.push_back(static_cast<int>(std::lower_bound(expert_of.begin(), expert_of.end(), e) -
                                           expert_of.begin()));
    }
    for (int row = 0; row < num_rows; ++row) {
      const int e = expert_of[row];
      span_of.push_back(make_int2(e, row == first_row[e] ? first_row[e + 1] : 0));
    }
    span_of.resize(static_cast<size_t>(num_rows) + spare, make_int2(0, 0));
  }

  bool HasRows(int expert) const { return first_row[expert + 1] > first_row[expert]; }

  std::vector<int> expert_of;  // of each row
  std::vector<int> first_row;  // of each expert; last: all rows
  std::vector<int2> span_of;   // as SortExpertRowsParams has it
};

}  // namespace pingti::kernels::testing
