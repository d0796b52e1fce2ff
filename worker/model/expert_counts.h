// How often a model's tokens choose each expert, and what is made of it. Counted where experts are
// chosen, and read from there only when somebody asks. Confined to the engine thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/layers/moe_mlp.h"
#include "worker/model/decoder_blocks.h"

namespace pingti::worker {

// The largest count as a multiple of the mean: 1 where all are equal. 1 of counts that are all 0.
double ImbalanceOf(std::span<const float> counts);

class ExpertCounts {
 public:
  // Choices per expert, on average, below which nothing is told: among so many, chance alone makes
  // the busiest of 256 experts 1.2 times as busy as the mean.
  static constexpr int64_t kLeastChoices = 256;

  // `blocks` must outlive this, and its layers stay where they are.
  explicit ExpertCounts(DecoderBlocks* blocks);

  // Tokens of a step.
  void AddTokens(int64_t tokens) { tokens_ += tokens; }
  // See Model::TakeExpertImbalance.
  absl::StatusOr<std::optional<double>> TakeImbalance(Backend& backend);

 private:
  bool HasEnough() const;

  std::vector<MoeMlp*> layers_;  // those with experts
  int64_t tokens_ = 0;           // since counts were last taken
};

}  // namespace pingti::worker
