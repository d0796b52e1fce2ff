// See beam_search.h.
#include "worker/sampling/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

BeamSearch::BeamSearch(const BeamParameters& parameters, int32_t num_stops, int32_t max_output)
    : parameters_(parameters), num_stops_(num_stops), max_output_(max_output), beams_{Beam{}} {}

int32_t BeamSearch::CandidatesPerBeam(int32_t num_beams, int32_t num_stops) {
  // Enough that num_beams remain when every beam's best continuations are all of its stop tokens.
  return std::max(2, 1 + num_stops) * num_beams;
}

bool BeamSearch::Advance(std::span<BeamCandidates> candidates) {
  PINGTI_CHECK(candidates.size() == beams_.size());
  ++length_;
  Rank(candidates);
  const auto first_alternatives = static_cast<int32_t>(alternatives_.size());
  for (BeamCandidates& beam : candidates) {
    alternatives_.push_back(std::move(beam.alternatives));
  }
  for (Ranked& ranked : ranked_) ranked.alternatives = first_alternatives + ranked.parent;
  const std::vector<Beam> parents = std::exchange(beams_, {});
  AddFinished(parents);
  for (const Ranked& ranked : ranked_) {
    if (ranked.ends) continue;
    if (static_cast<int32_t>(beams_.size()) == parameters_.num_beams) break;
    beams_.push_back({ranked.parent, ranked.candidate.token.token_id, ranked.cumulative_logprob,
                      AddStep(ranked, parents[ranked.parent].last)});
  }
  if (beams_.empty()) return false;
  if (static_cast<int32_t>(finished_.size()) < parameters_.num_beams) return true;
  return BestPossibleScore() > finished_.back().score;
}

float BeamSearch::BestPossibleScore() const {
  const float logprob = beams_.front().cumulative_logprob;
  switch (parameters_.early_stopping) {
    case EarlyStopping::kTrue:
      break;
    case EarlyStopping::kFalse:
      return Normalize(logprob, length_);
    case EarlyStopping::kNever:
      // What a beam loses with more tokens is at best nothing, and a longer one is divided by more.
      return Normalize(logprob, parameters_.length_penalty > 0 ? max_output_ : length_);
  }
  return -std::numeric_limits<float>::infinity();
}

void BeamSearch::Rank(std::span<const BeamCandidates> candidates) {
  ranked_.clear();
  for (size_t beam = 0; beam < candidates.size(); ++beam) {
    for (const BeamCandidate& next : candidates[beam].next) {
      const bool ends = next.end != BeamEnd::kNone || length_ >= max_output_;
      ranked_.push_back({static_cast<int32_t>(beam), next,
                         beams_[beam].cumulative_logprob + next.token.adjusted_logprob, ends});
    }
  }
  const auto better = [](const Ranked& a, const Ranked& b) {
    if (a.cumulative_logprob != b.cumulative_logprob) {
      return a.cumulative_logprob > b.cumulative_logprob;
    }
    if (a.parent != b.parent) return a.parent < b.parent;
    return a.candidate.token.token_id < b.candidate.token.token_id;
  };
  std::sort(ranked_.begin(), ranked_.end(), better);
  const auto keep = static_cast<size_t>(candidates_per_beam());
  if (ranked_.size() > keep) ranked_.resize(keep);
}

int32_t BeamSearch::AddStep(const Ranked& ranked, int32_t before) {
  const RankedToken& token = ranked.candidate.token;
  steps_.push_back({before, token.token_id, token.logprob, ranked.alternatives});
  return static_cast<int32_t>(steps_.size()) - 1;
}

void BeamSearch::AddFinished(std::span<const Beam> parents) {
  // Only the num_beams best candidates may finish; the others are there to keep the search alive.
  const auto num_beams = static_cast<size_t>(parameters_.num_beams);
  for (size_t rank = 0; rank < std::min(num_beams, ranked_.size()); ++rank) {
    const Ranked& ranked = ranked_[rank];
    if (!ranked.ends) continue;
    FinishedBeam beam;
    beam.score = Normalize(ranked.cumulative_logprob, length_);
    const auto place =
        std::upper_bound(finished_.begin(), finished_.end(), beam.score,
                         [](float score, const FinishedBeam& b) { return score > b.score; });
    if (finished_.size() == num_beams && place == finished_.end()) continue;
    beam.cumulative_logprob = ranked.cumulative_logprob;
    beam.end = ranked.candidate.end;
    beam.last = AddStep(ranked, parents[ranked.parent].last);
    finished_.insert(place, beam);
    if (finished_.size() > num_beams) finished_.pop_back();
  }
}

std::vector<BeamToken> BeamSearch::Output(const FinishedBeam& beam) const {
  std::vector<BeamToken> output;
  for (int32_t i = beam.last; i >= 0; i = steps_[i].before) {
    const Step& step = steps_[i];
    output.push_back({step.token_id, step.logprob, alternatives_[step.alternatives]});
  }
  std::reverse(output.begin(), output.end());
  return output;
}

float BeamSearch::Normalize(float cumulative_logprob, int32_t length) const {
  return cumulative_logprob /
         static_cast<float>(std::pow(static_cast<double>(length), parameters_.length_penalty));
}

}  // namespace pingti::worker
