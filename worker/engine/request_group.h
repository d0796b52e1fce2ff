// A request while it runs: its sample or its beams, what they share and when they end.
//
// Owned by the engine core; confined to the engine thread after construction (which costs the
// hashes of the prompt's blocks). Read next: engine_core.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/text/stop_matcher.h"
#include "worker/engine/draft_depth.h"
#include "worker/engine/draft_source.h"
#include "worker/engine/request.h"
#include "worker/engine/sequence.h"
#include "worker/engine/validate.h"
#include "worker/grammar/grammar_state.h"
#include "worker/sampling/beam_search.h"
#include "worker/sampling/row_builder.h"

namespace pingti::worker {

// The only one of its request, or a beam.
struct Sample {
  Sequence sequence;
  SequenceSampling sampling;
  std::unique_ptr<GrammarState> grammar;          // null: the output is free
  std::optional<text::StopMatcher> stop_matcher;  // of a beam that texts may end
  int32_t mask_waits = 0;                         // steps in a row in which its mask was too costly
  int32_t num_output = 0;                         // generated_token_ids included
  float cumulative_logprob = 0.0f;
  bool has_output = false;  // something was sent
  // Beam search: what it may go on with, once computed and until all beams have theirs.
  BeamCandidates candidates;
  std::unique_ptr<DraftMemory> draft_memory;  // of the source of drafts
  DraftAcceptance draft_acceptance;
};

struct RequestGroup {
  // REQUIRES: validated. `order` is the arrival's rank.
  RequestGroup(Request request, uint64_t session, uint64_t order, const RequestLimits& limits,
               int32_t kv_block_tokens);
  RequestGroup(const RequestGroup&) = delete;
  RequestGroup& operator=(const RequestGroup&) = delete;

  // Adds a sample that waits to become a copy of another (Scheduler::Fork).
  Sample* AddSample();

  int32_t num_prompt() const { return static_cast<int32_t>(request.prompt_token_ids.size()); }
  std::span<const int32_t> OutputOf(const Sample& sample) const {
    return std::span(sample.sequence.tokens).subspan(num_prompt());
  }
  // Null: the base model, or one that is still to come.
  const AdapterPtr& adapter() const { return adapter_; }
  // Takes the one that was still to come.
  void TakeAdapter(AdapterPtr adapter);
  bool is_stop(int32_t token_id) const;
  // Whether stop tokens may not be drawn as the sample's next token, or as the one `ahead` further.
  bool SuppressesStops(const Sample& sample, int32_t ahead = 0) const {
    return sample.num_output + ahead < request.stop.min_tokens;
  }
  // Which tokens the request lets come next in the sample, apart from its grammar; empty: all.
  std::span<const uint32_t> NextMask(const Sample& sample) const {
    return sampling.Mask(SuppressesStops(sample));
  }
  // -1, or how many alternatives are to be computed for each token.
  int32_t num_top_logprobs() const {
    return request.logprobs.enabled ? request.logprobs.top_logprobs : -1;
  }
  // The reason, if the sample is over after `last`, its latest token that is no draft.
  std::optional<Finish> CheckFinished(const Sample& sample, int32_t last) const;
  // Takes the log-probabilities of the prompt's tokens behind a chunk that begins at `position`.
  void TakePromptLogprobs(int32_t position, std::span<SampledToken> results);
  Usage UsageOf(const Sample& sample) const;

  const Request request;
  const uint64_t session;
  const std::vector<int32_t> stop_token_ids;  // eos among them unless ignored
  const RequestSampling sampling;
  const int32_t max_context;
  const int32_t max_output;  // tokens, generated_token_ids included
  std::unique_ptr<BeamSearch> beam;
  std::unique_ptr<const text::StopStrings> stop_texts;  // null: no text ends a beam
  std::vector<std::unique_ptr<Sample>> samples;
  bool awaits_grammar = false;  // is not queued before these are there
  bool awaits_adapter = false;
  bool done = false;  // everything was sent; leaves at the end of the step

  std::vector<TokenLogprobs> prompt_logprobs;
  int32_t cached_prompt_tokens = -1;  // -1: not admitted yet
  TimePoint first_step = TimePoint::max();
  TimePoint first_token = TimePoint::max();

 private:
  const uint64_t order_;
  AdapterPtr adapter_;
};

}  // namespace pingti::worker
