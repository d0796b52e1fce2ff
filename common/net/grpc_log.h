// gRPC's own messages, in pingti's log format.
#pragma once

namespace pingti::net {

// Sends what gRPC would print to stderr through Log (common/base/log.h) from here on. Its errors
// become warnings: what they mean for pingti, pingti says itself. Protobuf's messages are dropped.
// For main, once, before gRPC is used.
void RouteGrpcLog();

}  // namespace pingti::net
