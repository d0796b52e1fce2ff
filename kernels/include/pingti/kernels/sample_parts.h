// What one of several devices, which hold a part of every row's logits each, says of its part so
// that tokens can be drawn from all parts' records: sampling.h has the rules, and docs/adr/0019 why
// a record suffices. Host only.
// Next: kernels/sampling/sample_parts.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "pingti/kernels/sampling.h"

namespace pingti::kernels {

inline constexpr int kMaxPartCandidates = 128;

// All fields are floats, so that records travel as a matrix; ids are below 2^24, -1: there is no
// such token.
struct PartToken {
  float logit;  // adjusted
  float score;  // logit / temperature + noise; 0 for rows that do not draw
  float raw;    // the logit before it was adjusted
  float token_id;
};

struct PartTop {
  float raw;
  float token_id;
};

// A record: this, then `candidates` PartTokens, then `top` PartTops, both descending, ties lower id
// first. A sum is two floats, whose sum it is.
struct PartSummary {
  float is_finite;      // 0: among the adjusted logits is a NaN or +inf
  float raw_is_finite;  // 0: among the raw ones; of rows with logprobs, else 1
  float mass_high;      // of exp((logit - best) / temperature); of rows that draw with top_p and
  float mass_low;       // without top_k, else 0
  float raw_max;        // of rows with logprobs
  float raw_sum_high;   // of exp(raw - raw_max); of rows with logprobs, else 0
  float raw_sum_low;
  float unused;
  PartToken drawn;  // the highest score; of rows that draw without top_k
};

// All pointers are device memory.
struct SamplePartsParams {
  const float* logits = nullptr;                     // [num_rows, part_size], not changed
  int64_t logits_stride = 0;                         // elements
  const SamplingRowParams* rows = nullptr;           // [num_rows], with num_candidates; none ranks
  const SamplingTokenCount* token_counts = nullptr;  // of the whole vocabulary, as the two below
  const SamplingTokenBias* token_biases = nullptr;
  const uint32_t* allowed_masks = nullptr;
  int64_t allowed_mask_stride = 0;  // words
  void* workspace = nullptr;        // SampleWorkspaceBytes of part_size, 16-byte aligned
  float* records = nullptr;         // [num_rows], 16-byte aligned
  int64_t records_stride = 0;       // elements, a multiple of 4
  int32_t candidates = 1;           // room of a record: 1..kMaxPartCandidates
  int32_t top = 0;                  // room of a record: 0..kMaxTopLogprobs, a multiple of 2
  int32_t num_rows = 0;
  int32_t first_token = 0;  // of the part, a multiple of 4
  int32_t part_size = 0;    // 1..360448
};

// Floats of a record.
constexpr int PartRecordSize(int candidates, int top) {
  return static_cast<int>(sizeof(PartSummary)) / 4 + 4 * candidates + 2 * top;
}

// Deterministic. cudaErrorInvalidValue: a null pointer or a size outside the ranges above;
// cudaErrorNotSupported: a device older than sm_80.
cudaError_t LaunchSampleParts(const SamplePartsParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
