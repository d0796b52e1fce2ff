// What gRPC takes from the whole process, set to what pingti needs of it.
#pragma once

namespace pingti::net {

// For main, once, before gRPC is used.
//
// What gRPC would print to stderr goes through Log (common/base/log.h). Its errors become warnings:
// what they mean for pingti, pingti says itself. Protobuf's messages are dropped.
//
// Abseil's mutexes, which are gRPC's, do not watch the order in which they are locked:
// distributions build the library with that check on, and it costs more than the locks.
void SetUpGrpc();

}  // namespace pingti::net
