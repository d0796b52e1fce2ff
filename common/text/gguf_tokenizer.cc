// Builds a tokenizer from the tokenizer.* keys of a GGUF file. Source: GGUF specification,
// "Tokenizer"; token types as llama.cpp numbers them.
#include <cmath>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/byte_alphabet.h"
#include "common/text/patterns.h"
#include "common/text/pipeline_tokenizer.h"
#include "common/text/sentence_piece.h"
#include "common/text/tokenizer.h"

namespace pingti::text {
namespace {

enum TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

absl::Status CheckId(const char* key, std::optional<TokenId> id, size_t vocab_size) {
  if (!id.has_value() || (*id >= 0 && static_cast<size_t>(*id) < vocab_size)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer.ggml.", key, " is ", *id, ", expected 0 to ", vocab_size - 1));
}

absl::Status Check(const GgufTokenizerData& data) {
  if (data.tokens.empty()) {
    return absl::InvalidArgumentError("tokenizer.ggml.tokens is missing or empty");
  }
  if (data.token_types.size() != data.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.token_type has ",
                                                   data.token_types.size(), " entries, expected ",
                                                   data.tokens.size(), " as tokens has"));
  }
  for (size_t i = 0; i < data.token_types.size(); ++i) {
    if (data.token_types[i] < kNormal || data.token_types[i] > kByte) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.token_type[", i, "] is ",
                                                     data.token_types[i], ", expected 1 to 6"));
    }
  }
  PINGTI_RETURN_IF_ERROR(CheckId("bos_token_id", data.bos_token_id, data.tokens.size()));
  PINGTI_RETURN_IF_ERROR(CheckId("eos_token_id", data.eos_token_id, data.tokens.size()));
  return CheckId("unknown_token_id", data.unknown_token_id, data.tokens.size());
}

// What both kinds of model share: special and added tokens, bos and eos.
absl::Status FillCommon(const GgufTokenizerData& data, bool adds_bos, TokenizerParts* parts) {
  parts->special.resize(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const int32_t type = data.token_types[i];
    parts->special[i] = type == kControl || type == kUnknown;
    if (type == kControl || type == kUnknown || type == kUserDefined) {
      parts->added_tokens.push_back({.id = static_cast<TokenId>(i),
                                     .content = data.tokens[i],
                                     .special = type != kUserDefined});
    }
  }
  parts->bos_token_id = data.bos_token_id;
  parts->eos_token_id = data.eos_token_id;
  if (data.add_bos_token.value_or(adds_bos && data.bos_token_id.has_value())) {
    if (!data.bos_token_id) {
      return absl::InvalidArgumentError(
          "tokenizer.ggml.add_bos_token is true, but tokenizer.ggml.bos_token_id is missing");
    }
    parts->prefix.push_back(*data.bos_token_id);
  }
  if (data.add_eos_token.value_or(false)) {
    if (!data.eos_token_id) {
      return absl::InvalidArgumentError(
          "tokenizer.ggml.add_eos_token is true, but tokenizer.ggml.eos_token_id is missing");
    }
    parts->suffix.push_back(*data.eos_token_id);
  }
  return absl::OkStatus();
}

// "left right" -> ids; the space of a merge is the first one behind its first character.
absl::StatusOr<std::vector<BpeMerge>> ReadMerges(const GgufTokenizerData& data) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    ids.emplace(data.tokens[i], static_cast<TokenId>(i));
  }
  std::vector<BpeMerge> merges;
  merges.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const std::string& merge = data.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.merges[", rank, "] is '", merge, "', expected two tokens"));
    }
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    const auto l = ids.find(left), r = ids.find(right), joined = ids.find(left + right);
    if (l == ids.end() || r == ids.end() || joined == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.merges[", rank, "] is '", merge,
                       "', whose parts or result are not among the tokens"));
    }
    merges.push_back({l->second, r->second, joined->second, static_cast<int32_t>(rank)});
  }
  return merges;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeByteLevel(const GgufTokenizerData& data) {
  PINGTI_ASSIGN_OR_RETURN(FamilyRules rules, MakeFamilyRules(data.pre));
  TokenizerParts parts;
  PINGTI_RETURN_IF_ERROR(FillCommon(data, rules.adds_bos, &parts));
  parts.pre_tokenizer = std::move(rules.pre_tokenizer);
  parts.normalizer = std::move(rules.normalizer);
  BpeOptions options;
  options.ignore_merges = rules.ignore_merges;
  options.byte_tokens.fill(kNoToken);
  std::vector<std::string> pieces(data.tokens.size());
  parts.token_bytes.resize(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const bool word_piece = data.token_types[i] == kNormal;
    std::optional<std::string> bytes;
    if (word_piece) bytes = DecodeByteAlphabet(data.tokens[i]);
    parts.token_bytes[i] = bytes.value_or(data.tokens[i]);
    if (!bytes) continue;
    if (bytes->size() == 1) {
      options.byte_tokens[static_cast<uint8_t>(bytes->front())] = static_cast<TokenId>(i);
    }
    pieces[i] = *std::move(bytes);
  }
  PINGTI_ASSIGN_OR_RETURN(std::vector<BpeMerge> merges, ReadMerges(data));
  parts.bpe = Bpe::Make(pieces, std::move(merges), options);
  return PipelineTokenizer::Make(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePiece(const GgufTokenizerData& data) {
  if (data.scores.size() != data.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.scores has ", data.scores.size(),
                                                   " entries, expected ", data.tokens.size(),
                                                   " as tokens has"));
  }
  TokenizerParts parts;
  PINGTI_RETURN_IF_ERROR(FillCommon(data, /*adds_bos=*/true, &parts));
  const bool prefix = data.add_space_prefix.value_or(true);
  if (prefix) parts.normalizer.Add(PrependStep(std::string(kSpaceMark)));
  parts.normalizer.Add(ReplaceStep(" ", std::string(kSpaceMark)));
  parts.strips_leading_space = prefix;
  BpeOptions options;
  options.byte_symbols = false;
  options.fuse_unknown = true;
  options.unknown = data.unknown_token_id.value_or(kNoToken);
  options.byte_tokens.fill(kNoToken);
  std::vector<std::string> pieces(data.tokens.size());
  parts.token_bytes.resize(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string& token = data.tokens[i];
    if (data.token_types[i] == kByte) {
      const std::optional<uint8_t> byte = ParseByteToken(token);
      if (!byte) {
        return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.tokens[", i, "] is '", token,
                                                       "', expected <0x00> to <0xFF>"));
      }
      options.byte_tokens[*byte] = static_cast<TokenId>(i);
      parts.token_bytes[i] = std::string(1, static_cast<char>(*byte));
    } else if (data.token_types[i] == kNormal) {
      pieces[i] = token;
      parts.token_bytes[i] = SpaceMarksToSpaces(token);
    } else {
      parts.token_bytes[i] = SpaceMarksToSpaces(token);
    }
  }
  PINGTI_RETURN_IF_ERROR(AddSentencePieceWords(pieces, &parts.pre_tokenizer));
  for (const float score : data.scores) {
    if (std::isnan(score)) return absl::InvalidArgumentError("tokenizer.ggml.scores has a NaN");
  }
  std::vector<BpeMerge> merges =
      MergesFromPieces(pieces, RanksFromScores(data.scores), /*at_characters=*/true);
  parts.bpe = Bpe::Make(pieces, std::move(merges), options);
  return PipelineTokenizer::Make(std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufTokenizer(GgufTokenizerData data) {
  PINGTI_RETURN_IF_ERROR(Check(data));
  if (data.model == "gpt2") return MakeByteLevel(data);
  if (data.model == "llama") return MakeSentencePiece(data);
  return absl::UnimplementedError(absl::StrCat("tokenizer.ggml.model '", data.model,
                                               "' is not supported; supported: gpt2, llama"));
}

}  // namespace pingti::text
