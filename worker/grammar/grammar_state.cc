// See grammar_state.h.
#include "worker/grammar/grammar_state.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

// False, and nothing is changed, when no bit would be left.
bool Narrow(std::span<const uint32_t> to, std::span<uint32_t> mask) {
  if (to.empty()) return true;
  bool any = false;
  for (size_t i = 0; i < mask.size() && !any; ++i) any = (mask[i] & to[i]) != 0;
  if (!any) return false;
  for (size_t i = 0; i < mask.size(); ++i) mask[i] &= to[i];
  return true;
}

// A grammar that overflows, costs too much or leads nowhere does so at every worker: that is the
// client's error and no moment's shortage, for which a router would try the next worker.
absl::Status AsClientsError(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status) && !absl::IsFailedPrecondition(status)) return status;
  return absl::InvalidArgumentError(Concat("grammar: ", std::string(status.message())));
}

}  // namespace

GrammarState::GrammarState(std::shared_ptr<grammar::CompiledGrammar> compiled)
    : compiled_(std::move(compiled)), matcher_(compiled_) {}

absl::Status GrammarState::Replay(std::span<const int32_t> tokens, int64_t most_work,
                                  size_t* next) {
  const int64_t end_of_work = work() + most_work;
  for (; *next < tokens.size() && work() < end_of_work; ++*next) {
    const absl::Status status = Accept(tokens[*next]);
    if (status.ok()) continue;
    return absl::InvalidArgumentError(
        Concat("generated_token_ids[", *next, "]: ", std::string(status.message())));
  }
  return absl::OkStatus();
}

absl::Status GrammarState::Accept(int32_t token) {
  const absl::Status status = AsClientsError(matcher_.Accept(token));
  if (status.ok()) ended_ = ended_ || compiled_->vocabulary().is_end_token(token);
  return status;
}

void GrammarState::ReturnTo(Place place) {
  matcher_ = std::move(place.matcher);
  ended_ = place.ended;
}

absl::Status GrammarState::FillMask(std::span<const uint32_t> allowed,
                                    std::span<const uint32_t> preferred, int64_t most_work,
                                    std::span<uint32_t> mask) {
  const absl::Status status = TryFillMask(allowed, preferred, most_work, mask);
  if (!status.ok()) std::fill(mask.begin(), mask.end(), ~0u);
  return status;
}

absl::Status GrammarState::TryFillMask(std::span<const uint32_t> allowed,
                                       std::span<const uint32_t> preferred, int64_t most_work,
                                       std::span<uint32_t> mask) {
  PINGTI_RETURN_IF_ERROR(AsClientsError(matcher_.FillMask(mask, most_work)));
  if (!Narrow(allowed, mask)) {
    return absl::InvalidArgumentError(
        "allowed_token_ids has none of the tokens that the grammar allows next");
  }
  Narrow(preferred, mask);
  return absl::OkStatus();
}

}  // namespace pingti::worker
