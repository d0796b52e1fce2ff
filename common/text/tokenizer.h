// Text to token ids and back.
//
// A Tokenizer is built once per model from the file the checkpoint brought (tokenizer.json, GGUF
// keys or tiktoken) and is immutable afterwards: every method is thread-safe and
// const. Read next: detokenizer.h for streams, chat_template.h for messages.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::text {

using TokenId = int32_t;

struct EncodeOptions {
  // Add what the model puts around every text of its own accord (bos, eos: the post-processor).
  bool add_special_tokens = false;
  // Recognise special tokens spelled out in the text. True for rendered chat templates; false for
  // text whose author must not be able to forge control tokens.
  bool parse_special_tokens = true;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `text`, appended to `ids`. Time is linear in text.size(). Bytes that are not UTF-8
  // become byte tokens where the model has them, its unknown token otherwise, and nothing where it
  // has neither (as Hugging Face drops characters outside a vocabulary).
  virtual absl::Status Encode(std::string_view text, const EncodeOptions& options,
                              std::vector<TokenId>* ids) const = 0;

  // The bytes that `id` adds to a text; a special token gives its own spelling. Empty for an id
  // that is out of range. The view lives as long as the tokenizer.
  virtual std::string_view TokenBytes(TokenId id) const = 0;

  // Control tokens such as <|im_end|>: not shown to users unless they ask.
  virtual bool IsSpecial(TokenId id) const = 0;

  // SentencePiece models drop the space that their first piece starts with.
  virtual bool StripsLeadingSpace() const = 0;

  virtual std::optional<TokenId> FindToken(std::string_view token) const = 0;
  virtual int32_t vocab_size() const = 0;
  virtual std::optional<TokenId> bos_token_id() const = 0;
  virtual std::optional<TokenId> eos_token_id() const = 0;
};

// The tokenizer.* keys of a GGUF file, unchanged (source: GGUF specification, "Tokenizer").
struct GgufTokenizerData {
  std::string model;  // "gpt2", "llama"
  std::string pre;    // "smollm", "qwen2", "llama-bpe", "deepseek-r1-qwen", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> token_types;
  std::vector<std::string> merges;
  std::optional<TokenId> bos_token_id;
  std::optional<TokenId> eos_token_id;
  std::optional<TokenId> unknown_token_id;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_space_prefix;
};

// Errors: InvalidArgument naming the key that is missing, malformed or inconsistent; Unimplemented
// naming the model type, pre-tokenizer, normalizer or decoder that pingti does not have.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufTokenizer(GgufTokenizerData data);

// A Hugging Face tokenizer.json.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeJsonTokenizer(std::string_view tokenizer_json);

struct TiktokenOptions {
  std::string split_pattern;                // PCRE2
  std::vector<std::string> special_tokens;  // ids follow the file's last rank
  bool normalize_nfc = false;               // Qwen v1 does
};
// A tiktoken file: base64 token, space, rank, one per line.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTiktokenTokenizer(std::string_view file,
                                                                 TiktokenOptions options);

// qwen.tiktoken, as QWen v1's own tokenizer reads it: Qwen2's words, NFC, then <|endoftext|>,
// <|im_start|>, <|im_end|> and <|extra_0|> to <|extra_204|> behind the last rank.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeQwenTokenizer(std::string_view file);

}  // namespace pingti::text
