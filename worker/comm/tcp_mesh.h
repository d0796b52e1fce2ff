// TCP connections from each rank of a group to each other rank, over which all exchange one message
// each at a time.
//
// Nothing is encrypted: what passes are activations, on a network that only the group's pods reach.
// A group's id keeps strangers and earlier lives of the group out.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pingti::worker {

// A port that listens for a rank's peers.
class TcpListener {
 public:
  // `address`: an IPv4 or IPv6 address of this machine. Errors: Unavailable, naming it.
  static absl::StatusOr<TcpListener> Open(const std::string& address);
  TcpListener(TcpListener&& other) noexcept;
  TcpListener& operator=(TcpListener&& other) noexcept;
  ~TcpListener();

  uint16_t port() const { return port_; }
  int fd() const { return fd_; }

 private:
  TcpListener(int fd, uint16_t port) : fd_(fd), port_(port) {}

  int fd_;
  uint16_t port_;
};

struct TcpMeshOptions {
  int rank = 0;
  // Of all ranks' listeners, "host:port"; its own is not used.
  std::vector<std::string> addresses;
  // The same on all ranks of one group and on no others; at most 64 bytes.
  std::string group_id;
  std::chrono::milliseconds join_timeout{60'000};
  // For one exchange: a peer that takes longer is lost.
  std::chrono::milliseconds exchange_timeout{60'000};
};

class TcpMesh {
 public:
  // Waits for all ranks. Errors: InvalidArgument (the options), DeadlineExceeded (naming the ranks
  // that did not come), Unavailable (an address that cannot be reached).
  static absl::StatusOr<std::unique_ptr<TcpMesh>> Join(const TcpListener& listener,
                                                       TcpMeshOptions options);
  ~TcpMesh();
  TcpMesh(const TcpMesh&) = delete;
  TcpMesh& operator=(const TcpMesh&) = delete;

  int rank() const { return options_.rank; }
  int size() const { return static_cast<int>(options_.addresses.size()); }

  // Sends one message to every peer and receives one from each, of at most `most_bytes`; message r
  // of `received` is rank r's, its own stays empty. One thread. Errors: Aborted, naming the peer
  // that is gone, silent or says too much, and then from every later call.
  absl::Status Exchange(std::span<const std::byte> message, size_t most_bytes,
                        std::vector<std::vector<std::byte>>* received);

  // OK until a peer was lost or Abort called. Any thread.
  absl::Status Check() const;
  // Ends an Exchange in progress. Any thread.
  void Abort();

 private:
  class Transfer;
  struct State;

  TcpMesh(TcpMeshOptions options, std::unique_ptr<State> state);

  const TcpMeshOptions options_;
  const std::unique_ptr<State> state_;
};

}  // namespace pingti::worker
