// See step_batch.h.
#include "worker/engine/step_batch.h"

#include <algorithm>

namespace pingti::worker {

StepBatch::StepBatch(const StepBudget& budget, int32_t max_blocks_per_seq)
    : max_blocks_per_seq_(max_blocks_per_seq) {
  const size_t tokens = static_cast<size_t>(budget.max_tokens);
  const size_t sequences = static_cast<size_t>(budget.max_sequences);
  token_ids_.reserve(tokens);
  positions_.reserve(tokens);
  query_start_.reserve(sequences + 1);
  context_len_.reserve(sequences);
  block_table_.reserve(sequences * static_cast<size_t>(max_blocks_per_seq));
  logit_tokens_.reserve(sequences);
  copies_.reserve(sequences);
  rows_.reserve(sequences);
  sampling_rows_.reserve(sequences);
  constrained_.reserve(sequences);
  sampled_.resize(sequences);
}

void StepBatch::Build(const StepPlan& plan, std::span<const PlannedCopy> copies) {
  token_ids_.clear();
  positions_.clear();
  query_start_.clear();
  context_len_.clear();
  logit_tokens_.clear();
  copies_.clear();
  rows_.clear();
  sampling_rows_.clear();
  constrained_.clear();
  logprob_requests_.clear();
  samples_anything_ = false;
  for (const PlannedCopy& copy : copies) copies_.push_back({copy.from, copy.to});

  // The table is as wide as the longest sequence of this step needs.
  int32_t width = 1;
  for (const PlannedChunk& chunk : plan.chunks) {
    width = std::max(width, static_cast<int32_t>(chunk.sequence->blocks.size()));
  }
  width = std::min(width, max_blocks_per_seq_);
  block_table_.assign(plan.chunks.size() * static_cast<size_t>(width), 0);
  query_start_.push_back(0);
  forward_.max_blocks_per_seq = width;
  for (size_t i = 0; i < plan.chunks.size(); ++i) AddChunk(plan.chunks[i], i);

  forward_.token_ids = token_ids_;
  forward_.positions = positions_;
  forward_.query_start = query_start_;
  forward_.context_len = context_len_;
  forward_.block_table = block_table_;
  forward_.logit_tokens = logit_tokens_;
}

void StepBatch::FillGrammarMasks() {
  for (Sample* sample : constrained_) {
    const RequestGroup& group = *sample->sequence.group;
    const bool suppresses_stops = group.SuppressesStops(*sample);
    // A failure ends the sample when its token is taken.
    sample->grammar->FillMask(group.sampling.Mask(false), group.sampling.Mask(suppresses_stops))
        .IgnoreError();
  }
}

void StepBatch::AddChunk(const PlannedChunk& chunk, size_t index) {
  const Sequence& sequence = *chunk.sequence;
  const int32_t begin = sequence.num_computed;
  const int32_t end = begin + chunk.num_tokens;
  AddRows(chunk);
  for (int32_t position = begin; position < end; ++position) {
    token_ids_.push_back(sequence.tokens[position]);
    positions_.push_back(position);
  }
  query_start_.push_back(static_cast<int32_t>(token_ids_.size()));
  context_len_.push_back(end);
  int32_t* row = block_table_.data() + index * static_cast<size_t>(forward_.max_blocks_per_seq);
  for (size_t i = 0; i < sequence.blocks.size(); ++i) row[i] = sequence.blocks[i].block();
}

void StepBatch::AddRows(const PlannedChunk& chunk) {
  const Sequence& sequence = *chunk.sequence;
  const RequestGroup& group = *sequence.group;
  const int32_t begin = sequence.num_computed;
  const int32_t end = begin + chunk.num_tokens;
  const int32_t first_token = static_cast<int32_t>(token_ids_.size());
  Rows rows;
  rows.first = static_cast<int32_t>(logit_tokens_.size());
  rows.samples = end == sequence.target() && sequence.hold_back == 0;
  const int32_t first_position = sequence.row_per_token ? begin : (rows.samples ? end - 1 : end);
  for (int32_t position = first_position; position < end; ++position) {
    const int32_t row = static_cast<int32_t>(logit_tokens_.size());
    logit_tokens_.push_back(first_token + position - begin);
    if (sequence.row_per_token && position + 1 < group.num_prompt()) {
      logprob_requests_.push_back(
          {row, sequence.tokens[position + 1], group.request.logprobs.top_logprobs});
    }
    SamplingRow greedy;
    greedy.temperature = 0.0f;
    sampling_rows_.push_back(greedy);
  }
  if (rows.samples) {
    Sample& sample = *group.samples[sequence.index];
    sampling_rows_.back() =
        sample.sampling.Row(end, group.SuppressesStops(sample), group.num_top_logprobs(sample));
    if (group.beam != nullptr) {
      // Beams take their tokens from the list of the most likely ones, unmasked.
      sampling_rows_.back().allowed_mask = {};
    }
    if (sample.grammar != nullptr) {
      sampling_rows_.back().allowed_mask = sample.grammar->mask();
      constrained_.push_back(&sample);
    }
    samples_anything_ = true;
  }
  rows.count = static_cast<int32_t>(logit_tokens_.size()) - rows.first;
  rows_.push_back(rows);
}

}  // namespace pingti::worker
