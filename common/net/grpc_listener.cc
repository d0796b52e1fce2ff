// See grpc_listener.h.
#include "common/net/grpc_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/base/log.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

using std::chrono::steady_clock;

// A full server looks no more often than this for connections that have ended.
constexpr std::chrono::milliseconds kLookInterval{100};
constexpr std::chrono::seconds kComplaintInterval{10};
// Without descriptors nothing can be accepted; after this it is tried again.
constexpr std::chrono::milliseconds kNoDescriptorPause{100};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

std::optional<SocketAddress> ParseAddress(const std::string& address, uint16_t port) {
  SocketAddress parsed;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&parsed.storage, &v4, parsed.length = sizeof(v4));
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&parsed.storage, &v6, parsed.length = sizeof(v6));
  } else {
    return std::nullopt;
  }
  return parsed;
}

// Errors: errno in words.
absl::StatusOr<uint16_t> BindAndListen(int fd, const SocketAddress& address) {
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // Accepted connections take it over.
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  SocketAddress bound = address;
  auto* raw = reinterpret_cast<sockaddr*>(&bound.storage);
  if (::bind(fd, raw, bound.length) != 0 || ::listen(fd, SOMAXCONN) != 0 ||
      ::getsockname(fd, raw, &bound.length) != 0) {
    const bool in_use = errno == EADDRINUSE;
    return absl::FailedPreconditionError(
        in_use ? "is already in use" : Concat("cannot be listened on: ", std::strerror(errno)));
  }
  return ntohs(bound.storage.ss_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in*>(raw)->sin_port
                   : reinterpret_cast<const sockaddr_in6*>(raw)->sin6_port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcListener>> GrpcListener::Bind(const std::string& address,
                                                                 uint16_t port,
                                                                 size_t max_connections) {
  const std::optional<SocketAddress> parsed = ParseAddress(address, port);
  if (!parsed) {
    return absl::InvalidArgumentError(
        Concat("address '", address, "': expected an IPv4 or IPv6 address"));
  }
  const bool is_v6 = parsed->storage.ss_family == AF_INET6;
  const std::string text = is_v6 ? Concat("[", address, "]:", port) : Concat(address, ":", port);
  const int fd = ::socket(parsed->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int stop_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  absl::StatusOr<uint16_t> bound =
      absl::FailedPreconditionError(Concat("cannot be listened on: ", std::strerror(errno)));
  if (fd >= 0 && stop_fd >= 0) bound = BindAndListen(fd, *parsed);
  if (bound.ok()) {
    return std::unique_ptr<GrpcListener>(new GrpcListener(fd, stop_fd, *bound, max_connections));
  }
  if (fd >= 0) ::close(fd);
  if (stop_fd >= 0) ::close(stop_fd);
  return absl::FailedPreconditionError(
      Concat("address ", text, " ", std::string(bound.status().message())));
}

GrpcListener::GrpcListener(int fd, int stop_fd, uint16_t port, size_t max_connections)
    : fd_(fd), stop_fd_(stop_fd), port_(port), max_connections_(max_connections) {}

GrpcListener::~GrpcListener() { Stop(); }

void GrpcListener::Start(OnConnection on_connection) {
  on_connection_ = std::move(on_connection);
  thread_ = std::thread([this] { Run(); });
}

void GrpcListener::Stop() {
  if (fd_ < 0) return;
  ::eventfd_write(stop_fd_, 1);
  if (thread_.joinable()) thread_.join();
  ::close(std::exchange(fd_, -1));
  ::close(std::exchange(stop_fd_, -1));
}

void GrpcListener::Run() {
  pollfd ready[] = {{fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  while (true) {
    ::poll(ready, 2, -1);
    if (ready[1].revents != 0) return;
    if (ready[0].revents != 0) AcceptOne();
  }
}

void GrpcListener::AcceptOne() {
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    if (errno != EMFILE && errno != ENFILE) return;  // the peer left, or another try will tell
    pollfd stop{stop_fd_, POLLIN, 0};
    ::poll(&stop, 1, static_cast<int>(kNoDescriptorPause.count()));
    return;
  }
  struct stat file {};
  if (::fstat(fd, &file) != 0 || !HasRoom()) {
    ::close(fd);
    return;
  }
  connections_.push_back({fd, file.st_ino});
  on_connection_(fd_, fd);
}

bool GrpcListener::HasRoom() {
  if (connections_.size() < max_connections_) return true;
  const auto now = steady_clock::now();
  if (now < next_look_) return false;
  next_look_ = now + kLookInterval;
  std::erase_if(connections_, [](const Connection& connection) {
    struct stat file {};
    return ::fstat(connection.fd, &file) != 0 || !S_ISSOCK(file.st_mode) ||
           file.st_ino != connection.inode;
  });
  if (connections_.size() < max_connections_) return true;
  if (now >= next_complaint_) {
    next_complaint_ = now + kComplaintInterval;
    LogWarning("gRPC connections are refused", {{"open", connections_.size()}, {"port", port_}});
  }
  return false;
}

}  // namespace pingti::net
