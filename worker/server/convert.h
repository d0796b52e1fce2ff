// Between worker.proto's messages and the engine's structs. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <span>

#include "worker/engine/engine_core.h"
#include "worker/engine/request.h"

namespace pingti::worker::v1 {
class Finish;
class KvEvents;
class LoadReport;
class Sequence;
class SequenceOutput;
}  // namespace pingti::worker::v1

namespace pingti::worker {

// Fills in defaults as worker.proto words them. What the engine cannot do becomes
// Request::unsupported, so that the request is answered like every other bad one.
Request FromProto(const v1::Sequence& message, TimePoint now);

// `output` is left in a moved-from state.
void ToProto(SequenceOutput&& output, v1::SequenceOutput* message);
void ToProto(const Finish& finish, v1::Finish* message);
void ToProto(const LoadSnapshot& load, uint64_t includes_sequence_id, v1::LoadReport* message);
// Runs of stored blocks that follow each other, and of removed ones, share one event.
void ToProto(std::span<const CacheEvent> events, v1::KvEvents* message);

}  // namespace pingti::worker
