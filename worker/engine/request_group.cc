// See request_group.h.
#include "worker/engine/request_group.h"

#include <algorithm>

#include "common/base/block_hash.h"
#include "worker/engine/scheduler.h"

namespace pingti::worker {
namespace {

int32_t MaxOutput(const Request& request, const RequestLimits& limits) {
  const int32_t room =
      limits.max_context_tokens - static_cast<int32_t>(request.prompt_token_ids.size());
  return request.stop.max_tokens == 0 ? room : std::min(room, request.stop.max_tokens);
}

int64_t MicrosBetween(TimePoint from, TimePoint to) {
  if (to == TimePoint::max() || from == TimePoint::max()) return 0;
  return std::chrono::duration_cast<std::chrono::microseconds>(to - from).count();
}

}  // namespace

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStopToken:
      return "stop_token";
    case FinishReason::kStopText:
      return "stop_text";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kRejected:
      return "rejected";
    case FinishReason::kError:
      return "error";
    case FinishReason::kPreempted:
      return "preempted";
  }
  return "unknown";
}

RequestGroup::RequestGroup(Request r, uint64_t session_id, uint64_t order,
                           const RequestLimits& limits, int32_t kv_block_tokens)
    : request(std::move(r)),
      session(session_id),
      stop_token_ids(StopTokens(request, limits)),
      sampling(request.sampling, limits.vocab_size, stop_token_ids, request.stop.min_tokens > 0),
      max_context(limits.max_context_tokens),
      max_output(MaxOutput(request, limits)),
      order_(order),
      adapter_(request.adapter) {
  Sample* first = AddSample();
  Sequence& sequence = first->sequence;
  sequence.tokens = request.prompt_token_ids;
  sequence.tokens.insert(sequence.tokens.end(), request.generated_token_ids.begin(),
                         request.generated_token_ids.end());
  // No vector of a running sequence grows while it decodes.
  const size_t most_tokens = request.prompt_token_ids.size() + static_cast<size_t>(max_output);
  sequence.tokens.reserve(most_tokens);
  sequence.block_hashes.reserve(most_tokens / kv_block_tokens + 1);
  sequence.blocks.reserve(most_tokens / kv_block_tokens + 1);
  sequence.salt = PrefixSalt(request.cache_salt,
                             request.adapter == nullptr ? request.adapter_id : request.adapter->id);
  sequence.row_per_token = request.logprobs.prompt && num_prompt() > 1;
  first->num_output = static_cast<int32_t>(request.generated_token_ids.size());
  first->sampling.Reset(&sampling, request.prompt_token_ids, request.generated_token_ids,
                        static_cast<int32_t>(most_tokens));
  Scheduler::ExtendHashes(&sequence, kv_block_tokens);
  if (request.logprobs.prompt) prompt_logprobs.resize(num_prompt());
  if (request.sampling.is_beam_search()) {
    beam = std::make_unique<BeamSearch>(request.sampling.beam,
                                        static_cast<int32_t>(stop_token_ids.size()), max_output);
    sequence.num_places = request.sampling.beam.num_beams;
    if (!request.stop.stop_texts.empty()) {
      stop_texts = std::make_unique<const text::StopStrings>(request.stop.stop_texts);
      first->stop_matcher.emplace(stop_texts.get());
    }
  }
}

Sample* RequestGroup::AddSample() {
  samples.push_back(std::make_unique<Sample>());
  Sequence& sequence = samples.back()->sequence;
  sequence.group = this;
  sequence.index = static_cast<int32_t>(samples.size()) - 1;
  sequence.priority = request.priority;
  // Beams of one request come in order, after all of earlier requests. REQUIRES: < 2^16 beams.
  sequence.order = (order_ << 16) + static_cast<uint64_t>(sequence.index);
  sequence.deadline = request.deadline;
  sequence.adapter = adapter_.get();
  return samples.back().get();
}

void RequestGroup::TakeAdapter(AdapterPtr adapter) {
  awaits_adapter = false;
  adapter_ = std::move(adapter);
  for (const auto& sample : samples) sample->sequence.adapter = adapter_.get();
}

bool RequestGroup::is_stop(int32_t token_id) const {
  return std::binary_search(stop_token_ids.begin(), stop_token_ids.end(), token_id);
}

void RequestGroup::TakePromptLogprobs(int32_t position, std::span<SampledToken> results) {
  for (SampledToken& result : results) {
    prompt_logprobs[++position] = {result.logprob, std::move(result.top)};
  }
}

std::optional<Finish> RequestGroup::CheckFinished(const Sample& sample, int32_t last) const {
  Finish finish;
  // A text that its grammar has ended is over, however short.
  const bool may_stop = sample.num_output > request.stop.min_tokens ||
                        (sample.grammar != nullptr && sample.grammar->ended());
  if (sample.num_output > 0 && is_stop(last) && may_stop) {
    finish.reason = FinishReason::kStopToken;
    finish.stop_token_id = last;
    return finish;
  }
  if (sample.num_output < max_output) return std::nullopt;
  finish.reason =
      max_output == request.stop.max_tokens ? FinishReason::kMaxTokens : FinishReason::kContextFull;
  return finish;
}

Usage RequestGroup::UsageOf(const Sample& sample) const {
  Usage usage;
  usage.prompt_tokens = num_prompt();
  usage.cached_prompt_tokens = std::max(cached_prompt_tokens, 0);
  usage.output_tokens = sample.num_output;
  usage.preemptions = sample.sequence.num_preemptions;
  usage.queue_us = MicrosBetween(request.arrival, first_step);
  usage.prefill_us = MicrosBetween(first_step, first_token);
  return usage;
}

}  // namespace pingti::worker
