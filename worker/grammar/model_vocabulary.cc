// See model_vocabulary.h.
#include "worker/grammar/model_vocabulary.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/text/tokenizer.h"

namespace pingti::worker {
namespace {

std::optional<text::TokenId> Id(const std::optional<int64_t>& id) {
  if (!id.has_value()) return std::nullopt;
  return static_cast<text::TokenId>(*id);
}

absl::StatusOr<std::unique_ptr<text::Tokenizer>> MakeTokenizer(const TextAssets& assets) {
  if (!assets.tokenizer_json.empty()) return text::MakeJsonTokenizer(assets.tokenizer_json);
  if (!assets.tiktoken.empty()) return text::MakeQwenTokenizer(assets.tiktoken);
  if (!assets.gguf.has_value()) {
    return absl::InvalidArgumentError("grammar: the checkpoint has no tokenizer");
  }
  const GgufTokenizerKeys& keys = *assets.gguf;
  text::GgufTokenizerData data;
  data.model = keys.model;
  data.pre = keys.pre;
  data.tokens = keys.tokens;
  data.scores = keys.scores;
  data.token_types = keys.token_types;
  data.merges = keys.merges;
  data.bos_token_id = Id(keys.bos_token_id);
  data.eos_token_id = Id(keys.eos_token_id);
  data.unknown_token_id = Id(keys.unknown_token_id);
  data.add_bos_token = keys.add_bos_token;
  data.add_eos_token = keys.add_eos_token;
  data.add_space_prefix = keys.add_space_prefix;
  return text::MakeGgufTokenizer(std::move(data));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const grammar::Vocabulary>> ModelVocabulary(const TextAssets& text,
                                                                           int32_t vocab_size) {
  if (text.eos_token_ids.empty()) {
    return absl::InvalidArgumentError("grammar: the checkpoint names no end-of-sequence token");
  }
  PINGTI_ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer, MakeTokenizer(text));
  const std::vector<int32_t> ends(text.eos_token_ids.begin(), text.eos_token_ids.end());
  std::vector<std::string> tokens(
      static_cast<size_t>(std::min(tokenizer->vocab_size(), vocab_size)));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<text::TokenId>(i);
    if (!tokenizer->IsSpecial(id)) tokens[i] = tokenizer->TokenBytes(id);
  }
  return std::make_shared<const grammar::Vocabulary>(std::move(tokens), ends, vocab_size);
}

}  // namespace pingti::worker
