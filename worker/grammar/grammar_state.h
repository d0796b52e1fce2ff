// Where one sample stands in its grammar, and the mask for its next token.
//
// A value: samples forked from one prompt copy it. All memory but what the grammar itself works out
// is taken when it is made. Confined to the engine thread. Read next: common/grammar/matcher.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/grammar/matcher.h"

namespace pingti::worker {

class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<grammar::CompiledGrammar> compiled);

  // Reads tokens that were produced elsewhere. Errors: InvalidArgument naming the one that the
  // grammar does not allow.
  absl::Status Replay(std::span<const int32_t> tokens);
  // Reads the token that was drawn.
  absl::Status Accept(int32_t token);

  // Works out mask(): what the grammar allows and `allowed` too; tokens outside `preferred` only
  // where nothing else is left (so a text that can only end ends before its min_tokens). Both:
  // [ceil(vocab / 32)], or empty for all. Errors: FailedPrecondition when no token is left,
  // ResourceExhausted by the matcher; mask() then allows everything.
  absl::Status FillMask(std::span<const uint32_t> allowed, std::span<const uint32_t> preferred);
  // Stays where it is for this object's life; its bits are those of the latest FillMask.
  std::span<const uint32_t> mask() const { return mask_; }

  // Whether an end token was read.
  bool ended() const { return ended_; }
  // The first error of Accept and FillMask.
  const absl::Status& status() const { return status_; }

 private:
  absl::Status TryFillMask(std::span<const uint32_t> allowed, std::span<const uint32_t> preferred);
  // False, and nothing is changed, when no bit would be left.
  bool Narrow(std::span<const uint32_t> to);

  std::shared_ptr<grammar::CompiledGrammar> compiled_;  // shared: cached, and other samples' too
  grammar::Matcher matcher_;
  std::vector<uint32_t> mask_;
  bool ended_ = false;
  absl::Status status_;
};

}  // namespace pingti::worker
