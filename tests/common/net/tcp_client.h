// A raw TCP client, to send what no well-behaved HTTP client would.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/testing/wait_for.h"

namespace pingti::testing {

// Every wait ends after kPatience, so that a broken server fails a test rather than hangs it.
class TcpClient {
 public:
  explicit TcpClient(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer_bytes > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~TcpClient() { Close(); }
  TcpClient(const TcpClient&) = delete;
  TcpClient& operator=(const TcpClient&) = delete;

  bool connected() const { return connected_; }

  // False when the connection is gone.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Sends as far as the server takes it: until all is out, or nothing has gone for so long. Returns
  // how many bytes that were.
  size_t SendUntilStuck(std::string_view bytes, std::chrono::milliseconds stuck_after) {
    size_t total = 0;
    pollfd wait{.fd = fd_, .events = POLLOUT, .revents = 0};
    while (total < bytes.size() && ::poll(&wait, 1, static_cast<int>(stuck_after.count())) > 0) {
      const ssize_t sent =
          ::send(fd_, bytes.data() + total, bytes.size() - total, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) break;
      total += static_cast<size_t>(sent);
    }
    return total;
  }

  // Reads until what has been read, which it returns, contains `text`, or the connection ends.
  std::string ReadUntil(std::string_view text) {
    while (received_.find(text) == std::string::npos && ReadSome()) {
    }
    return received_;
  }

  // Reads until `text` has come `count` times, or the connection ends.
  std::string ReadUntilCount(std::string_view text, int count) {
    while (Count(text) < count && ReadSome()) {
    }
    return received_;
  }

  // Everything up to the end of the connection; `ended()` tells whether it came in time.
  std::string ReadAll() {
    while (ReadSome()) {
    }
    return received_;
  }
  bool ended() const { return ended_; }

  int Count(std::string_view text) const {
    int count = 0;
    for (size_t at = received_.find(text); at != std::string::npos;
         at = received_.find(text, at + text.size())) {
      ++count;
    }
    return count;
  }

  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // Says that nothing more will be sent; answers can still be read.
  void CloseSending() { ::shutdown(fd_, SHUT_WR); }
  // Ends the connection with RST.
  void Reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    Close();
  }

 private:
  bool ReadSome() {
    pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
    const int ready = ::poll(
        &wait, 1,
        static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(kPatience).count()));
    if (ready <= 0) return false;
    char piece[64 << 10];
    const ssize_t length = ::recv(fd_, piece, sizeof(piece), 0);
    if (length <= 0) {
      ended_ = true;
      return false;
    }
    received_.append(piece, static_cast<size_t>(length));
    return true;
  }

  int fd_ = -1;
  bool connected_ = false;
  bool ended_ = false;
  std::string received_;
};

}  // namespace pingti::testing
