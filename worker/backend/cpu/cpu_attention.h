// Paged causal attention: shares (sequence, heads that read one plane, block of queries) among
// threads and walks each one's part of the cache in tiles.
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
  // See Backend::LatentAttention. The same.
  absl::Status RunLatent(const StepInputs& step, MatrixView q, const LatentAttentionShape& shape,
                         const CpuKvCache& cache, int64_t layer, MatrixView out);

 private:
  // One call's work, whichever kind of attention.
  struct Job {
    const StepInputs* step;
    const CpuKvCache* cache;
    int64_t layer;
    MatrixView q;
    MatrixView out;
    AttentionShape shape;  // of head_dim, that of a key is read
    int64_t value_dim;
    int64_t heads_per_task;  // which read the same keys and values
    bool latent;
  };
  struct Task {
    int32_t seq;
    int32_t first_head;  // of queries
    int32_t num_heads;
    int32_t first_query;  // token of the batch
    int32_t num_queries;
  };
  struct Scratch;

  absl::Status Run(const Job& job);
  void PlanTasks(const Job& job);
  absl::Status EnsureScratch(const Job& job);
  Scratch ScratchOf(int thread, const Job& job) const;
  // The task's queries and what each of them sees. Returns the first token that any does.
  int64_t PlaceQueries(const Job& job, const Task& task, const Scratch& scratch) const;
  void RunTask(const Job& job, const Task& task, int thread);

  const CpuKernels* const kernels_;
  ThreadPool* const pool_;
  std::vector<Task> tasks_;
  mutable AlignedBuffer scratch_;
  int64_t scratch_per_thread_ = 0;
};

}  // namespace pingti::worker::cpu
