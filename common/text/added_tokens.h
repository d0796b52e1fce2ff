// Tokens that are cut out of the text before anything else happens to it: control tokens such as
// <|im_start|> and words added to a vocabulary later. Immutable after Make, thread-safe.
// Source of the rules: Hugging Face tokenizers, "AddedToken".
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/text/tokenizer.h"

namespace pingti::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;  // not next to a letter or digit
  bool lstrip = false;       // swallows white space before it
  bool rstrip = false;       // swallows white space after it
  bool normalized = false;   // looked for in normalized text
};

// Finds the leftmost, longest of a set of strings. Time: text.size() times the longest string at
// worst, which the model bounds, not the text.
class AddedTokenTrie {
 public:
  struct Section {
    std::string_view text;
    const AddedToken* token;  // nullptr: ordinary text
  };

  // `spelling[i]` is looked for in place of tokens[i].content; `tokens` must stay where they are.
  void Insert(std::string_view spelling, const AddedToken* token);
  // Appends the sections of `text` in order; none is empty.
  void Split(std::string_view text, bool parse_special, std::vector<Section>* sections) const;

 private:
  struct Node {
    const AddedToken* token = nullptr;
    std::vector<std::pair<char, int>> children;
  };
  struct Match {
    const AddedToken* token = nullptr;
    size_t length = 0;
  };
  Match LongestAt(std::string_view text, size_t pos, bool parse_special) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<int, 256> first_{};  // child of the root by byte, 0: none
};

}  // namespace pingti::text
