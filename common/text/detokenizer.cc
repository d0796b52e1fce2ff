// See detokenizer.h.
#include "common/text/detokenizer.h"

#include "common/text/utf8.h"

namespace pingti::text {

Detokenizer::Detokenizer(const Tokenizer* tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string Detokenizer::Push(TokenId id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return {};
  std::string_view bytes = tokenizer_->TokenBytes(id);
  if (at_start_ && !bytes.empty()) {
    at_start_ = false;
    if (tokenizer_->StripsLeadingSpace() && bytes.front() == ' ') bytes.remove_prefix(1);
  }
  pending_ += bytes;
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const size_t good = ValidUtf8Prefix(rest);
    out += rest.substr(0, good);
    rest.remove_prefix(good);
    if (rest.empty()) break;
    const DecodedChar c = DecodeUtf8(rest);
    if (c.truncated) break;
    AppendUtf8(0xFFFD, &out);
    rest.remove_prefix(c.length);
  }
  pending_ = std::string(rest);
  return out;
}

std::string Detokenizer::Finish() {
  std::string out = ReplaceInvalidUtf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace pingti::text
