// Between the plain values of messages.h and the messages of worker.proto.
#pragma once

#include "proto/pingti/worker/v1/worker.pb.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

worker::v1::Sequence ToWire(const Sequence& sequence);

// These take the message's strings and arrays where they can.
StepOutput FromWire(worker::v1::StepOutput* message);
LoadReport FromWire(const worker::v1::LoadReport& message);
SubmitCredit FromWire(const worker::v1::SubmitCredit& message);
KvEvents FromWire(const worker::v1::KvEvents& message);
// Without those that no sequence could name.
std::vector<AdapterInfo> FromWire(const worker::v1::AdapterList& message);

}  // namespace pingti::router
