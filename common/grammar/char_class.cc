// See char_class.h.
#include "common/grammar/char_class.h"

#include <algorithm>
#include <utility>

namespace pingti::grammar {
namespace {

constexpr char32_t kLastCode = 0x10FFFF;
constexpr char32_t kFirstSurrogate = 0xD800;
constexpr char32_t kLastSurrogate = 0xDFFF;

int EncodedLength(char32_t value) {
  return value < 0x80 ? 1 : value < 0x800 ? 2 : value < 0x10000 ? 3 : 4;
}

std::array<uint8_t, 4> Encode(char32_t value, int length) {
  constexpr uint8_t kLead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
  std::array<uint8_t, 4> bytes{};
  for (int i = length - 1; i > 0; --i) {
    bytes[i] = static_cast<uint8_t>(0x80 | (value & 0x3F));
    value >>= 6;
  }
  bytes[0] = static_cast<uint8_t>(kLead[length] | value);
  return bytes;
}

// Splits until first and last have the same length and every byte after the first differing one
// runs over all of 80..BF.
void Split(char32_t first, char32_t last, std::vector<ByteSequence>* rows) {
  for (const char32_t most : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= most && most < last) {
      Split(first, most, rows);
      return Split(most + 1, last, rows);
    }
  }
  const int length = EncodedLength(first);
  for (int i = 1; i < length; ++i) {
    const char32_t low_bits = (char32_t{1} << (6 * i)) - 1;
    if ((first & ~low_bits) == (last & ~low_bits)) continue;
    if ((first & low_bits) != 0) {
      Split(first, first | low_bits, rows);
      return Split((first | low_bits) + 1, last, rows);
    }
    if ((last & low_bits) != low_bits) {
      Split(first, (last & ~low_bits) - 1, rows);
      return Split(last & ~low_bits, last, rows);
    }
  }
  ByteSequence row;
  row.length = length;
  const auto low = Encode(first, length);
  const auto high = Encode(last, length);
  for (int i = 0; i < length; ++i) row.bytes[i] = {low[i], high[i]};
  rows->push_back(row);
}

}  // namespace

CharClass::CharClass(std::initializer_list<CodeRange> ranges) : ranges_(ranges) { Normalize(); }

CharClass CharClass::All() { return CharClass{{0, kLastCode}}; }

CharClass::CharClass(std::vector<CodeRange> ranges) : ranges_(std::move(ranges)) { Normalize(); }

void CharClass::Add(const CharClass& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  Normalize();
}

void CharClass::Normalize() {
  std::vector<CodeRange> parts;
  for (const CodeRange& range : ranges_) {
    const char32_t last = std::min(range.last, kLastCode);
    if (range.first < kFirstSurrogate) {
      parts.push_back({range.first, std::min<char32_t>(last, kFirstSurrogate - 1)});
    }
    if (last > kLastSurrogate)
      parts.push_back({std::max<char32_t>(range.first, kLastSurrogate + 1), last});
  }
  std::erase_if(parts, [](const CodeRange& range) { return range.first > range.last; });
  std::sort(parts.begin(), parts.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  ranges_.clear();
  for (const CodeRange& range : parts) {
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
}

CharClass CharClass::Complement() const {
  CharClass result;
  char32_t next = 0;
  for (const CodeRange& range : ranges_) {
    if (range.first > next) result.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCode) result.ranges_.push_back({next, kLastCode});
  result.Normalize();
  return result;
}

CharClass CharClass::Intersect(const CharClass& other) const {
  CharClass excluded = Complement();
  excluded.Add(other.Complement());
  return excluded.Complement();
}

bool CharClass::Contains(char32_t value) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const CodeRange& range) {
    return value >= range.first && value <= range.last;
  });
}

std::vector<ByteSequence> Utf8Sequences(const CharClass& chars) {
  std::vector<ByteSequence> rows;
  for (const CodeRange& range : chars.ranges()) Split(range.first, range.last, &rows);
  return rows;
}

}  // namespace pingti::grammar
