// How a mixture of experts chooses the experts of a token from the router's logits. Plain data,
// shared by specs and backends. Sources: Shazeer et al., "Outrageously Large Neural Networks";
// DeepSeek-V2 (section 2.1.2) and DeepSeek-V3 (section 2.1.2) for groups and the sigmoid.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pingti::worker {

enum class RouterScore {
  kSoftmax,  // over all experts
  kSigmoid,  // of each expert's logit
};

// A token's experts are the `experts_per_token` with the highest scores, the first of equal ones.
// The weight of each is its score, divided by their sum where `normalize` is set, times `scale`.
struct ExpertRouting {
  int64_t num_experts = 0;
  int64_t experts_per_token = 0;
  RouterScore score = RouterScore::kSoftmax;
  bool normalize = false;
  float scale = 1.0f;
  // More than one: experts stand in so many groups of equal size, and a token's experts are of the
  // `groups_per_token` best groups. How good a group is: the sum of its `group_best` highest
  // scores.
  int64_t num_groups = 1;
  int64_t groups_per_token = 1;
  int64_t group_best = 1;
  // Whose matrices are here: of `num_held` experts from `first_held` on; 0: of all. Experts are
  // chosen among all, wherever their matrices are.
  int64_t first_held = 0;
  int64_t num_held = 0;

  int64_t held() const { return num_held == 0 ? num_experts : num_held; }
  // How many of a token's experts can be held.
  int64_t rows_per_token() const { return std::min(experts_per_token, held()); }

  bool operator==(const ExpertRouting&) const = default;
};

}  // namespace pingti::worker
