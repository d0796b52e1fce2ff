// One connection of the HTTP server over a socket pair, whose event loop is turned by hand: what
// the fuzzers of this folder share.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "common/net/http_io_thread.h"
#include "common/net/http_session.h"

namespace pingti::net {

inline void Require(bool condition) {
  if (!condition) __builtin_trap();
}

// Sends `input` in pieces of at most `piece_size` bytes, then closes the sending side, and returns
// what the server answered. Traps when the connection then lives on.
inline std::string Converse(HttpServerState* state, std::string_view input, size_t piece_size) {
  int pair[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  HttpIoThread thread(state);
  const auto turn = [&] {
    for (int i = 0; i < 8; ++i) thread.context().poll();
  };
  std::string answers;
  const auto read_all = [&] {
    char piece[4096];
    while (true) {
      const ssize_t length = recv(pair[1], piece, sizeof(piece), MSG_DONTWAIT);
      if (length <= 0) return;
      answers.append(piece, static_cast<size_t>(length));
    }
  };
  boost::asio::ip::tcp::socket socket(thread.context());
  socket.assign(boost::asio::ip::tcp::v4(), pair[0]);
  thread.Adopt(std::move(socket), /*reject=*/false);
  turn();
  while (!input.empty()) {
    const std::string_view piece = input.substr(0, piece_size);
    if (send(pair[1], piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        static_cast<ssize_t>(piece.size())) {
      break;  // the server has closed
    }
    input.remove_prefix(piece.size());
    turn();
    read_all();
  }
  shutdown(pair[1], SHUT_WR);
  turn();
  read_all();
  close(pair[1]);
  for (int i = 0; i < 100 && state->connections.Get() > 0; ++i) turn();
  Require(state->connections.Get() == 0);
  return answers;
}

}  // namespace pingti::net
