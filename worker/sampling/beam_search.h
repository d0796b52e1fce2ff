// Beam search over candidates that the model ranks: which beams go on, from which parents, and
// which are finished. Gives what Hugging Face transformers' generate(num_beams=...,
// do_sample=False) gives.
//
// Source of the method: Sutskever et al., "Sequence to Sequence Learning with Neural Networks"
// (2014), section 3.2; the length normalisation and the three stopping rules are transformers'.
// Pure bookkeeping, no tokens of its own but the finished ones; thread-compatible.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/sampling_params.h"
#include "worker/sampling/parameters.h"

namespace pingti::worker {

struct FinishedBeam {
  std::vector<int32_t> output;  // the stop token included, when one ended it
  float cumulative_logprob = 0.0f;
  float score = 0.0f;          // cumulative_logprob / length ^ length_penalty
  int32_t stop_token_id = -1;  // -1: ended by its length
};

class BeamSearch {
 public:
  // A running beam after Advance: `token` was appended to the output of beam `parent` of before.
  struct Beam {
    int32_t parent = 0;
    int32_t token = 0;
    float cumulative_logprob = 0.0f;
  };

  // `max_output` tokens at most; `stop_token_ids` end a beam.
  BeamSearch(const BeamParameters& parameters, std::vector<int32_t> stop_token_ids,
             int32_t max_output);

  // How many of the most likely tokens of each beam Advance needs (fewer if the vocabulary is
  // smaller). While stops are suppressed, further candidates make up for them.
  static int32_t CandidatesPerBeam(int32_t num_beams, int32_t num_stops, bool suppress_stops);
  int32_t candidates_per_beam(bool suppress_stops) const {
    return CandidatesPerBeam(parameters_.num_beams, static_cast<int32_t>(stop_token_ids_.size()),
                             suppress_stops);
  }

  // One step. candidates[b] are the most likely tokens after running beam b, descending; outputs[b]
  // are that beam's output tokens so far. At the first step there is one beam: the prompt.
  // True while the search goes on with beams().
  bool Advance(std::span<const std::span<const TopLogprob>> candidates,
               std::span<const std::span<const int32_t>> outputs, bool suppress_stops);

  std::span<const Beam> beams() const { return beams_; }
  // Best first; complete when Advance returned false.
  std::span<const FinishedBeam> finished() const { return finished_; }

 private:
  struct Candidate {
    int32_t parent;
    int32_t token;
    float cumulative_logprob;
    bool ends;
  };

  bool IsStop(int32_t token) const;
  void Rank(std::span<const std::span<const TopLogprob>> candidates, int32_t length,
            bool suppress_stops);
  void AddFinished(std::span<const std::span<const int32_t>> outputs, int32_t length);
  float Normalize(float cumulative_logprob, int32_t length) const;
  // What the running beams may still reach, as early_stopping counts it. -infinity: too little.
  float BestPossibleScore(int32_t length) const;

  const BeamParameters parameters_;
  const std::vector<int32_t> stop_token_ids_;
  const int32_t max_output_;
  std::vector<Beam> beams_;
  std::vector<Candidate> ranked_;
  std::vector<FinishedBeam> finished_;  // descending score, at most num_beams
};

}  // namespace pingti::worker
