// The tokens of a step one by one, with the sequence that each is of and its place in the cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "worker/backend/backend.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {

// Calls f(seq, token) with every token of the step, on all threads of the pool.
template <typename F>
void ForEachToken(const StepInputs& step, ThreadPool* pool, const F& f) {
  for (size_t s = 0; s < step.context_len.size(); ++s) {
    const int64_t first = step.query_start[s];
    const int64_t count = step.query_start[s + 1] - first;
    pool->RunRows(count, [&](int64_t i) { f(static_cast<int64_t>(s), first + i); });
  }
}

struct CachePlace {
  int32_t block;
  int64_t offset;  // in the block, in tokens
};

// `block_tokens`: of the cache.
inline CachePlace PlaceOf(const StepInputs& step, int64_t seq, int64_t token,
                          int64_t block_tokens) {
  const int64_t position = step.positions[static_cast<size_t>(token)];
  const int64_t entry = seq * step.max_blocks_per_seq + position / block_tokens;
  return {step.block_table[static_cast<size_t>(entry)], position % block_tokens};
}

}  // namespace pingti::worker::cpu
