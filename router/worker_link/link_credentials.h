// What a link shows of itself and expects of its worker. Included only inside router/worker_link.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "router/worker_link/worker_link.h"

namespace grpc {
class ChannelCredentials;
}

namespace pingti::router {

// Reads the files now, so that renewed ones count from the next connection on. Errors: NotFound and
// InvalidArgument naming the file.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeLinkCredentials(
    const WorkerLinkOptions& options);

}  // namespace pingti::router
