// See text_without.h. A text without a mark is read as pieces: a character that does not begin the
// mark; or beginnings of the mark, one behind the other, and behind the last of them a character
// that neither goes on with it nor begins another. Because the first character stands in the mark
// only once, nothing else can happen.
#include "common/grammar/text_without.h"

#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/code_points.h"

namespace pingti::grammar {
namespace {

struct Pieces {
  ExprId text;        // any number of whole pieces
  ExprId beginnings;  // any number of beginnings of the mark
  ExprId mark;
};

absl::StatusOr<Pieces> MakePieces(std::string_view mark, Grammar* grammar) {
  const bool is_utf8 = CodePoints::IsUtf8(mark);
  std::vector<char32_t> chars;
  std::vector<size_t> ends;  // bytes up to and with each character
  for (CodePoints points(mark); is_utf8 && !points.done();) {
    chars.push_back(points.Next());
    ends.push_back(points.position());
  }
  bool is_simple = !chars.empty();
  for (size_t i = 1; i < chars.size(); ++i) is_simple = is_simple && chars[i] != chars[0];
  if (!is_simple) {
    return absl::InvalidArgumentError(
        Concat("mark '", mark, "': expected characters of which the first stands there once"));
  }
  std::vector<ExprId> beginnings;
  for (size_t i = 0; i + 1 < chars.size(); ++i) {
    beginnings.push_back(grammar->Literal(mark.substr(0, ends[i])));
  }
  const ExprId any_beginnings = grammar->Repeat(grammar->Choice(beginnings), 0, kUnbounded);
  std::vector<ExprId> whole{grammar->Class(CharClass::Of(chars[0]).Complement())};
  for (size_t i = 0; i + 1 < chars.size(); ++i) {
    CharClass goes_on = CharClass::Of(chars[0]);
    goes_on.Add(CharClass::Of(chars[i + 1]));
    whole.push_back(
        grammar->Sequence({any_beginnings, beginnings[i], grammar->Class(goes_on.Complement())}));
  }
  return Pieces{grammar->Repeat(grammar->Choice(whole), 0, kUnbounded), any_beginnings,
                grammar->Literal(mark)};
}

}  // namespace

absl::StatusOr<ExprId> TextWithout(std::string_view mark, Grammar* grammar) {
  PINGTI_ASSIGN_OR_RETURN(const Pieces pieces, MakePieces(mark, grammar));
  return grammar->Sequence({pieces.text, pieces.beginnings});
}

absl::StatusOr<ExprId> TextUpTo(std::string_view mark, Grammar* grammar) {
  PINGTI_ASSIGN_OR_RETURN(const Pieces pieces, MakePieces(mark, grammar));
  return grammar->Sequence({pieces.text, pieces.beginnings, pieces.mark});
}

}  // namespace pingti::grammar
