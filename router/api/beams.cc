// See beams.h.
#include "router/api/beams.h"

#include <string_view>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

// transformers' range is all numbers; scores of these are still finite and differ.
constexpr double kMostPenalty = 10;

absl::Status NotWithBeams(std::string_view field) {
  return UnsupportedField(field, "not with beam search");
}

absl::Status CheckOnlyForBeams(const GenerationParams& params) {
  if (params.use_beam_search) {
    return FieldError("use_beam_search",
                      "'use_beam_search' needs more than one beam: set 'num_beams', 'best_of' or "
                      "'n' to how many");
  }
  if (params.length_penalty != 1) {
    return FieldError("length_penalty", "'length_penalty' needs beam search: set 'num_beams'");
  }
  if (params.early_stopping != EarlyStopping::kFalse) {
    return FieldError("early_stopping", "'early_stopping' needs beam search: set 'num_beams'");
  }
  return absl::OkStatus();
}

absl::Status CheckNumbers(const GenerationParams& params, uint32_t max_beams) {
  const uint32_t beams = params.beams();
  if (beams > max_beams) {
    const std::string_view field = params.num_beams > 1         ? "num_beams"
                                   : params.best_of.has_value() ? "best_of"
                                                                : "n";
    return FieldError(
        field, Concat("'", field, "' is ", beams, ", expected at most ", max_beams, " beams"));
  }
  if (params.best_of.has_value() && *params.best_of != beams) {
    return FieldError("best_of", Concat("'best_of' is ", *params.best_of, " and 'num_beams' is ",
                                        beams, ": both say how many beams; set one of them"));
  }
  if (params.n > beams) {
    return FieldError("n", Concat("'n' is ", params.n, ", expected at most the ", beams, " beams"));
  }
  // Also for NaN.
  if (!(params.length_penalty >= -kMostPenalty && params.length_penalty <= kMostPenalty)) {
    return FieldError("length_penalty",
                      Concat("'length_penalty' is ", params.length_penalty,
                             ", expected a number from ", -kMostPenalty, " to ", kMostPenalty));
  }
  return absl::OkStatus();
}

// What has no meaning for a search.
absl::Status CheckNoneOfThese(const GenerationRequest& request) {
  const GenerationParams& params = request.params;
  if (params.temperature.value_or(0) != 0) {
    return FieldError("temperature",
                      Concat("'temperature' is ", *params.temperature,
                             ", expected 0 or none with beam search: beams are not drawn"));
  }
  if (params.max_tokens == 0u) return NotWithBeams("max_tokens");  // it scores the prompt alone
  // A thought is ended by going on behind other tokens than were drawn, which a search cannot.
  if (request.thinking_budget.has_value()) return NotWithBeams("thinking_budget");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckBeams(const GenerationRequest& request, uint32_t max_beams) {
  const GenerationParams& params = request.params;
  if (params.beams() > 1) {
    PINGTI_RETURN_IF_ERROR(CheckNumbers(params, max_beams));
    return CheckNoneOfThese(request);
  }
  PINGTI_RETURN_IF_ERROR(CheckOnlyForBeams(params));
  if (params.best_of.value_or(params.n) < params.n) {
    return FieldError("best_of", Concat("'best_of' is ", *params.best_of,
                                        ", expected at least 'n', which is ", params.n));
  }
  return absl::OkStatus();
}

}  // namespace pingti::router
