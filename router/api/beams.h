// Whether what a request says of beams, and of answers that are drawn to choose from, fits
// together and with the rest of it. What such requests are and what they get: docs/api.md, "Beams
// and best_of".
#pragma once

#include "absl/status/status.h"
#include "router/api/request.h"

namespace pingti::router {

// `max_beams`: the most that this router allows. REQUIRES: the request is read as a whole. Errors:
// InvalidArgument naming the field as the HTTP API spells it.
absl::Status CheckBeams(const GenerationRequest& request, uint32_t max_beams);

}  // namespace pingti::router
