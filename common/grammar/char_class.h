// Sets of Unicode scalar values, and their spelling as byte ranges of UTF-8. Values;
// thread-compatible.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace pingti::grammar {

struct CodeRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive

  friend bool operator==(const CodeRange&, const CodeRange&) = default;
};

// Sorted, disjoint and not adjacent ranges; surrogates (which UTF-8 cannot spell) never belong.
class CharClass {
 public:
  CharClass() = default;
  CharClass(std::initializer_list<CodeRange> ranges);
  // In any order, overlapping or not.
  explicit CharClass(std::vector<CodeRange> ranges);

  static CharClass All();
  static CharClass Of(char32_t value) { return CharClass{{value, value}}; }

  void Add(const CharClass& other);
  CharClass Complement() const;
  CharClass Intersect(const CharClass& other) const;
  bool Contains(char32_t value) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<CodeRange>& ranges() const { return ranges_; }

 private:
  void Normalize();

  std::vector<CodeRange> ranges_;
};

struct ByteRange {
  uint8_t first = 0;
  uint8_t last = 0;  // inclusive
};

// One row of "any byte of the first range, then any of the second, ...".
struct ByteSequence {
  std::array<ByteRange, 4> bytes;
  int length = 0;
};

// The UTF-8 spellings of a class's members, each in exactly one row. Source: Unicode 15.0, section
// 3.9, table 3-6; the splitting into rectangles is Ken Thompson's (used by RE2 and others).
std::vector<ByteSequence> Utf8Sequences(const CharClass& chars);

}  // namespace pingti::grammar
