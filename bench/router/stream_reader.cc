// See stream_reader.h.
#include "bench/router/stream_reader.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string_view>

#include "bench/router/load_client.h"
#include "common/base/check.h"

namespace pingti::bench {

using std::chrono::steady_clock;

StreamReader::StreamReader() : epoll_(epoll_create1(0)) {}

StreamReader::~StreamReader() {
  for (const Stream& stream : streams_) close(stream.socket);
  close(epoll_);
}

void StreamReader::Open(uint16_t port, const std::string& body) {
  const int handle = ConnectSocket(port);
  const std::string request = ChatRequest(body);
  PINGTI_CHECK(send(handle, request.data(), request.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(request.size()));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = streams_.size();
  PINGTI_CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, handle, &event) == 0);
  streams_.push_back({handle, {}});
}

void StreamReader::Read(double seconds) {
  const auto end = steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(
                                             std::chrono::duration<double>(seconds));
  std::array<epoll_event, 256> events;
  while (steady_clock::now() < end) {
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 10);
    for (int i = 0; i < count; ++i) {
      ReadSome(&streams_[events[static_cast<size_t>(i)].data.u64]);
    }
  }
}

void StreamReader::ReadSome(Stream* stream) {
  const ssize_t got = recv(stream->socket, buffer_.data(), buffer_.size(), 0);
  PINGTI_CHECK_MSG(got > 0, "the router ended a stream");
  ++num_reads_;
  stream->unread.append(buffer_, 0, static_cast<size_t>(got));
  const std::string_view unread = stream->unread;
  const size_t whole = unread.rfind('\n') + 1;
  const uint64_t before = num_events_;
  for (size_t at = FindText(unread, 0); at < whole; at = FindText(unread, at + 1)) ++num_events_;
  stream->unread.erase(0, whole);
  if (num_events_ > before && !stream->started) {
    stream->started = true;
    ++num_started_;
  }
}

}  // namespace pingti::bench
