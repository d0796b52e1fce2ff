// See grammar_state.h.
#include "worker/grammar/grammar_state.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {

GrammarState::GrammarState(std::shared_ptr<grammar::CompiledGrammar> compiled)
    : compiled_(std::move(compiled)),
      matcher_(compiled_),
      mask_(compiled_->vocabulary().mask_words(), ~0u) {}

absl::Status GrammarState::Replay(std::span<const int32_t> tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const absl::Status status = Accept(tokens[i]);
    if (status.ok()) continue;
    return absl::InvalidArgumentError(
        Concat("generated_token_ids[", i, "]: ", std::string(status.message())));
  }
  return absl::OkStatus();
}

absl::Status GrammarState::Accept(int32_t token) {
  const absl::Status status = matcher_.Accept(token);
  if (status.ok()) ended_ = ended_ || compiled_->vocabulary().is_end_token(token);
  status_.Update(status);
  return status;
}

absl::Status GrammarState::FillMask(std::span<const uint32_t> allowed,
                                    std::span<const uint32_t> preferred) {
  const absl::Status status = TryFillMask(allowed, preferred);
  if (!status.ok()) std::fill(mask_.begin(), mask_.end(), ~0u);
  status_.Update(status);
  return status;
}

absl::Status GrammarState::TryFillMask(std::span<const uint32_t> allowed,
                                       std::span<const uint32_t> preferred) {
  PINGTI_RETURN_IF_ERROR(matcher_.FillMask(mask_));
  if (!Narrow(allowed)) {
    return absl::FailedPreconditionError(
        "allowed_token_ids has none of the tokens that the grammar allows next");
  }
  Narrow(preferred);
  return absl::OkStatus();
}

bool GrammarState::Narrow(std::span<const uint32_t> to) {
  if (to.empty()) return true;
  bool any = false;
  for (size_t i = 0; i < mask_.size() && !any; ++i) any = (mask_[i] & to[i]) != 0;
  if (!any) return false;
  for (size_t i = 0; i < mask_.size(); ++i) mask_[i] &= to[i];
  return true;
}

}  // namespace pingti::worker
