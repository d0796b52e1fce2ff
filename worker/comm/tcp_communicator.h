// Tensor-parallel ranks that are processes, on one machine or several, over memory that the host
// reaches: CPU workers whose model is larger than one machine.
//
// Every rank sends its matrix to each other and computes the sum for itself, in rank order, so all
// hold the same bits. Operations are complete when they return. Ranks that differ in operation,
// dtype, rows, columns or root all get the same InvalidArgument, and the group works on.
#pragma once

#include <memory>

#include "worker/comm/communicator.h"
#include "worker/comm/tcp_mesh.h"

namespace pingti::worker {

// `backend` works on host memory, completes its operations before they return, and must outlive the
// communicator.
std::unique_ptr<Communicator> MakeTcpCommunicator(Backend* backend, std::unique_ptr<TcpMesh> mesh);

}  // namespace pingti::worker
