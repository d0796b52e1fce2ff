// Special tokens that a client spells out in a message stay text: nobody can write a turn's end
// into a message. Messages are marked before the template is rendered, and what is marked is
// tokenized as plain text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "boost/json/fwd.hpp"

namespace pingti::router {

// Around a special token's spelling; noncharacters, which no text has a use for (Unicode 15.0,
// section 23.7).
inline constexpr std::string_view kPlainBegin = "\xef\xb7\x90";  // U+FDD0
inline constexpr std::string_view kPlainEnd = "\xef\xb7\x91";    // U+FDD1

// Marks every spelling of one of `tokens` in the messages' contents, thoughts and calls' arguments.
void MarkPlainText(const std::vector<std::string>& tokens, boost::json::array* messages);

// A rendered text in its order: as the template wrote it, or marked; without the marks.
struct TextPart {
  std::string_view text;
  bool is_plain = false;
};
std::vector<TextPart> SplitPlainText(std::string_view rendered);

}  // namespace pingti::router
