// Answers of a request that draws more of them than it returns (best_of): they wait until all have
// ended, and the best of each prompt go to the client.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "router/api/request.h"

namespace pingti::router {

// Thread-compatible; used inside its Generation only.
class DrawnAnswers {
 public:
  // Choices of one prompt follow each other, `drawn` of them.
  DrawnAnswers(size_t num_prompts, size_t drawn) : drawn_(drawn), answers_(num_prompts * drawn) {}

  void Add(ChoiceDelta delta);
  // One more token of a choice has this log-probability.
  void AddLogprob(size_t choice, double logprob);

  // The `returned` answers of each prompt whose tokens have the highest mean log-probability, best
  // first and numbered anew. Source: OpenAI's best_of. Of equal ones the first drawn is better.
  std::vector<ChoiceDelta> TakeBest(size_t returned);

 private:
  struct Answer {
    std::vector<ChoiceDelta> deltas;
    double logprob_sum = 0;
    uint32_t num_tokens = 0;

    double MeanLogprob() const { return num_tokens == 0 ? 0 : logprob_sum / num_tokens; }
  };

  const size_t drawn_;
  std::vector<Answer> answers_;
};

}  // namespace pingti::router
