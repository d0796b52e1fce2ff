// The one Tokenizer: added tokens, normalizer, pre-tokenizer, BPE, in that order, each filled in by
// the reader of a file format (gguf_tokenizer.cc, json_tokenizer.cc, tiktoken_tokenizer.cc).
// Immutable, thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/added_tokens.h"
#include "common/text/bpe.h"
#include "common/text/normalizer.h"
#include "common/text/pre_tokenizer.h"
#include "common/text/tokenizer.h"

namespace pingti::text {

struct TokenizerParts {
  std::vector<std::string> token_bytes;  // [vocab_size]: what each token adds to a text
  std::vector<bool> special;             // [vocab_size]
  std::vector<AddedToken> added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<Bpe> bpe;               // always set; optional because a Bpe has no empty state
  std::vector<TokenId> prefix, suffix;  // around a text when special tokens are asked for
  bool strips_leading_space = false;
  std::optional<TokenId> bos_token_id, eos_token_id;
};

class PipelineTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(TokenizerParts parts);

  absl::Status Encode(std::string_view text, const EncodeOptions& options,
                      std::vector<TokenId>* ids) const override;
  std::string_view TokenBytes(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  bool StripsLeadingSpace() const override { return parts_.strips_leading_space; }
  std::optional<TokenId> FindToken(std::string_view token) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(parts_.token_bytes.size()); }
  std::optional<TokenId> bos_token_id() const override { return parts_.bos_token_id; }
  std::optional<TokenId> eos_token_id() const override { return parts_.eos_token_id; }

 private:
  struct Call;  // buffers of one Encode
  explicit PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}
  absl::Status EncodeValid(std::string_view text, Call* call) const;
  absl::Status EncodeSection(std::string_view text, Call* call) const;
  absl::Status EncodeWords(std::string_view text, Call* call) const;

  TokenizerParts parts_;
  PieceTable spellings_;  // TokenBytes -> id; control tokens win
  AddedTokenTrie raw_added_, normalized_added_;
  bool has_normalized_added_ = false;
};

}  // namespace pingti::text
