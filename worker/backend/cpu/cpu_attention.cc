#include "worker/backend/cpu/cpu_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/status_macros.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kQueriesPerTask = 32;  // tokens; each is a row per head of the task
// All heads read the one plane of latents; so many of them at a time leave work for every thread
// and a task's queries in its cache.
constexpr int64_t kLatentHeadsPerTask = 8;

}  // namespace

// One thread's part, in floats: keys, values, scaled queries, outputs, then per row the running
// maximum, sum and ALiBi slope; and the row's pointer and bounds, kept in 8-byte units at the end.
struct CpuAttention::Scratch {
  const float** query;
  int64_t* first;
  int64_t* last;
  float* keys;
  float* values;
  float* queries;
  float* out;
  float* running_max;
  float* running_sum;
  float* alibi_slope;
};

absl::Status CpuAttention::Allocate(int64_t max_tokens, int64_t max_seqs) {
  // Every sequence has at most one part-filled block of queries; heads multiply in PlanTasks.
  tasks_.reserve(static_cast<size_t>((max_tokens / kQueriesPerTask + max_seqs) * 8));
  return absl::OkStatus();
}

absl::Status CpuAttention::EnsureScratch(const Job& job) {
  const int64_t rows = kQueriesPerTask * job.heads_per_task;
  const int64_t dims = job.shape.head_dim + job.value_dim;
  const int64_t bytes = rows * 3 * 8 + (kKvTile * dims + rows * dims + 4 * rows) * 4;
  const int64_t per_thread = (bytes + 127) / 128 * 128;
  if (per_thread <= scratch_per_thread_) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(scratch_, AlignedBuffer::Make(per_thread * pool_->num_threads()));
  scratch_per_thread_ = per_thread;
  return absl::OkStatus();
}

CpuAttention::Scratch CpuAttention::ScratchOf(int thread, const Job& job) const {
  const int64_t rows = kQueriesPerTask * job.heads_per_task;
  uint8_t* base = scratch_.as<uint8_t>() + thread * scratch_per_thread_;
  Scratch scratch;
  scratch.keys = reinterpret_cast<float*>(base);
  scratch.values = scratch.keys + kKvTile * job.shape.head_dim;
  scratch.queries = scratch.values + kKvTile * job.value_dim;
  scratch.out = scratch.queries + rows * job.shape.head_dim;
  scratch.running_max = scratch.out + rows * job.value_dim;
  scratch.running_sum = scratch.running_max + rows;
  scratch.alibi_slope = scratch.running_sum + rows;
  // A fourth row of floats keeps what follows at a multiple of 8 bytes.
  scratch.first = reinterpret_cast<int64_t*>(scratch.alibi_slope + 2 * rows);
  scratch.last = scratch.first + rows;
  scratch.query = reinterpret_cast<const float**>(scratch.last + rows);
  return scratch;
}

void CpuAttention::PlanTasks(const Job& job) {
  const StepInputs& step = *job.step;
  tasks_.clear();
  for (size_t s = 0; s < step.context_len.size(); ++s) {
    // Later queries see more tokens: long tasks go first, so that none is left over at the end.
    for (int32_t end = step.query_start[s + 1]; end > step.query_start[s];) {
      const int32_t count = std::min<int32_t>(kQueriesPerTask, end - step.query_start[s]);
      for (int64_t head = 0; head < job.shape.num_heads; head += job.heads_per_task) {
        const int64_t heads = std::min(job.heads_per_task, job.shape.num_heads - head);
        tasks_.push_back({static_cast<int32_t>(s), static_cast<int32_t>(head),
                          static_cast<int32_t>(heads), end - count, count});
      }
      end -= count;
    }
  }
}

absl::Status CpuAttention::Run(const StepInputs& step, MatrixView qkv, const AttentionShape& shape,
                               const CpuKvCache& cache, int64_t layer, MatrixView out) {
  return Run({&step, &cache, layer, qkv, out, shape, shape.head_dim,
              shape.num_heads / shape.num_kv_heads, /*latent=*/false});
}

absl::Status CpuAttention::RunLatent(const StepInputs& step, MatrixView q,
                                     const LatentAttentionShape& shape, const CpuKvCache& cache,
                                     int64_t layer, MatrixView out) {
  const AttentionShape one_plane{shape.num_heads, 1, shape.key_dim(), shape.scale};
  return Run({&step, &cache, layer, q, out, one_plane, shape.latent_dim,
              std::min(kLatentHeadsPerTask, shape.num_heads), /*latent=*/true});
}

absl::Status CpuAttention::Run(const Job& job) {
  PINGTI_RETURN_IF_ERROR(EnsureScratch(job));
  PlanTasks(job);
  pool_->Run(static_cast<int64_t>(tasks_.size()), [&](int64_t task, int thread) {
    RunTask(job, tasks_[static_cast<size_t>(task)], thread);
  });
  return absl::OkStatus();
}

int64_t CpuAttention::PlaceQueries(const Job& job, const Task& task, const Scratch& scratch) const {
  const AttentionShape& shape = job.shape;
  const int64_t dim = shape.head_dim;
  const auto* slopes = shape.alibi_slopes == nullptr
                           ? nullptr
                           : static_cast<const float*>(shape.alibi_slopes->data());
  const auto* sinks =
      shape.sinks == nullptr ? nullptr : static_cast<const float*>(shape.sinks->data());
  const int64_t rows = int64_t{task.num_queries} * task.num_heads;
  int64_t first_token = job.step->positions[static_cast<size_t>(task.first_query)];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t token = task.first_query + r / task.num_heads;
    const int64_t head = task.first_head + r % task.num_heads;
    const float* source = static_cast<const float*>(job.q.data) + token * job.q.stride + head * dim;
    float* query = scratch.queries + r * dim;
    for (int64_t d = 0; d < dim; ++d) query[d] = source[d] * shape.scale;
    scratch.query[r] = query;
    scratch.last[r] = job.step->positions[static_cast<size_t>(token)];
    scratch.first[r] =
        shape.window > 0 ? std::max<int64_t>(0, scratch.last[r] - shape.window + 1) : 0;
    first_token = std::min(first_token, scratch.first[r]);
    scratch.running_max[r] = -1e30f;  // finite, so that a fully masked tile changes nothing
    scratch.running_sum[r] = 0.0f;
    if (slopes != nullptr) scratch.alibi_slope[r] = slopes[head];
    if (sinks == nullptr) continue;
    scratch.running_max[r] = std::max(scratch.running_max[r], sinks[head]);
    scratch.running_sum[r] = std::exp(sinks[head] - scratch.running_max[r]);
  }
  return first_token;
}

void CpuAttention::RunTask(const Job& job, const Task& task, int thread) {
  const Scratch scratch = ScratchOf(thread, job);
  const AttentionShape& shape = job.shape;
  const StepInputs& step = *job.step;
  const int64_t rows = int64_t{task.num_queries} * task.num_heads;
  const int64_t first_token = PlaceQueries(job, task, scratch);
  std::memset(scratch.out, 0, static_cast<size_t>(rows * job.value_dim) * 4);
  const int64_t end = step.positions[task.first_query + task.num_queries - 1] + 1;
  const int32_t* block_table =
      step.block_table.data() + static_cast<int64_t>(task.seq) * step.max_blocks_per_seq;
  for (int64_t first = first_token / kKvTile * kKvTile; first < end; first += kKvTile) {
    const AttentionTile tile{scratch.keys,  scratch.values, shape.head_dim,
                             job.value_dim, first,          std::min(kKvTile, end - first)};
    if (job.latent) {
      job.cache->LoadLatentTile(job.layer, block_table, first, tile.num_tokens, job.value_dim,
                                scratch.keys, scratch.values);
    } else {
      job.cache->LoadTile(job.layer, task.first_head / job.heads_per_task, block_table, first,
                          tile.num_tokens, scratch.keys, scratch.values);
    }
    kernels_->attention_tile(
        tile, {scratch.query, scratch.out, scratch.running_max, scratch.running_sum, scratch.first,
               scratch.last, shape.alibi_slopes == nullptr ? nullptr : scratch.alibi_slope,
               shape.logit_softcap, rows});
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t token = task.first_query + r / task.num_heads;
    const int64_t head = task.first_head + r % task.num_heads;
    float* target =
        static_cast<float*>(job.out.data) + token * job.out.stride + head * job.value_dim;
    const float inverse = 1.0f / scratch.running_sum[r];
    for (int64_t d = 0; d < job.value_dim; ++d) {
      target[d] = scratch.out[r * job.value_dim + d] * inverse;
    }
  }
}

}  // namespace pingti::worker::cpu
