#include "worker/engine/speculator.h"

#include <algorithm>

#include "common/base/check.h"

namespace pingti::worker {

int32_t Speculator::Collect(std::span<Sequence* const> running) {
  samples_.clear();
  demands_.clear();
  int32_t num_decodes = 0;
  for (Sequence* sequence : running) {
    if (!sequence->decodes()) continue;
    ++num_decodes;
    const RequestGroup& group = *sequence->group;
    Sample* sample = group.samples[sequence->index].get();
    // The last token of an answer is drawn, so that it needs no draft.
    const int32_t most = std::min(most_, group.max_output - sample->num_output - 1);
    const bool may_have_some =
        group.request.speculate && group.beam == nullptr && sequence->num_draft == 0;
    if (!may_have_some || most <= 0) continue;
    samples_.push_back(sample);
    demands_.push_back({&sample->draft_acceptance, most});
  }
  return num_decodes;
}

void Speculator::Propose(std::span<Sequence* const> running, const StepBudget& budget,
                         StepStats* stats) {
  if (source_ == nullptr) return;
  const int32_t num_decodes = Collect(running);
  if (!demands_.empty()) {
    depth_.Plan(num_decodes, std::min(budget.max_tokens, budget.rows()), demands_);
  }
  asks_.resize(std::max(asks_.size(), demands_.size()));
  size_t count = 0;
  for (size_t i = 0; i < demands_.size(); ++i) {
    if (demands_[i].depth == 0) continue;
    DraftAsk& ask = asks_[count++];
    ask.sequence = &samples_[i]->sequence;
    ask.memory = &samples_[i]->draft_memory;
    ask.most = demands_[i].depth;
    ask.drafts.clear();
  }
  const TimePoint begin = clock_->Now();
  source_->Propose(std::span(asks_).first(count));
  stats->draft_time = clock_->Now() - begin;
  for (size_t i = 0; i < count; ++i) {
    const DraftAsk& ask = asks_[i];
    PINGTI_CHECK(static_cast<int32_t>(ask.drafts.size()) <= ask.most);
    Sequence* sequence = &ask.sequence->group->samples[ask.sequence->index]->sequence;
    sequence->tokens.insert(sequence->tokens.end(), ask.drafts.begin(), ask.drafts.end());
    sequence->num_draft = static_cast<int32_t>(ask.drafts.size());
  }
}

void Speculator::AfterStep(const StepPlan& plan, const ForwardBatch& batch, StepStats* stats) {
  if (source_ == nullptr) return;
  stats->num_read_for_drafts = source_->num_read() - num_read_;
  num_read_ = source_->num_read();
  computed_.clear();
  for (size_t i = 0; i < plan.chunks.size(); ++i) {
    const Sequence* sequence = plan.chunks[i].sequence;
    if (sequence->state != Sequence::State::kRunning || sequence->group->done ||
        sequence->group->beam != nullptr) {
      continue;
    }
    const int32_t row = batch.query_start[i];
    const int32_t position = batch.positions[static_cast<size_t>(row)];
    // Drafts that did not stand are computed no more, and a token that is last has no successor.
    const int32_t end = std::min({position + plan.chunks[i].num_tokens, sequence->num_computed,
                                  static_cast<int32_t>(sequence->tokens.size()) - 1});
    if (end > position) computed_.push_back({sequence, position, row, end - position});
  }
  source_->AfterStep(computed_);
}

void Speculator::Learn(Sample* sample, int32_t num_checked, int32_t num_accepted,
                       StepStats* stats) {
  PINGTI_CHECK(num_accepted <= num_checked && num_checked <= kMaxDrafts);
  stats->num_drafts += num_checked;
  stats->num_accepted_drafts += num_accepted;
  if (num_checked == 0) return;
  ++stats->accepted_lengths[num_accepted];
  depth_.Learn(&sample->draft_acceptance, num_checked, num_accepted);
}

void Speculator::Add(const StepStats& stats) {
  if (source_ == nullptr || stats.num_decode_tokens < stats.num_tokens) return;
  depth_.Add(stats.num_tokens, stats.duration);
}

}  // namespace pingti::worker
