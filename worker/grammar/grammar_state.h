// Where one sample stands in its grammar, and which tokens may come next.
//
// A value: beams copy their parents'. Confined to the engine thread. Read next:
// common/grammar/matcher.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "common/grammar/matcher.h"

namespace pingti::worker {

class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<grammar::CompiledGrammar> compiled);

  // Reads tokens that were produced elsewhere, from `*next` on, until all are read or this has cost
  // about `most_work`; `*next` is then the first that is not read yet. Errors: InvalidArgument
  // naming the one that the grammar does not allow.
  absl::Status Replay(std::span<const int32_t> tokens, int64_t most_work, size_t* next);
  // Reads the token that was drawn.
  absl::Status Accept(int32_t token);

  // Writes to `mask` what the grammar allows next and `allowed` too; tokens outside `preferred`
  // only where nothing else is left (so a text that can only end ends before its min_tokens). All:
  // [mask_words()], the last two also empty for all tokens. Errors: InvalidArgument when no
  // token is left or the matcher's errors: they would be the same at any other worker; Unavailable
  // when it costs more than `most_work`. `mask` then allows everything.
  absl::Status FillMask(std::span<const uint32_t> allowed, std::span<const uint32_t> preferred,
                        int64_t most_work, std::span<uint32_t> mask);
  // What all states of the grammar have cost so far, see MaskBudget.
  int64_t work() const { return compiled_->work(); }
  // ceil(vocab / 32).
  size_t mask_words() const { return compiled_->vocabulary().mask_words(); }

  // Whether an end token was read.
  bool ended() const { return ended_; }

  // To read ahead (drafts) and come back.
  struct Place {
    grammar::Matcher matcher;
    bool ended;
  };
  Place place() const { return {matcher_, ended_}; }
  void ReturnTo(Place place);

 private:
  absl::Status TryFillMask(std::span<const uint32_t> allowed, std::span<const uint32_t> preferred,
                           int64_t most_work, std::span<uint32_t> mask);

  std::shared_ptr<grammar::CompiledGrammar> compiled_;  // shared: cached, and other samples' too
  grammar::Matcher matcher_;
  bool ended_ = false;
};

}  // namespace pingti::worker
