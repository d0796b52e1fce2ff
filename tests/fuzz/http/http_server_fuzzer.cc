// Any bytes, in pieces of any size, into one connection of the HTTP server: no crash, no leak, no
// request beyond the limits, an answer or a reason for whoever asked, and the connection ends.
//
// One thread: the server's event loop is turned by hand over a socket pair.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "common/net/http_io_thread.h"
#include "common/net/http_session.h"

namespace pingti::net {
namespace {

constexpr size_t kMaxHeader = 2048;
constexpr size_t kMaxBody = 4096;

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

// Answers in each way there is, by the path's last letter.
void Answer(HttpRequest request, std::shared_ptr<HttpResponder> responder) {
  Require(!request.method.empty() && request.body.size() <= kMaxBody);
  size_t header_bytes = 0;
  for (const auto& [name, value] : request.headers) header_bytes += name.size() + value.size();
  Require(header_bytes <= 2 * kMaxHeader);
  Require(request.path.find('\0') == std::string::npos);
  switch (request.path.empty() ? '/' : request.path.back()) {
    case 'a':
      return;  // abandoned
    case 's':
      responder->StartStream({});
      responder->Write(request.body);
      responder->Write("x");
      return responder->EndStream();
    case 't':
      responder->StartStream({});
      responder->Write("cut short");
      return;
    default:
      responder->Send({.body = request.body});
  }
}

void Turn(HttpIoThread* thread) {
  for (int i = 0; i < 8; ++i) thread->context().poll();
}

std::string ReadAll(int socket) {
  std::string all;
  char piece[4096];
  while (true) {
    const ssize_t length = recv(socket, piece, sizeof(piece), MSG_DONTWAIT);
    if (length <= 0) return all;
    all.append(piece, static_cast<size_t>(length));
  }
}

void Run(std::string_view input) {
  if (input.empty()) return;
  const size_t piece_size = 1 + static_cast<uint8_t>(input.front()) * 4u;
  input.remove_prefix(1);
  int pair[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  HttpServerState state;
  state.options.max_header_bytes = kMaxHeader;
  state.options.max_body_bytes = kMaxBody;
  state.handler = &Answer;
  HttpIoThread thread(&state);
  boost::asio::ip::tcp::socket socket(thread.context());
  socket.assign(boost::asio::ip::tcp::v4(), pair[0]);
  thread.Adopt(std::move(socket), /*reject=*/false);
  Turn(&thread);
  std::string answers;
  while (!input.empty()) {
    const std::string_view piece = input.substr(0, piece_size);
    if (send(pair[1], piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        static_cast<ssize_t>(piece.size())) {
      break;  // the server has closed
    }
    input.remove_prefix(piece.size());
    Turn(&thread);
    answers += ReadAll(pair[1]);
  }
  Require(answers.empty() || answers.starts_with("HTTP/1.1 "));
  shutdown(pair[1], SHUT_WR);
  Turn(&thread);
  close(pair[1]);
  for (int i = 0; i < 100 && state.connections.Get() > 0; ++i) Turn(&thread);
  Require(state.connections.Get() == 0);
}

}  // namespace
}  // namespace pingti::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pingti::net::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
