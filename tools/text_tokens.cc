#include "tools/text_tokens.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/text/tokenizer.h"
#include "tools/sample_text.h"
#include "worker/text/model_text.h"
#include "worker/weights/mapped_file.h"

namespace pingti::tools {
namespace {

constexpr int kArbitraryTokens = 256;

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
  const int64_t vocab_size = checkpoint.spec().vocab_size;
  auto made = worker::MakeTokenizer(checkpoint.text());
  if (absl::IsNotFound(made.status())) {
    if (path.empty()) return ArbitraryTokens(vocab_size, max_tokens);
    return absl::InvalidArgumentError(
        Concat(checkpoint.path(), " has no tokenizer for the text '", path, "'"));
  }
  PINGTI_ASSIGN_OR_RETURN(const auto tokenizer, std::move(made));
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
