// See beam_search.h.
#include "worker/sampling/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/check.h"

namespace pingti::worker {

BeamSearch::BeamSearch(const BeamParameters& parameters, std::vector<int32_t> stop_token_ids,
                       int32_t max_output)
    : parameters_(parameters),
      stop_token_ids_(std::move(stop_token_ids)),
      max_output_(max_output),
      beams_{Beam{}} {}

int32_t BeamSearch::CandidatesPerBeam(int32_t num_beams, int32_t num_stops, bool suppress_stops) {
  // Enough that num_beams remain when every beam's best continuations are all of its stop tokens.
  const int32_t keep = std::max(2, 1 + num_stops) * num_beams;
  return keep + (suppress_stops ? num_stops : 0);
}

bool BeamSearch::Advance(std::span<const std::span<const TopLogprob>> candidates,
                         std::span<const std::span<const int32_t>> outputs, bool suppress_stops) {
  PINGTI_CHECK(candidates.size() == beams_.size() && outputs.size() == beams_.size());
  const int32_t length = static_cast<int32_t>(outputs[0].size()) + 1;
  Rank(candidates, length, suppress_stops);
  AddFinished(outputs, length);

  beams_.clear();
  for (const Candidate& candidate : ranked_) {
    if (candidate.ends) continue;
    if (static_cast<int32_t>(beams_.size()) == parameters_.num_beams) break;
    beams_.push_back({candidate.parent, candidate.token, candidate.cumulative_logprob});
  }
  if (beams_.empty()) return false;
  if (static_cast<int32_t>(finished_.size()) < parameters_.num_beams) return true;
  return BestPossibleScore(length) > finished_.back().score;
}

float BeamSearch::BestPossibleScore(int32_t length) const {
  const float logprob = beams_.front().cumulative_logprob;
  switch (parameters_.early_stopping) {
    case EarlyStopping::kTrue:
      break;
    case EarlyStopping::kFalse:
      return Normalize(logprob, length);
    case EarlyStopping::kNever:
      // What a beam loses with more tokens is at best nothing, and a longer one is divided by more.
      return Normalize(logprob, parameters_.length_penalty > 0 ? max_output_ : length);
  }
  return -std::numeric_limits<float>::infinity();
}

bool BeamSearch::IsStop(int32_t token) const {
  return std::find(stop_token_ids_.begin(), stop_token_ids_.end(), token) != stop_token_ids_.end();
}

void BeamSearch::Rank(std::span<const std::span<const TopLogprob>> candidates, int32_t length,
                      bool suppress_stops) {
  ranked_.clear();
  for (size_t beam = 0; beam < candidates.size(); ++beam) {
    for (const TopLogprob& top : candidates[beam]) {
      const bool stop = IsStop(top.token_id);
      if (stop && suppress_stops) continue;
      ranked_.push_back({static_cast<int32_t>(beam), top.token_id,
                         beams_[beam].cumulative_logprob + top.logprob,
                         stop || length >= max_output_});
    }
  }
  const auto better = [](const Candidate& a, const Candidate& b) {
    if (a.cumulative_logprob != b.cumulative_logprob) {
      return a.cumulative_logprob > b.cumulative_logprob;
    }
    return a.parent != b.parent ? a.parent < b.parent : a.token < b.token;
  };
  std::sort(ranked_.begin(), ranked_.end(), better);
  const size_t keep = static_cast<size_t>(candidates_per_beam(false));
  if (ranked_.size() > keep) ranked_.resize(keep);
}

void BeamSearch::AddFinished(std::span<const std::span<const int32_t>> outputs, int32_t length) {
  // Only the num_beams best candidates may finish; the others are there to keep the search alive.
  const size_t num_beams = static_cast<size_t>(parameters_.num_beams);
  for (size_t rank = 0; rank < std::min(num_beams, ranked_.size()); ++rank) {
    const Candidate& candidate = ranked_[rank];
    if (!candidate.ends) continue;
    FinishedBeam beam;
    beam.score = Normalize(candidate.cumulative_logprob, length);
    const auto place =
        std::upper_bound(finished_.begin(), finished_.end(), beam.score,
                         [](float score, const FinishedBeam& b) { return score > b.score; });
    if (finished_.size() == num_beams && place == finished_.end()) continue;
    beam.cumulative_logprob = candidate.cumulative_logprob;
    beam.output.assign(outputs[candidate.parent].begin(), outputs[candidate.parent].end());
    beam.output.push_back(candidate.token);
    if (IsStop(candidate.token)) beam.stop_token_id = candidate.token;
    finished_.insert(place, std::move(beam));
    if (finished_.size() > num_beams) finished_.pop_back();
  }
}

float BeamSearch::Normalize(float cumulative_logprob, int32_t length) const {
  return cumulative_logprob /
         static_cast<float>(std::pow(static_cast<double>(length), parameters_.length_penalty));
}

}  // namespace pingti::worker
