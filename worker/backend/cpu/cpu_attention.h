// Paged causal attention: shares (sequence, key-value head, block of queries) among threads and
// walks each one's KV in tiles.
#pragma once

#include "worker/backend/backend.h"
#include "worker/backend/cpu/cpu_kv_cache.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {

// Scratch for all threads. Confined to the engine thread (its pool's threads use their own parts).
class CpuAttention {
 public:
  CpuAttention(const CpuKernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  absl::Status Allocate(int64_t max_tokens, int64_t max_seqs);

  // See Backend::Attention. `qkv` and `out` are f32.
  absl::Status Run(const StepInputs& step, MatrixView qkv, const AttentionShape& shape,
                   const CpuKvCache& cache, int64_t layer, MatrixView out);

 private:
  struct Task {
    int32_t seq;
    int32_t head;         // key-value head
    int32_t first_query;  // token of the batch
    int32_t num_queries;
  };
  struct Scratch;

  void PlanTasks(const StepInputs& step, const AttentionShape& shape);
  absl::Status EnsureScratch(const AttentionShape& shape);
  Scratch ScratchOf(int thread, const AttentionShape& shape) const;
  void RunTask(const Task& task, const StepInputs& step, MatrixView qkv,
               const AttentionShape& shape, const CpuKvCache& cache, int64_t layer, MatrixView out,
               int thread);

  const CpuKernels* const kernels_;
  ThreadPool* const pool_;
  std::vector<Task> tasks_;
  mutable AlignedBuffer scratch_;
  int64_t scratch_per_thread_ = 0;
};

}  // namespace pingti::worker::cpu
