// Which adapter and expert a row of experts has: see expert_lora.h. Device code.
#pragma once

#include <cstdint>

#include "pingti/kernels/expert_lora.h"

namespace pingti::kernels {

struct RowKey {
  int32_t slot = -1;  // below 0: nothing is added to the row
  int32_t expert = 0;
  int32_t token = 0;
};

__device__ __forceinline__ RowKey KeyOf(const ExpertLoraRows& rows, int row) {
  RowKey key;
  if (row >= *rows.num_rows) return key;
  key.token = rows.token_of[row];
  key.expert = rows.span_of[row].x;
  key.slot = rows.slot_of[key.token];
  return key;
}

}  // namespace pingti::kernels
