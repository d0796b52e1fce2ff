// What SentencePiece BPE vocabularies have in common, whichever file they come in, and merges for
// vocabularies that list none.
// Source: google/sentencepiece, bpe_model.cc; transformers' generate_merges. Stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/text/bpe.h"
#include "common/text/pre_tokenizer.h"

namespace pingti::text {

// U+2581, which stands for a space.
inline constexpr std::string_view kSpaceMark = "\u2581";

std::string SpaceMarksToSpaces(std::string_view token);

// "<0x41>" -> 0x41.
std::optional<uint8_t> ParseByteToken(std::string_view token);

// Every pair of pieces whose joined spelling is a piece, with that piece's rank: vocabularies
// without a list of merges join whatever gives the piece of lowest rank. `at_characters`: UTF-8
// characters are not cut (SentencePiece); bytes are otherwise (tiktoken).
std::vector<BpeMerge> MergesFromPieces(const std::vector<std::string>& pieces,
                                       const std::vector<int32_t>& ranks, bool at_characters);

// Rank of each score, highest score first; equal scores share a rank.
std::vector<int32_t> RanksFromScores(const std::vector<float>& scores);

// SentencePiece joins across a whole text. Where no piece has a space mark behind another
// character, cutting in front of marks changes nothing and makes words short.
absl::Status AddSentencePieceWords(const std::vector<std::string>& pieces,
                                   PreTokenizer* pre_tokenizer);

}  // namespace pingti::text
