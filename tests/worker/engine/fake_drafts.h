// Drafts for tests: what a sequence is going to say, known from an earlier run, spoiled at random.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "tests/worker/engine/engine_testing.h"
#include "worker/engine/draft_source.h"

namespace pingti::worker {

class FakeDrafts : public DraftSource {
 public:
  struct Options {
    int32_t most = 7;      // in one step
    int32_t wrong_in = 4;  // one draft in so many is any token; 0: none
    int32_t vocab_size = 64;
    uint32_t seed = 1;
  };

  // `answers` of requests by their ids; must outlive this object.
  FakeDrafts(const CollectedMap* answers, const Options& options)
      : answers_(answers), options_(options), random_(options.seed) {}

  void Propose(std::span<DraftAsk> asks) override {
    for (DraftAsk& ask : asks) Propose(*ask.sequence, ask.most, &ask.drafts);
  }

  int64_t num_proposed() const { return num_proposed_; }

 private:
  void Propose(const Sequence& sequence, int32_t most, std::vector<int32_t>* drafts) {
    const RequestGroup& group = *sequence.group;
    const auto answer = answers_->find({group.request.sequence_id, sequence.index});
    const size_t begin = sequence.tokens.size() - group.request.prompt_token_ids.size();
    const auto count = static_cast<size_t>(
        options_.wrong_in == 0
            ? std::min(most, options_.most)
            : std::min(most, static_cast<int32_t>(random_() % (options_.most + 1u))));
    for (size_t i = begin; i < begin + count; ++i) {
      const bool known = answer != answers_->end() && i < answer->second.tokens.size();
      const bool spoiled = options_.wrong_in > 0 && random_() % options_.wrong_in == 0;
      drafts->push_back(known && !spoiled ? answer->second.tokens[i]
                                          : static_cast<int32_t>(random_() % options_.vocab_size));
    }
    num_proposed_ += static_cast<int64_t>(count);
  }

  const CollectedMap* const answers_;
  const Options options_;
  std::mt19937 random_;
  int64_t num_proposed_ = 0;
};

}  // namespace pingti::worker
