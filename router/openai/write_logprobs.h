// Log-probabilities in the two shapes the API has. Included only by this folder's .cc files.
#pragma once

#include <string>
#include <vector>

#include "router/openai/write.h"

namespace pingti::router {

// One token as chat completions and responses show it, alternatives included.
void AppendTokenLogprob(const TokenLogprob& entry, std::string* out);

// The value of "logprobs": null for null.
void AppendLogprobs(const AnswerHead& head, const std::vector<TokenLogprob>* logprobs,
                    std::string* out);

}  // namespace pingti::router
