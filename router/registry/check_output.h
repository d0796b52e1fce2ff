// Whether what a worker says of a sequence can be true. A worker that errs, or is not what it says
// it is, must not make answers of others wrong or this process grow.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// What one sequence may still get. Plain value.
class OutputLimits {
 public:
  // `vocab_size` 0: not known. `output_tokens`: of each of its answers.
  OutputLimits(uint32_t vocab_size, uint32_t output_tokens, uint32_t prompt_scores,
               uint32_t num_answers);

  // An output that CheckOutput found well.
  void Count(const SequenceOutput& output);

  uint32_t vocab_size() const { return vocab_size_; }
  uint32_t num_answers() const { return static_cast<uint32_t>(answers_.size()); }
  uint32_t prompt_scores() const { return prompt_scores_; }
  // REQUIRES: below num_answers.
  uint32_t output_tokens(uint32_t answer) const { return answers_[answer].output_tokens; }
  bool ended(uint32_t answer) const { return answers_[answer].ended; }
  bool all_ended() const;

 private:
  struct Answer {
    uint32_t output_tokens;  // more
    bool ended = false;
  };

  uint32_t vocab_size_;
  uint32_t prompt_scores_;  // more
  std::vector<Answer> answers_;
};

// Alternatives beside one token, more than any API asks for.
inline constexpr size_t kMaxTopScores = 64;

// Errors: InvalidArgument naming what is wrong, the value and what was expected.
absl::Status CheckOutput(const SequenceOutput& output, const OutputLimits& limits);

}  // namespace pingti::router
