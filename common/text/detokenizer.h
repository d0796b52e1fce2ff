// Turns one sequence's token ids into text as they arrive, never emitting part of a character.
// Thread-compatible: one object per sequence. Read next: stop_matcher.h.
#pragma once

#include <string>
#include <string_view>

#include "common/text/tokenizer.h"

namespace pingti::text {

class Detokenizer {
 public:
  // `tokenizer` must outlive this. Special tokens are left out of the text unless asked for.
  Detokenizer(const Tokenizer* tokenizer, bool skip_special_tokens);

  // Adds a token; returns the bytes that are now complete characters (may be empty). Bytes that can
  // no longer become UTF-8 come out as U+FFFD, one per maximal ill-formed prefix (Unicode 15.0,
  // section 3.9, "U+FFFD Substitution of Maximal Subparts").
  std::string Push(TokenId id);

  // What is left at the end of the sequence: an incomplete character as U+FFFD, or nothing.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  bool at_start_ = true;
  std::string pending_;  // at most 3 bytes of an incomplete character
};

}  // namespace pingti::text
