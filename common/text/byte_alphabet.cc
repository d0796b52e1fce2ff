// See byte_alphabet.h.
#include "common/text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "common/text/utf8.h"

namespace pingti::text {
namespace {

constexpr bool IsPrintable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

// Character -> byte, -1 outside the alphabet. Printable bytes of Latin-1 stand for themselves, the
// other 68 are numbered from U+0100 in order.
constexpr std::array<int16_t, 256 + 68> MakeInverse() {
  std::array<int16_t, 256 + 68> inverse{};
  for (auto& entry : inverse) entry = -1;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    inverse[static_cast<size_t>(IsPrintable(byte) ? byte : next++)] = static_cast<int16_t>(byte);
  }
  return inverse;
}
constexpr auto kInverse = MakeInverse();

}  // namespace

std::optional<std::string> DecodeByteAlphabet(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const DecodedChar c = DecodeUtf8(spelling);
    if (!c.valid || c.value >= kInverse.size() || kInverse[c.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kInverse[c.value]));
    spelling.remove_prefix(c.length);
  }
  return bytes;
}

}  // namespace pingti::text
