// The calls by which a worker is asked to load and unload adapters. Included only inside
// router/worker_link: it needs gRPC's headers. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "router/worker_link/messages.h"
#include "router/worker_link/worker_link.h"

namespace pingti::router {

// Returns at once; the call keeps what it needs until `done` was called, on a thread of gRPC.
void CallChangeAdapter(std::shared_ptr<grpc::Channel> channel, const AdapterChange& change,
                       WorkerChannel::ChangeDone done);

}  // namespace pingti::router
