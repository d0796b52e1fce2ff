// See sentence_piece.h.
#include "common/text/sentence_piece.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/utf8.h"

namespace pingti::text {

std::string SpaceMarksToSpaces(std::string_view token) {
  std::string out;
  for (size_t pos = 0; pos < token.size();) {
    const size_t mark = std::min(token.find(kSpaceMark, pos), token.size());
    out.append(token.substr(pos, mark - pos));
    if (mark < token.size()) out += ' ';
    pos = mark + kSpaceMark.size();
  }
  return out;
}

std::optional<uint8_t> ParseByteToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const size_t digit = std::string_view("0123456789ABCDEF").find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = value * 16 + static_cast<int>(digit);
  }
  return static_cast<uint8_t>(value);
}

std::vector<int32_t> RanksFromScores(const std::vector<float>& scores) {
  std::vector<float> order(scores);
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<int32_t> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores) {
    const auto place = std::lower_bound(order.begin(), order.end(), score, std::greater<>());
    ranks.push_back(static_cast<int32_t>(place - order.begin()));
  }
  return ranks;
}

std::vector<BpeMerge> MergesFromPieces(const std::vector<std::string>& pieces,
                                       const std::vector<int32_t>& ranks, bool at_characters) {
  PieceTable ids;
  ids.Reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].empty()) ids.Insert(pieces[i], static_cast<TokenId>(i));
  }
  std::vector<BpeMerge> merges;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view piece = pieces[i];
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      if (at_characters && (static_cast<uint8_t>(piece[cut]) & 0xC0) == 0x80) continue;
      const TokenId left = ids.Find(piece.substr(0, cut));
      const TokenId right = left == kNoToken ? kNoToken : ids.Find(piece.substr(cut));
      if (right == kNoToken) continue;
      merges.push_back({left, right, static_cast<TokenId>(i), ranks[i]});
    }
  }
  return merges;
}

absl::Status AddSentencePieceWords(const std::vector<std::string>& pieces,
                                   PreTokenizer* pre_tokenizer) {
  if (std::find(pieces.begin(), pieces.end(), kSpaceMark) == pieces.end()) return absl::OkStatus();
  for (const std::string& piece : pieces) {
    const size_t letters = piece.find_first_not_of(std::string(kSpaceMark));
    if (letters != std::string::npos && piece.find(kSpaceMark, letters) != std::string::npos) {
      return absl::OkStatus();
    }
  }
  PINGTI_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(absl::StrCat("\u2581*[^\u2581]+|\u2581+")));
  pre_tokenizer->Add(SplitByRegex(std::move(regex), SplitBehavior::kIsolated, false));
  return absl::OkStatus();
}

}  // namespace pingti::text
