// See text_wrap.h. Source: Python's library reference, "textwrap".
#include "common/text/jinja/text_wrap.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

using CodePoints = std::vector<char32_t>;

bool IsWrapSpace(char32_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Where the chunks of a text end: runs of white space, words, parts of words with hyphens, and
// dashes between words.
class ChunkReader {
 public:
  ChunkReader(const CodePoints& text, bool at_hyphens) : text_(text), at_hyphens_(at_hyphens) {}

  // The end of the chunk that begins at `begin`.
  size_t End(size_t begin) const {
    size_t end = begin + 1;
    if (IsSpace(begin)) {
      while (IsSpace(end)) ++end;
      return end;
    }
    if (at_hyphens_ && IsDashBehindWord(begin)) {
      while (Is(end, '-')) ++end;
      return end;
    }
    for (; end < text_.size() && !IsSpace(end); ++end) {
      if (!at_hyphens_) continue;
      if (IsHyphenInWord(end)) return end + 1;
      if (IsDashBehindWord(end)) return end;
    }
    return end;
  }

 private:
  bool Is(size_t i, char32_t c) const { return i < text_.size() && text_[i] == c; }
  bool IsSpace(size_t i) const { return i < text_.size() && IsWrapSpace(text_[i]); }
  bool IsWord(size_t i) const { return i < text_.size() && IsWordChar(text_[i]); }
  bool IsLetter(size_t i) const { return IsWord(i) && !IsDecimalDigit(text_[i]); }
  bool IsWordOrMark(size_t i) const {
    constexpr std::u32string_view kMarks = U"!\"'&.,?";
    return IsWord(i) || (i < text_.size() && kMarks.find(text_[i]) != std::u32string_view::npos);
  }

  // Two or more dashes between a word and another.
  bool IsDashBehindWord(size_t i) const {
    if (i == 0 || !IsWordOrMark(i - 1) || !Is(i, '-') || !Is(i + 1, '-')) return false;
    size_t end = i;
    while (Is(end, '-')) ++end;
    return IsWord(end);
  }

  // A hyphen behind two letters or a part of one character, and before letters.
  bool IsHyphenInWord(size_t i) const {
    if (!Is(i, '-')) return false;
    const bool behind_letters = i >= 2 && IsLetter(i - 1) && IsLetter(i - 2);
    const bool behind_part = i >= 3 && IsLetter(i - 3) && Is(i - 2, '-') && IsWordOrMark(i - 1);
    return (behind_letters || behind_part) && IsLetter(i + 1) &&
           IsLetter(i + (Is(i + 2, '-') ? 3 : 2));
  }

  const CodePoints& text_;
  const bool at_hyphens_;
};

bool IsBlank(const CodePoints& chunk) {
  return Strip(FromChars(chunk, 0, chunk.size()), std::nullopt, true, false).empty();
}

// How much of a chunk that is longer than a line goes into the `space` that is left.
size_t PartOf(const CodePoints& chunk, size_t space, bool at_hyphens) {
  if (!at_hyphens || chunk.size() <= space) return std::min(space, chunk.size());
  for (size_t i = space; i-- > 1;) {
    if (chunk[i] != '-') continue;
    const auto begin = chunk.begin(), end = begin + static_cast<std::ptrdiff_t>(i);
    return std::all_of(begin, end, [](char32_t c) { return c == '-'; }) ? space : i + 1;
  }
  return space;
}

}  // namespace

void AppendWrapped(std::string_view text, const WrapStyle& style, std::string_view separator,
                   TextBuilder* out) {
  if (style.width < 1) {
    Fail("invalid width " + std::to_string(style.width) + " (must be > 0)");
  }
  const CodePoints chars = ToChars(text);
  const ChunkReader reader(chars, style.break_on_hyphens);
  const auto width = static_cast<size_t>(style.width);
  bool is_first = true;
  CodePoints chunk;  // the next one, or what is left of it
  size_t pos = 0;
  const auto next = [&] {
    const size_t end = pos < chars.size() ? reader.End(pos) : pos;
    chunk.assign(chars.begin() + static_cast<std::ptrdiff_t>(pos),
                 chars.begin() + static_cast<std::ptrdiff_t>(end));
    pos = end;
  };
  next();
  while (!chunk.empty()) {
    if (!is_first && IsBlank(chunk)) next();
    CodePoints line;
    size_t last = 0;  // where the line's last chunk begins
    for (; !chunk.empty() && line.size() + chunk.size() <= width; next()) {
      last = line.size();
      line.insert(line.end(), chunk.begin(), chunk.end());
    }
    if (chunk.size() > width && (style.break_long_words || line.empty())) {
      const size_t part = style.break_long_words
                              ? PartOf(chunk, width - line.size(), style.break_on_hyphens)
                              : chunk.size();
      const auto end = chunk.begin() + static_cast<std::ptrdiff_t>(part);
      last = line.size();
      line.insert(line.end(), chunk.begin(), end);
      chunk.erase(chunk.begin(), end);
      ChargeSteps(chunk.size() / kBytesPerStep + 1);
      if (chunk.empty()) next();
    }
    const CodePoints end(line.begin() + static_cast<std::ptrdiff_t>(last), line.end());
    if (IsBlank(end)) line.resize(last);
    if (line.empty()) continue;
    if (!std::exchange(is_first, false)) *out += separator;
    *out += FromChars(line, 0, line.size());
  }
}

}  // namespace pingti::text::jinja
