// Checks of per-row int8 results against float64 rows. Pure host functions. Next: run.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {

// `want` [width] in float64; `got` and `scale` as written by a kernel that computed in float: the
// scale is max |want| / 127, every element within half a step (and float rounding) of its value.
inline bool ExpectQuantizedRow(TestRun* run, int64_t row, const double* want, const int8_t* got,
                               float scale, int width) {
  double max = 0;
  for (int i = 0; i < width; ++i) max = std::max(max, std::abs(want[i]));
  if (!run->Expect(std::abs(scale - max / 127) <= 2e-5 * max / 127, "row %lld: scale %g, want %g",
                   static_cast<long long>(row), scale, max / 127)) {
    return false;
  }
  for (int i = 0; i < width; ++i) {
    const double error = std::abs(got[i] * (max / 127) - want[i]);
    if (!run->Expect(error <= 0.505 * max / 127, "row %lld element %d: %d * %g, want %g",
                     static_cast<long long>(row), i, got[i], scale, want[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace pingti::kernels::testing
