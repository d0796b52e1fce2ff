// Requests of all kinds at once, and what it means that two runs answered them alike: for the tests
// that what a request gets does not depend on what else runs.
#pragma once

#include <vector>

#include "tests/worker/engine/engine_testing.h"

namespace pingti::worker {

inline constexpr int kNumMixedRequests = 32;

// Lengths, samplers, penalties, stops, log-probabilities, beams and sample counts of all kinds;
// many share a beginning. Token ids are below 64; prompt and answer are within 240 tokens.
std::vector<Request> MixedRequests();

// The same tokens, finish reasons and usage; log-probabilities within `tolerance`, in nats.
void ExpectSameAnswers(const CollectedMap& want, const CollectedMap& got, double tolerance);

}  // namespace pingti::worker
