// Drafts from a head that reads the model's hidden states (EAGLE-3), as a chain: each further draft
// is made of the head's own state behind the one before.
//
// The head gets every token that the model computed, prompts too, so that its keys and values are
// there wherever the model's are: those of a reused prefix, of a fork. It reads what drafts are
// asked for with their first link, and the rest many steps later. What it keeps at a position
// depends on the token behind it, so that at the last position of a reused block it may be what
// another text made of it; drafts suffer a little, answers never. It draws with the
// request's own parameters, seed and positions, so that where the two distributions agree, so do
// their draws.
// Confined to the engine thread. Next: worker/model/draft_head.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "worker/engine/draft_source.h"
#include "worker/model/draft_head.h"

namespace pingti::worker {

class HeadDrafts : public DraftSource {
 public:
  // `head` is allocated with its model and must outlive this object.
  explicit HeadDrafts(DraftHead* head) : head_(head) {}

  void AfterStep(std::span<const ComputedTokens> computed) override;
  int64_t num_read() const override { return head_->num_read(); }
  // Once the head has failed, nothing is proposed any more.
  void Propose(std::span<DraftAsk> asks) override;

 private:
  // What the model computed of one sequence in the last step.
  struct Text {
    const Sequence* sequence = nullptr;  // that drafts are asked for; until then only compared
    int32_t first_position = 0;
    int32_t first_row = 0;           // of the model's step
    std::vector<int32_t> followers;  // the token behind each position
    std::vector<int32_t> blocks;
    DraftAsk* ask = nullptr;  // null: nothing is asked
    int32_t place = 0;        // among those that are asked for, whose spare blocks it has
    int32_t state = 0;        // its row of logits in the head's last Forward

    int32_t size() const { return static_cast<int32_t>(followers.size()); }
  };

  void FindAsks(std::span<DraftAsk> asks);
  // The head is to read all of a text.
  void Note(const Text& text);
  // The last `tail` positions of the texts in asked_, then one draft after the other.
  void Draw(int32_t tail);
  // The last `tail` positions of a text go into the batch.
  void AddText(const Text& text, int32_t tail);
  // The last draft does, with the state that it was drawn from.
  void AddDraft(const Text& text);
  // The last position that was added is drawn from, with the request's parameters.
  void AddRow(Text* text);
  // Runs the batch, and forgets it.
  void Run(bool is_chain);
  // Runs it, draws from drawing_, and leaves there those that have got a draft and want another.
  void RunAndDraw(bool is_chain);
  void Fail(const absl::Status& status);

  DraftHead* const head_;
  bool failed_ = false;

  std::vector<Text> texts_;  // [0, num_texts_) are the last step's; the rest keeps its memory
  size_t num_texts_ = 0;
  std::vector<Text*> asked_;
  absl::flat_hash_map<const Sequence*, DraftAsk*> by_sequence_;

  // The batch in progress.
  std::vector<const Text*> in_batch_;
  std::vector<Text*> drawing_;  // one for each row of logits
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> states_;
  std::vector<int32_t> query_start_{0};
  std::vector<int32_t> context_len_;
  std::vector<int32_t> block_table_;
  std::vector<UnreadToken> unread_;
  std::vector<SamplingRow> rows_;
  std::vector<SampledToken> sampled_;
};

}  // namespace pingti::worker
