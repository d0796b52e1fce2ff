// See added_tokens.h.
#include "common/text/added_tokens.h"

#include <algorithm>

#include "common/text/utf8.h"

namespace pingti::text {
namespace {

// Start of the character that ends at `end`.
size_t PreviousChar(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

bool IsSingleWord(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && IsWordChar(DecodeUtf8(text.substr(PreviousChar(text, begin))).value)) {
    return false;
  }
  return end == text.size() || !IsWordChar(DecodeUtf8(text.substr(end)).value);
}

}  // namespace

void AddedTokenTrie::Insert(std::string_view spelling, const AddedToken* token) {
  if (spelling.empty()) return;
  int node = 0;
  for (size_t i = 0; i < spelling.size(); ++i) {
    auto& children = nodes_[static_cast<size_t>(node)].children;
    const auto child = std::find_if(children.begin(), children.end(),
                                    [&](const auto& entry) { return entry.first == spelling[i]; });
    if (child != children.end()) {
      node = child->second;
      continue;
    }
    const int created = static_cast<int>(nodes_.size());
    children.emplace_back(spelling[i], created);
    if (i == 0) first_[static_cast<uint8_t>(spelling[i])] = created;
    nodes_.emplace_back();
    node = created;
  }
  nodes_[static_cast<size_t>(node)].token = token;
}

AddedTokenTrie::Match AddedTokenTrie::LongestAt(std::string_view text, size_t pos,
                                                bool parse_special) const {
  Match best;
  int node = first_[static_cast<uint8_t>(text[pos])];
  for (size_t i = pos + 1; node != 0; ++i) {
    const Node& current = nodes_[static_cast<size_t>(node)];
    if (current.token != nullptr && (parse_special || !current.token->special)) {
      best = {current.token, i - pos};
    }
    if (i >= text.size()) break;
    node = 0;
    for (const auto& [byte, child] : current.children) {
      if (byte == text[i]) node = child;
    }
  }
  return best;
}

void AddedTokenTrie::Split(std::string_view text, bool parse_special,
                           std::vector<Section>* sections) const {
  size_t section_begin = 0;
  size_t pos = 0;
  while (pos < text.size()) {
    if (first_[static_cast<uint8_t>(text[pos])] == 0) {
      ++pos;
      continue;
    }
    const Match match = LongestAt(text, pos, parse_special);
    if (match.token == nullptr) {
      ++pos;
      continue;
    }
    size_t begin = pos, end = pos + match.length;
    pos = end;
    if (match.token->single_word && !IsSingleWord(text, begin, end)) continue;
    if (match.token->lstrip) {
      while (begin > section_begin) {
        const size_t previous = PreviousChar(text, begin);
        if (!IsWhiteSpace(DecodeUtf8(text.substr(previous)).value)) break;
        begin = previous;
      }
    }
    if (match.token->rstrip) {
      while (end < text.size()) {
        const DecodedChar c = DecodeUtf8(text.substr(end));
        if (!IsWhiteSpace(c.value)) break;
        end += c.length;
      }
      pos = end;
    }
    if (begin > section_begin) {
      sections->push_back({text.substr(section_begin, begin - section_begin), nullptr});
    }
    sections->push_back({text.substr(begin, end - begin), match.token});
    section_begin = end;
  }
  if (section_begin < text.size()) sections->push_back({text.substr(section_begin), nullptr});
}

}  // namespace pingti::text
