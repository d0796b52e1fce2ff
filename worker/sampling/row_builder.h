// From a request's sampling parameters and a sequence's history to the row a backend reads.
//
// RequestSampling is shared by all beams of a request, SequenceSampling belongs to one. Confined
// to the engine thread after construction. Read next: worker/backend/sampling_params.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/sampling/parameters.h"
#include "worker/sampling/token_counts.h"

namespace pingti::worker {

// What all beams of one request have in common.
class RequestSampling {
 public:
  // `stop_token_ids` may not be drawn while a row is built with `suppress_stops`.
  // REQUIRES: validated; every token id is below vocab_size.
  RequestSampling(const SamplingParameters& parameters, int32_t vocab_size,
                  std::span<const int32_t> stop_token_ids, bool may_suppress_stops);

  const SamplingParameters& parameters() const { return parameters_; }
  // Empty: every token may be drawn.
  std::span<const uint32_t> Mask(bool suppress_stops) const {
    return suppress_stops ? mask_without_stops_ : mask_;
  }

 private:
  const SamplingParameters parameters_;
  std::vector<uint32_t> mask_;
  std::vector<uint32_t> mask_without_stops_;
};

// The history of a request's only sample, or of a beam.
class SequenceSampling {
 public:
  // `max_tokens` bounds prompt and output together. `request` must outlive it.
  void Reset(const RequestSampling* request, std::span<const int32_t> prompt,
             std::span<const int32_t> output, int32_t max_tokens);
  void AddOutput(int32_t token_id) {
    if (counting_) counts_.AddOutput(token_id);
  }

  // The row for the token at `position` of the sequence. Borrows from this object until the next
  // AddOutput. num_top_logprobs as in SamplingRow.
  SamplingRow Row(int32_t position, bool suppress_stops, int32_t num_top_logprobs) const;

 private:
  const RequestSampling* request_ = nullptr;
  bool counting_ = false;
  TokenCounts counts_;
};

}  // namespace pingti::worker
