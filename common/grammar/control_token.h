// Control tokens in grammars, which read bytes: a token that no text has, as a mark around calls,
// is a byte that no UTF-8 has and then the token's spelling. A form that does not ask for the token
// never lets it in, and words cannot imitate it. Pure.
#pragma once

#include <string>
#include <string_view>

#include "common/base/strings.h"

namespace pingti::grammar {

inline constexpr char kControlByte = '\xFF';

inline std::string ControlToken(std::string_view spelling) {
  return Concat(std::string_view(&kControlByte, 1), spelling);
}

}  // namespace pingti::grammar
