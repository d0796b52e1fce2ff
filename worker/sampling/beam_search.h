// Beam search over candidates that the model ranks: which beams go on, from which parents, and
// which are finished. Gives what Hugging Face transformers' generate(num_beams=...,
// do_sample=False) gives.
//
// Source of the method: Sutskever et al., "Sequence to Sequence Learning with Neural Networks"
// (2014), section 3.2; the length normalisation and the three stopping rules are transformers', as
// is that beams are compared by log-probabilities which penalties, biases and masks have adjusted.
// Pure bookkeeping; thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "worker/backend/sampling_params.h"
#include "worker/sampling/parameters.h"

namespace pingti::worker {

enum class BeamEnd : uint8_t {
  kNone,       // goes on, or ended by its length
  kStopToken,  // its last token is one
  kStopText,   // its last token completes one
};

// A token that may come next in a beam.
struct BeamCandidate {
  RankedToken token;
  BeamEnd end = BeamEnd::kNone;  // what the token would end the beam as
};

// What one running beam may go on with.
struct BeamCandidates {
  std::vector<BeamCandidate> next;  // descending by what they are ranked by
  // To be told beside whichever token comes next, see BeamToken.
  std::vector<TopLogprob> alternatives;
};

struct FinishedBeam {
  float cumulative_logprob = 0.0f;  // as adjusted
  float score = 0.0f;               // cumulative_logprob / length ^ length_penalty
  BeamEnd end = BeamEnd::kNone;
  int32_t last = -1;  // its last step, for BeamSearch::Output
};

// A token of a finished beam.
struct BeamToken {
  int32_t token_id = 0;
  float logprob = 0.0f;                           // not adjusted
  std::span<const TopLogprob> alternatives = {};  // of the search, as long as that lives
};

class BeamSearch {
 public:
  // A running beam after Advance: `token` was appended to beam `parent` of before.
  struct Beam {
    int32_t parent = 0;
    int32_t token = 0;
    float cumulative_logprob = 0.0f;  // as adjusted
    int32_t last = -1;                // step; -1: the prompt
  };

  // Beams end at one of `num_stops` tokens, at texts, and after `max_output` tokens.
  BeamSearch(const BeamParameters& parameters, int32_t num_stops, int32_t max_output);

  // How many of the highest ranked tokens of each beam Advance needs, or as many as there are.
  static int32_t CandidatesPerBeam(int32_t num_beams, int32_t num_stops);
  int32_t candidates_per_beam() const {
    return CandidatesPerBeam(parameters_.num_beams, num_stops_);
  }

  // One step. candidates[b] are of running beam b; at the first step there is one: the prompt. True
  // while the search goes on with beams(), which are fewer than num_beams where masks leave no
  // more.
  bool Advance(std::span<BeamCandidates> candidates);

  std::span<const Beam> beams() const { return beams_; }
  // Best first; complete when Advance returned false. Fewer than num_beams where masks leave no
  // more.
  std::span<const FinishedBeam> finished() const { return finished_; }
  // The stop token is included, when one ended it.
  std::vector<BeamToken> Output(const FinishedBeam& beam) const;

 private:
  struct Ranked {
    int32_t parent;
    BeamCandidate candidate;
    float cumulative_logprob;
    bool ends;
    int32_t alternatives = -1;  // in alternatives_
  };
  // A token of a beam, whose earlier ones other beams may share.
  struct Step {
    int32_t before;  // -1: the prompt
    int32_t token_id;
    float logprob;
    int32_t alternatives;  // in alternatives_
  };

  void Rank(std::span<const BeamCandidates> candidates);
  int32_t AddStep(const Ranked& ranked, int32_t before);
  void AddFinished(std::span<const Beam> parents);
  float Normalize(float cumulative_logprob, int32_t length) const;
  // What the running beams may still reach, as early_stopping counts it. -infinity: too little.
  float BestPossibleScore() const;

  const BeamParameters parameters_;
  const int32_t num_stops_;
  const int32_t max_output_;
  int32_t length_ = 0;  // tokens of every running beam
  std::vector<Beam> beams_;
  std::vector<Ranked> ranked_;
  std::vector<FinishedBeam> finished_;  // descending score, at most num_beams
  std::vector<Step> steps_;
  std::vector<std::vector<TopLogprob>> alternatives_;  // of each step of each running beam
};

}  // namespace pingti::worker
