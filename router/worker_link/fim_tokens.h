// Fill-in-the-middle: how a model that was trained for it is shown the text before and after the
// place where it should write.
#pragma once

#include <optional>
#include <vector>

#include "common/text/tokenizer.h"

namespace pingti::router {

// prefix <text before> suffix <text after> middle, then the model writes. (Bavarian et al.,
// "Efficient Training of Language Models to Fill in the Middle", 2022: the PSM order.)
struct FimTokens {
  text::TokenId prefix = 0;
  text::TokenId suffix = 0;
  text::TokenId middle = 0;
  // Tokens with which models end the middle besides their end-of-sequence tokens.
  std::vector<text::TokenId> stops;
};

// The tokens by their names in the vocabulary (Qwen2.5-Coder and CodeGemma, StarCoder, SantaCoder,
// DeepSeek-Coder, CodeLlama); nothing for a model that has none.
std::optional<FimTokens> FindFimTokens(const text::Tokenizer& tokenizer);

}  // namespace pingti::router
