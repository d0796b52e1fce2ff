// Cuts a sequence's output where it is too large for one message. Pure; thread-safe.
#pragma once

#include <cstddef>

#include "worker/engine/request.h"

namespace pingti::worker {

// At least what the output takes in a StepOutput.
size_t BytesOnTheWire(const SequenceOutput& output);

// Moves the first prompt logprobs and tokens of `output`, at most `bytes` on the wire but at least
// one, to `part`. True when that was all of it; the end of the sequence goes with the last token.
bool SplitOff(SequenceOutput* output, size_t bytes, SequenceOutput* part);

}  // namespace pingti::worker
