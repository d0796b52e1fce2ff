// The listening socket of a gRPC server. gRPC itself takes any number of connections; here they are
// counted, so that no peer can take all descriptors of the process.
//
// Owns the socket and a thread that accepts. Connections belong to whoever is given them, which
// closes them without a word: they are counted by looking whether their sockets are still there.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::net {

// Thread-compatible.
class GrpcListener {
 public:
  // Takes over the connection `fd`, accepted at `listener_fd`. Called on the listener's thread.
  using OnConnection = std::function<void(int listener_fd, int fd)>;

  // Listens at once; nothing is accepted before Start. `port` 0: any free one. Errors:
  // InvalidArgument for an address that does not parse; FailedPrecondition "address 127.0.0.1:9001
  // is already in use".
  static absl::StatusOr<std::unique_ptr<GrpcListener>> Bind(const std::string& address,
                                                            uint16_t port, size_t max_connections);
  ~GrpcListener();
  GrpcListener(const GrpcListener&) = delete;
  GrpcListener& operator=(const GrpcListener&) = delete;

  uint16_t port() const { return port_; }

  // Once.
  void Start(OnConnection on_connection);
  // Closes the socket and joins. Idempotent.
  void Stop();

 private:
  // A descriptor's number may be another file's by now; an inode of a socket is not reused.
  struct Connection {
    int fd;
    ino_t inode;
  };

  GrpcListener(int fd, int stop_fd, uint16_t port, size_t max_connections);
  void Run();
  void AcceptOne();
  // Whether one more may be taken.
  bool HasRoom();

  int fd_;
  int stop_fd_;  // an eventfd
  const uint16_t port_;
  const size_t max_connections_;
  OnConnection on_connection_;
  std::vector<Connection> connections_;                     // the listener's thread
  std::chrono::steady_clock::time_point next_look_{};       // the listener's thread
  std::chrono::steady_clock::time_point next_complaint_{};  // the listener's thread
  std::thread thread_;
};

}  // namespace pingti::net
