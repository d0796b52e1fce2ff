#include "worker/speculation/head_drafts.h"

#include <algorithm>

#include "absl/status/status.h"
#include "common/base/log.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/request_group.h"

namespace pingti::worker {

void HeadDrafts::AfterStep(std::span<const ComputedTokens> computed) {
  num_texts_ = 0;
  if (failed_) return;
  texts_.resize(std::max(texts_.size(), computed.size()));
  for (const ComputedTokens& tokens : computed) {
    const Sequence& sequence = *tokens.sequence;
    Text& text = texts_[num_texts_++];
    text.sequence = &sequence;
    text.first_position = tokens.first_position;
    text.first_row = tokens.first_row;
    const auto first = sequence.tokens.begin() + tokens.first_position + 1;
    text.followers.assign(first, first + tokens.num_tokens);
    text.blocks.clear();
    for (const BlockLease& block : sequence.blocks) text.blocks.push_back(block.block());
    text.ask = nullptr;
    Note(text);
  }
}

void HeadDrafts::Note(const Text& text) {
  unread_.clear();
  for (int32_t i = 0; i < text.size(); ++i) {
    const int32_t position = text.first_position + i;
    const auto entry = static_cast<size_t>(position / head_->block_tokens());
    unread_.push_back({text.blocks[entry], position % head_->block_tokens(), position,
                       text.followers[static_cast<size_t>(i)], text.first_row + i});
  }
  head_->Note(unread_);
}

void HeadDrafts::FindAsks(std::span<DraftAsk> asks) {
  by_sequence_.clear();
  for (DraftAsk& ask : asks) by_sequence_[ask.sequence] = &ask;
  asked_.clear();
  for (Text& text : std::span(texts_).first(num_texts_)) {
    const auto found = by_sequence_.find(text.sequence);
    if (found == by_sequence_.end()) continue;
    // A draft follows the state at the last position that was computed.
    const size_t known = static_cast<size_t>(text.first_position + text.size()) + 1;
    if (known != text.sequence->tokens.size()) continue;
    text.ask = found->second;
    text.place = static_cast<int32_t>(asked_.size());
    asked_.push_back(&text);
  }
}

void HeadDrafts::Propose(std::span<DraftAsk> asks) {
  if (failed_ || num_texts_ == 0) return;
  FindAsks(asks);
  if (!asked_.empty()) {
    Draw(std::clamp(head_->max_tokens() / static_cast<int32_t>(asked_.size()), 1, kMaxDrafts + 1));
  }
  num_texts_ = 0;
}

void HeadDrafts::Draw(int32_t tail) {
  for (Text* text : asked_) {
    AddText(*text, tail);
    AddRow(text);
  }
  RunAndDraw(/*is_chain=*/false);
  while (!drawing_.empty()) {
    std::vector<Text*> links;
    links.swap(drawing_);
    for (Text* text : links) {
      AddDraft(*text);
      AddRow(text);
    }
    RunAndDraw(/*is_chain=*/true);
  }
}

void HeadDrafts::AddText(const Text& text, int32_t tail) {
  for (int32_t i = std::max(0, text.size() - tail); i < text.size(); ++i) {
    token_ids_.push_back(text.followers[static_cast<size_t>(i)]);
    positions_.push_back(text.first_position + i);
    states_.push_back(text.first_row + i);
  }
  query_start_.push_back(static_cast<int32_t>(token_ids_.size()));
  context_len_.push_back(text.first_position + text.size());
  in_batch_.push_back(&text);
}

void HeadDrafts::AddDraft(const Text& text) {
  const auto drafts = static_cast<int32_t>(text.ask->drafts.size());
  const int32_t position = text.first_position + text.size() - 1 + drafts;
  token_ids_.push_back(text.ask->drafts.back());
  positions_.push_back(position);
  states_.push_back(text.state);
  query_start_.push_back(static_cast<int32_t>(token_ids_.size()));
  context_len_.push_back(position + 1);
  in_batch_.push_back(&text);
}

void HeadDrafts::AddRow(Text* text) {
  text->state = static_cast<int32_t>(rows_.size());
  const Sequence& sequence = *text->ask->sequence;
  const RequestGroup& group = *sequence.group;
  const Sample& sample = *group.samples[sequence.index];
  const auto ahead = static_cast<int32_t>(text->ask->drafts.size());
  rows_.push_back(sample.sampling.Row(static_cast<int32_t>(sequence.tokens.size()) + ahead,
                                      group.SuppressesStops(sample, ahead), -1));
  drawing_.push_back(text);
}

void HeadDrafts::Run(bool is_chain) {
  const auto spares = static_cast<size_t>(head_->spare_blocks_per_seq());
  size_t width = 0;
  for (const Text* text : in_batch_) width = std::max(width, text->blocks.size() + spares);
  block_table_.assign(in_batch_.size() * width, 0);
  for (size_t i = 0; i < in_batch_.size(); ++i) {
    const Text& text = *in_batch_[i];
    int32_t* row = block_table_.data() + i * width;
    row = std::copy(text.blocks.begin(), text.blocks.end(), row);
    for (size_t spare = 0; spare < spares; ++spare) {
      row[spare] = head_->first_spare_block() + text.place * static_cast<int32_t>(spares) +
                   static_cast<int32_t>(spare);
    }
  }
  const HeadBatch batch{token_ids_,   positions_,   query_start_,
                        context_len_, block_table_, static_cast<int32_t>(width),
                        states_,      is_chain};
  const absl::Status status = failed_ ? absl::OkStatus() : head_->Forward(batch);
  in_batch_.clear();
  token_ids_.clear();
  positions_.clear();
  states_.clear();
  query_start_.resize(1);
  context_len_.clear();
  if (!status.ok()) Fail(status);
}

void HeadDrafts::RunAndDraw(bool is_chain) {
  Run(is_chain);
  sampled_.resize(rows_.size());
  if (!failed_) {
    const absl::Status status = head_->Sample(rows_, sampled_);
    if (!status.ok()) Fail(status);
  }
  rows_.clear();
  size_t left = 0;
  for (size_t i = 0; i < drawing_.size() && !failed_; ++i) {
    // A mask may leave none of the tokens that the head knows.
    if (sampled_[i].logits_not_finite || sampled_[i].token_id < 0) continue;
    Text* text = drawing_[i];
    text->ask->drafts.push_back(sampled_[i].token_id);
    if (static_cast<int32_t>(text->ask->drafts.size()) < text->ask->most) {
      drawing_[left++] = text;
    }
  }
  drawing_.resize(left);
}

void HeadDrafts::Fail(const absl::Status& status) {
  LogError("the draft head failed; nothing is proposed any more", {{"error", status.ToString()}});
  failed_ = true;
}

}  // namespace pingti::worker
