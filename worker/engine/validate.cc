// See validate.h. One function per message of worker.proto.
#include "worker/engine/validate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/sampling_params.h"
#include "worker/sampling/beam_search.h"

namespace pingti::worker {
namespace {

template <typename T>
absl::Status Bad(std::string_view field, T value, std::string_view expected) {
  return absl::InvalidArgumentError(Concat(field, " is ", value, ": expected ", expected));
}

absl::Status CheckTokens(std::string_view field, const std::vector<int32_t>& tokens,
                         int32_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocab_size) continue;
    return Bad(Concat(field, "[", i, "]"), static_cast<int64_t>(static_cast<uint32_t>(tokens[i])),
               Concat("a token id below ", vocab_size));
  }
  return absl::OkStatus();
}

absl::Status CheckRange(std::string_view field, float value, float least, float most) {
  if (value >= least && value <= most) return absl::OkStatus();  // false for NaN
  return Bad(field, value, Concat("a value in [", least, ", ", most, "]"));
}

absl::Status CheckBeam(const Request& request, const RequestLimits& limits) {
  const SamplingParameters& s = request.sampling;
  if (s.beam.num_beams > limits.max_batch_size) {
    return Bad("sampling.beam.num_beams", s.beam.num_beams,
               Concat("at most max_batch_size, ", limits.max_batch_size));
  }
  PINGTI_RETURN_IF_ERROR(
      CheckRange("sampling.beam.length_penalty", s.beam.length_penalty, -10.0f, 10.0f));
  if (s.temperature != 0.0f) {
    return Bad("sampling.temperature", s.temperature, "0 with beam search, which draws nothing");
  }
  const auto num_stops = static_cast<int32_t>(StopTokens(request, limits).size());
  const int32_t candidates = BeamSearch::CandidatesPerBeam(s.beam.num_beams, num_stops);
  const int32_t most = std::min(kMaxRankedTokens, limits.vocab_size);
  if (candidates > most) {
    return Bad("sampling.beam.num_beams", s.beam.num_beams,
               Concat("fewer beams or stop_token_ids: with ", num_stops, " stop tokens they have ",
                      candidates, " candidates each, of at most ", most));
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const Request& request, const RequestLimits& limits) {
  const SamplingParameters& s = request.sampling;
  PINGTI_RETURN_IF_ERROR(CheckRange("sampling.temperature", s.temperature, 0.0f, 100.0f));
  if (!(s.top_p > 0.0f && s.top_p <= 1.0f)) {
    return Bad("sampling.top_p", s.top_p, "a value in (0, 1]");
  }
  if (s.top_k < 0) return Bad("sampling.top_k", s.top_k, "0 or more");
  PINGTI_RETURN_IF_ERROR(CheckRange("sampling.min_p", s.min_p, 0.0f, 1.0f));
  PINGTI_RETURN_IF_ERROR(CheckRange("sampling.presence_penalty", s.presence_penalty, -2.0f, 2.0f));
  PINGTI_RETURN_IF_ERROR(
      CheckRange("sampling.frequency_penalty", s.frequency_penalty, -2.0f, 2.0f));
  if (!(s.repetition_penalty > 0.0f && s.repetition_penalty <= 100.0f)) {
    return Bad("sampling.repetition_penalty", s.repetition_penalty, "a value in (0, 100]");
  }
  if (s.logit_bias.size() > kMaxLogitBiases) {
    return Bad("sampling.logit_bias' size", s.logit_bias.size(),
               Concat("at most ", kMaxLogitBiases));
  }
  for (size_t i = 0; i < s.logit_bias.size(); ++i) {
    const TokenBias& bias = s.logit_bias[i];
    if (bias.token_id < 0 || bias.token_id >= limits.vocab_size) {
      return Bad(Concat("sampling.logit_bias[", i, "].token_id"), bias.token_id,
                 Concat("a token id below ", limits.vocab_size));
    }
    // NaN is not in [-1000, 1000] either.
    PINGTI_RETURN_IF_ERROR(
        CheckRange(Concat("sampling.logit_bias[", i, "].bias"), bias.bias, -1000.0f, 1000.0f));
  }
  if (s.allowed_token_ids.size() > static_cast<size_t>(limits.vocab_size)) {
    return Bad("sampling.allowed_token_ids' size", s.allowed_token_ids.size(),
               Concat("at most the vocabulary's ", limits.vocab_size));
  }
  PINGTI_RETURN_IF_ERROR(
      CheckTokens("sampling.allowed_token_ids", s.allowed_token_ids, limits.vocab_size));
  if (s.n < 1 || s.n > s.beam.num_beams) {
    return Bad("sampling.n", s.n,
               Concat("a value in [1, num_beams] = [1, ", s.beam.num_beams, "]"));
  }
  return s.is_beam_search() ? CheckBeam(request, limits) : absl::OkStatus();
}

absl::Status CheckTokensFit(const Request& request, const RequestLimits& limits) {
  if (request.prompt_token_ids.empty()) {
    return absl::InvalidArgumentError("prompt_token_ids is empty: expected at least one token");
  }
  const size_t length = request.prompt_token_ids.size() + request.generated_token_ids.size();
  if (length >= static_cast<size_t>(limits.max_context_tokens)) {
    return absl::OutOfRangeError(Concat("prompt_token_ids and generated_token_ids have ", length,
                                        " tokens: expected less than the context of ",
                                        limits.max_context_tokens));
  }
  PINGTI_RETURN_IF_ERROR(
      CheckTokens("prompt_token_ids", request.prompt_token_ids, limits.vocab_size));
  PINGTI_RETURN_IF_ERROR(
      CheckTokens("generated_token_ids", request.generated_token_ids, limits.vocab_size));
  if (!request.generated_token_ids.empty() && request.sampling.is_beam_search()) {
    return absl::InvalidArgumentError("generated_token_ids: expected none with beam search");
  }
  return absl::OkStatus();
}

absl::Status CheckStopTexts(const Request& request, const RequestLimits& limits) {
  const std::vector<std::string>& texts = request.stop.stop_texts;
  if (texts.empty()) return absl::OkStatus();
  if (!limits.grammars) {
    return absl::UnimplementedError("stop.stop_texts: this worker does not know its tokens' texts");
  }
  if (!request.sampling.is_beam_search()) {
    return absl::InvalidArgumentError("stop.stop_texts: expected none without beam search");
  }
  if (texts.size() > kMaxStopTexts) {
    return Bad("stop.stop_texts' size", texts.size(), Concat("at most ", kMaxStopTexts));
  }
  size_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) {
      return absl::InvalidArgumentError(Concat("stop.stop_texts[", i, "] is empty: expected text"));
    }
    bytes += texts[i].size();
  }
  if (bytes > kMaxStopTextBytes) {
    return Bad("stop.stop_texts' bytes", bytes, Concat("at most ", kMaxStopTextBytes));
  }
  return absl::OkStatus();
}

absl::Status CheckStop(const Request& request, const RequestLimits& limits) {
  const StopParameters& stop = request.stop;
  if (stop.max_tokens < 0) return Bad("stop.max_tokens", stop.max_tokens, "0 or more");
  if (stop.min_tokens < 0 || (stop.max_tokens > 0 && stop.min_tokens > stop.max_tokens)) {
    return Bad("stop.min_tokens", stop.min_tokens,
               Concat("a value in [0, max_tokens] = [0, ", stop.max_tokens, "]"));
  }
  if (stop.stop_token_ids.size() > kMaxStopTokenIds) {
    return Bad("stop.stop_token_ids' size", stop.stop_token_ids.size(),
               Concat("at most ", kMaxStopTokenIds));
  }
  PINGTI_RETURN_IF_ERROR(CheckStopTexts(request, limits));
  return CheckTokens("stop.stop_token_ids", stop.stop_token_ids, limits.vocab_size);
}

}  // namespace

std::vector<int32_t> StopTokens(const Request& request, const RequestLimits& limits) {
  std::vector<int32_t> tokens = request.stop.stop_token_ids;
  if (!request.stop.ignore_eos) {
    tokens.insert(tokens.end(), limits.eos_token_ids.begin(), limits.eos_token_ids.end());
  }
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

absl::Status ValidateRequest(const Request& request, const RequestLimits& limits) {
  PINGTI_RETURN_IF_ERROR(request.unsupported);
  if (request.grammar.has_value() && !limits.grammars) {
    return absl::UnimplementedError("grammar: this worker has no constrained decoding");
  }
  PINGTI_RETURN_IF_ERROR(CheckTokensFit(request, limits));
  PINGTI_RETURN_IF_ERROR(CheckSampling(request, limits));
  PINGTI_RETURN_IF_ERROR(CheckStop(request, limits));
  const int32_t top = request.logprobs.top_logprobs;
  if (top < 0 || top > limits.max_top_logprobs || top > limits.vocab_size) {
    return Bad("logprobs.top_logprobs", top,
               Concat("a value in [0, ", limits.max_top_logprobs, "]"));
  }
  if (request.cache_salt.size() > kMaxCacheSaltBytes) {
    return Bad("cache_salt's size", request.cache_salt.size(),
               Concat("at most ", kMaxCacheSaltBytes, " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
