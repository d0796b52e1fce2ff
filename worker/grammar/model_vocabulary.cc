// See model_vocabulary.h.
#include "worker/grammar/model_vocabulary.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/grammar/control_token.h"
#include "common/text/tokenizer.h"
#include "worker/text/model_text.h"

namespace pingti::worker {
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
    std::string bytes(tokenizer->TokenBytes(id));
    if (tokenizer->IsSpecial(id)) {
      tokens[i] = grammar::ControlToken(bytes);
    } else if (!bytes.starts_with(grammar::kControlByte)) {
      tokens[i] = std::move(bytes);
    }
  }
  return std::make_shared<const grammar::Vocabulary>(std::move(tokens), ends, vocab_size);
}

}  // namespace pingti::worker
