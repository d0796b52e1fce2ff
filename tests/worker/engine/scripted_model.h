// A model that takes the same tokens again: wraps a real one whose device rounds differently with a
// batch's shape, where near ties would soon lead two runs apart.
//
// The first run of a sequence is recorded, as (seed, position) of its rows; later runs take the
// recorded tokens, and count where the model itself would have drawn another. Log-probabilities are
// always this run's own. REQUIRES: each request has a seed of its own, not 0. Confined to one
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "tests/testing/forwarding_model.h"

namespace pingti::worker::testing {

class ScriptedModel : public ForwardingModel {
 public:
  using ForwardingModel::ForwardingModel;

  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override {
    PINGTI_RETURN_IF_ERROR(ForwardingModel::Sample(rows, sampled));
    std::vector<LogprobRequest> requests;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].seed == 0) continue;  // only its log-probabilities are wanted
      const auto [it, is_first] =
          script_.try_emplace({rows[i].seed, rows[i].position}, sampled[i].token_id);
      if (is_first) continue;
      ++replayed_;
      if (it->second == sampled[i].token_id) continue;
      ++differing_;
      sampled[i].token_id = it->second;
      requests.push_back({static_cast<int32_t>(i), it->second, 0});
    }
    std::vector<SampledToken> results(requests.size());
    if (!requests.empty()) PINGTI_RETURN_IF_ERROR(Logprobs(requests, results));
    for (size_t i = 0; i < requests.size(); ++i) {
      sampled[static_cast<size_t>(requests[i].row)].logprob = results[i].logprob;
    }
    return absl::OkStatus();
  }

  // Tokens taken from the record, and those among them that the model would not have drawn.
  int64_t replayed() const { return replayed_; }
  int64_t differing() const { return differing_; }

 private:
  std::map<std::pair<uint64_t, uint64_t>, int32_t> script_;
  int64_t replayed_ = 0;
  int64_t differing_ = 0;
};

}  // namespace pingti::worker::testing
