#include "worker/model/unread_tokens.h"

#include "common/base/check.h"

namespace pingti::worker {

UnreadTokens::UnreadTokens(int32_t num_blocks, int32_t block_tokens)
    : block_tokens_(block_tokens),
      at_(static_cast<size_t>(num_blocks) * static_cast<size_t>(block_tokens), kNone),
      in_block_(static_cast<size_t>(num_blocks), 0) {}

void UnreadTokens::Add(const UnreadToken& token) {
  PINGTI_CHECK(Has(token.block) && token.offset >= 0 && token.offset < block_tokens_);
  int32_t& index = At(token.block, token.offset);
  if (index != kNone) {
    tokens_[static_cast<size_t>(index)] = token;
    return;
  }
  index = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  ++in_block_[static_cast<size_t>(token.block)];
}

void UnreadTokens::Remove(int32_t block, int32_t offset) {
  if (!AnyIn(block)) return;
  const int32_t index = At(block, offset);
  if (index == kNone) return;
  At(block, offset) = kNone;
  --in_block_[static_cast<size_t>(block)];
  const UnreadToken last = tokens_.back();
  tokens_.pop_back();
  if (index == static_cast<int32_t>(tokens_.size())) return;
  tokens_[static_cast<size_t>(index)] = last;
  At(last.block, last.offset) = index;
}

bool UnreadTokens::AnyIn(int32_t block) const {
  return Has(block) && in_block_[static_cast<size_t>(block)] > 0;
}

void UnreadTokens::Clear() {
  for (const UnreadToken& token : tokens_) {
    At(token.block, token.offset) = kNone;
    in_block_[static_cast<size_t>(token.block)] = 0;
  }
  tokens_.clear();
}

}  // namespace pingti::worker
