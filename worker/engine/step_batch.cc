// See step_batch.h.
#include "worker/engine/step_batch.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "worker/sampling/token_counts.h"

namespace pingti::worker {

StepBatch::StepBatch(const StepBudget& budget, int32_t max_blocks_per_seq,
                     const AdapterSlots* adapters)
    : max_blocks_per_seq_(max_blocks_per_seq), adapters_(adapters) {
  const size_t tokens = static_cast<size_t>(budget.max_tokens);
  const size_t sequences = static_cast<size_t>(budget.max_sequences);
  const size_t rows = static_cast<size_t>(budget.rows());
  token_ids_.reserve(tokens);
  positions_.reserve(tokens);
  query_start_.reserve(sequences + 1);
  context_len_.reserve(sequences);
  adapter_slots_.reserve(sequences);
  block_table_.reserve(sequences * static_cast<size_t>(max_blocks_per_seq));
  copies_.reserve(sequences);
  rows_.reserve(sequences);
  constrained_.reserve(sequences);
  logit_tokens_.reserve(rows);
  sampling_rows_.reserve(rows);
  sampled_.resize(rows);
  mask_status_.resize(rows);
  draft_counts_.resize(rows);
}

void StepBatch::Build(const StepPlan& plan, std::span<const PlannedCopy> copies) {
  token_ids_.clear();
  positions_.clear();
  query_start_.clear();
  context_len_.clear();
  logit_tokens_.clear();
  adapter_slots_.clear();
  copies_.clear();
  rows_.clear();
  sampling_rows_.clear();
  constrained_.clear();
  logprob_requests_.clear();
  draws_anything_ = false;
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
  const bool any_adapter = std::any_of(adapter_slots_.begin(), adapter_slots_.end(),
                                       [](int32_t slot) { return slot != kNoAdapterSlot; });
  forward_.adapter_slots = any_adapter ? adapter_slots_ : std::span<const int32_t>();
  // Rows of constrained samples get their masks later.
  forward_.highest_only = constrained_.empty() && logprob_requests_.empty() &&
                          std::all_of(sampling_rows_.begin(), sampling_rows_.end(), TakesHighest);
}

std::span<SampledToken> StepBatch::logprob_results() {
  if (logprob_results_.size() < logprob_requests_.size()) {
    logprob_results_.resize(logprob_requests_.size());
  }
  return std::span(logprob_results_).first(logprob_requests_.size());
}

void StepBatch::FillGrammarMasks(MaskBudget* budget) {
  if (constrained_.empty()) return;
  // One vocabulary, so one size.
  const size_t words = constrained_[0].sample->grammar->mask_words();
  size_t num_rows = 0;
  for (const Constrained& constrained : constrained_) num_rows += constrained.num_rows;
  if (masks_.size() < num_rows * words) masks_.resize(num_rows * words);
  // Who has waited longest first.
  std::sort(constrained_.begin(), constrained_.end(),
            [](const Constrained& a, const Constrained& b) {
              return std::pair(-a.sample->mask_waits, a.chunk) <
                     std::pair(-b.sample->mask_waits, b.chunk);
            });
  std::span<uint32_t> left = masks_;
  for (const Constrained& constrained : constrained_) {
    const size_t filled =
        FillMasksOf(constrained, left.first(constrained.num_rows * words), budget);
    left = left.subspan(constrained.num_rows * words);
    rows_[constrained.chunk].num_drawn = filled;
    constrained.sample->mask_waits = filled == 0 ? constrained.sample->mask_waits + 1 : 0;
  }
}

size_t StepBatch::FillMasksOf(const Constrained& constrained, std::span<uint32_t> masks,
                              MaskBudget* budget) {
  Sample* sample = constrained.sample;
  const Sequence& sequence = sample->sequence;
  const RequestGroup& group = *sequence.group;
  const size_t words = masks.size() / constrained.num_rows;
  GrammarState& grammar = *sample->grammar;
  std::optional<GrammarState::Place> place;
  if (constrained.num_rows > 1) place = grammar.place();
  size_t filled = 0;
  while (filled < constrained.num_rows) {
    const size_t row = constrained.first_row + filled;
    const std::span<uint32_t> mask = masks.subspan(filled * words, words);
    const bool suppresses_stops = group.SuppressesStops(*sample, static_cast<int32_t>(filled));
    const int64_t before = grammar.work();
    mask_status_[row] =
        grammar.FillMask(group.sampling.Mask(false), group.sampling.Mask(suppresses_stops),
                         budget->MostWork(sample->mask_waits > 0), mask);
    budget->Spend(grammar.work() - before);
    if (absl::IsUnavailable(mask_status_[row])) break;
    sampling_rows_[row].allowed_mask = mask;
    if (++filled == constrained.num_rows) break;
    // No token is taken behind a draft that the grammar forbids.
    const int32_t draft =
        sequence.tokens[sequence.first_drawn_from() + static_cast<int32_t>(filled)];
    if (!grammar.Accept(draft).ok()) break;
  }
  if (place.has_value()) grammar.ReturnTo(*std::move(place));
  return filled;
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
  adapter_slots_.push_back(adapters_ == nullptr ? kNoAdapterSlot
                                                : adapters_->SlotOf(sequence.adapter));
  int32_t* row = block_table_.data() + index * static_cast<size_t>(forward_.max_blocks_per_seq);
  for (size_t i = 0; i < sequence.blocks.size(); ++i) row[i] = sequence.blocks[i].block();
}

void StepBatch::AddRows(const PlannedChunk& chunk) {
  const Sequence& sequence = *chunk.sequence;
  const RequestGroup& group = *sequence.group;
  const int32_t begin = sequence.num_computed;
  const int32_t end = begin + chunk.num_tokens;
  const int32_t first_token = static_cast<int32_t>(token_ids_.size());
  const int32_t first_drawn = std::clamp(sequence.first_drawn_from(), begin, end);
  Rows rows;
  rows.first_request = logprob_requests_.size();
  for (int32_t position = sequence.row_per_token ? begin : first_drawn; position < end;
       ++position) {
    const int32_t row = static_cast<int32_t>(logit_tokens_.size());
    logit_tokens_.push_back(first_token + position - begin);
    if (sequence.row_per_token && position + 1 < group.num_prompt()) {
      logprob_requests_.push_back(
          {row, sequence.tokens[position + 1], group.request.logprobs.top_logprobs});
    }
    if (position < first_drawn) {
      sampling_rows_.emplace_back().temperature = 0.0f;  // its draw is not looked at
    } else {
      AddDrawnRow(sequence, position, position - first_drawn);
    }
  }
  rows.num_rows = rows.num_drawn = static_cast<size_t>(end - first_drawn);
  rows.first_drawn = logit_tokens_.size() - rows.num_rows;
  rows.num_requests = logprob_requests_.size() - rows.first_request;
  if (rows.num_drawn > 0) {
    Sample* sample = group.samples[sequence.index].get();
    if (sample->grammar != nullptr) {
      constrained_.push_back({sample, rows_.size(), rows.first_drawn, rows.num_rows});
    }
    draws_anything_ = true;
  }
  rows_.push_back(rows);
}

void StepBatch::AddDrawnRow(const Sequence& sequence, int32_t position, int32_t ahead) {
  const RequestGroup& group = *sequence.group;
  const Sample& sample = *group.samples[sequence.index];
  SamplingRow row = sample.sampling.Row(position + 1, group.SuppressesStops(sample, ahead),
                                        group.num_top_logprobs());
  if (ahead > 0 && !row.token_counts.empty()) {
    std::vector<TokenCount>& counts = draft_counts_[sampling_rows_.size()];
    CountsAfter(sampling_rows_.back().token_counts, sequence.tokens[position], &counts);
    row.token_counts = counts;
  }
  if (group.beam != nullptr) row.num_ranked = group.beam->candidates_per_beam();
  sampling_rows_.push_back(row);
}

}  // namespace pingti::worker
