#include "tools/text_tokens.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/text/tokenizer.h"
#include "tools/sample_text.h"
#include "worker/weights/mapped_file.h"

namespace pingti::tools {
namespace {

constexpr int kArbitraryTokens = 256;

std::optional<text::TokenId> TokenIdOf(std::optional<int64_t> id) {
  if (!id.has_value()) return std::nullopt;
  return static_cast<text::TokenId>(*id);
}

text::GgufTokenizerData GgufData(const worker::GgufTokenizerKeys& keys) {
  text::GgufTokenizerData data;
  data.model = keys.model;
  data.pre = keys.pre;
  data.tokens = keys.tokens;
  data.scores = keys.scores;
  data.token_types = keys.token_types;
  data.merges = keys.merges;
  data.bos_token_id = TokenIdOf(keys.bos_token_id);
  data.eos_token_id = TokenIdOf(keys.eos_token_id);
  data.unknown_token_id = TokenIdOf(keys.unknown_token_id);
  data.add_bos_token = keys.add_bos_token;
  data.add_eos_token = keys.add_eos_token;
  data.add_space_prefix = keys.add_space_prefix;
  return data;
}

// Null when the checkpoint has no tokenizer.
absl::StatusOr<std::unique_ptr<text::Tokenizer>> MakeTokenizer(const worker::TextAssets& assets) {
  if (!assets.tokenizer_json.empty()) return text::MakeJsonTokenizer(assets.tokenizer_json);
  if (!assets.tiktoken.empty()) return text::MakeQwenTokenizer(assets.tiktoken);
  if (assets.gguf.has_value()) return text::MakeGgufTokenizer(GgufData(*assets.gguf));
  return std::unique_ptr<text::Tokenizer>();
}

TextTokens ArbitraryTokens(int64_t vocab_size, int max_tokens) {
  TextTokens tokens;
  tokens.from_tokenizer = false;
  std::mt19937_64 random(1);
  const int count = std::min(kArbitraryTokens, max_tokens);
  for (int i = 0; i < count; ++i) {
    tokens.ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size)));
  }
  return tokens;
}

}  // namespace

absl::StatusOr<TextTokens> ReadTokens(const worker::Checkpoint& checkpoint, const std::string& path,
                                      int max_tokens) {
  PINGTI_ASSIGN_OR_RETURN(const auto tokenizer, MakeTokenizer(checkpoint.text()));
  const int64_t vocab_size = checkpoint.spec().vocab_size;
  if (tokenizer == nullptr) {
    if (path.empty()) return ArbitraryTokens(vocab_size, max_tokens);
    return absl::InvalidArgumentError(
        Concat(checkpoint.path(), " has no tokenizer for the text '", path, "'"));
  }
  std::unique_ptr<worker::MappedFile> file;
  std::string_view content = SampleText();
  if (!path.empty()) {
    PINGTI_ASSIGN_OR_RETURN(file, worker::MappedFile::Open(path));
    content = file->bytes();
  }
  // A token is rarely longer; what is cut off is not needed.
  content = content.substr(0, static_cast<size_t>(max_tokens) * 64);
  TextTokens tokens;
  const auto begin = std::chrono::steady_clock::now();
  text::EncodeOptions encode;
  encode.add_special_tokens = true;
  encode.parse_special_tokens = false;
  PINGTI_RETURN_IF_ERROR(tokenizer->Encode(content, encode, &tokens.ids));
  tokens.encode_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (static_cast<int>(tokens.ids.size()) > max_tokens) {
    tokens.ids.resize(static_cast<size_t>(max_tokens));
  }
  const std::string name = path.empty() ? "the sample text" : Concat("text '", path, "'");
  if (tokens.ids.size() < 2) {
    return absl::InvalidArgumentError(
        Concat(name, " gives ", tokens.ids.size(), " tokens; expected at least 2"));
  }
  const int32_t largest = *std::max_element(tokens.ids.begin(), tokens.ids.end());
  if (largest >= vocab_size) {
    return absl::InvalidArgumentError(Concat(checkpoint.path(), ": its tokenizer gives token ",
                                             largest, "; the model has ", vocab_size));
  }
  return tokens;
}

}  // namespace pingti::tools
