// Copy of one KV block onto another, before a step reads either: how a shared block is written to.
#pragma once

#include <cstdint>

namespace pingti::worker {

struct BlockCopy {
  int32_t from;
  int32_t to;
};

}  // namespace pingti::worker
