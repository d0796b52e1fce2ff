// See load_client.h.
#include "bench/router/load_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::bench {
namespace {

using std::chrono::steady_clock;

size_t CountEvents(std::string_view text) {
  size_t count = 0;
  for (size_t at = text.find("data: {"); at != std::string_view::npos;
       at = text.find("data: {", at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace

HttpConnection::HttpConnection(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  PINGTI_CHECK(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
}

HttpConnection::~HttpConnection() { close(socket_); }

bool HttpConnection::Chat(const std::string& body, size_t* num_events) {
  const std::string request = Concat(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
      "Content-Length: ",
      body.size(), "\r\n\r\n", body);
  if (send(socket_, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return false;
  }
  std::string answer;
  std::string buffer(64 << 10, '\0');
  *num_events = 0;
  size_t body_at = std::string::npos;
  size_t length = std::string::npos;  // of a plain body
  size_t counted = 0;                 // events are counted up to here
  while (true) {
    const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    answer.append(buffer, 0, static_cast<size_t>(got));
    if (body_at == std::string::npos) {
      const size_t end = answer.find("\r\n\r\n");
      if (end == std::string::npos) continue;
      body_at = end + 4;
      counted = body_at;
      const size_t header = answer.find("Content-Length: ");
      if (header < end) length = std::stoul(answer.substr(header + 16));
    }
    if (length != std::string::npos) {
      if (answer.size() >= body_at + length) break;
      continue;
    }
    const size_t whole = answer.rfind('\n') + 1;
    *num_events += CountEvents(std::string_view(answer).substr(counted, whole - counted));
    counted = std::max(counted, whole);
    if (answer.ends_with("0\r\n\r\n")) break;
  }
  return answer.starts_with("HTTP/1.1 200");
}

LatencyResult RunOpenLoop(uint16_t port, const std::string& body, double rate, double seconds,
                          int num_connections) {
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(rate);
  std::vector<double> arrivals;
  for (double at = gap(random); at < seconds; at += gap(random)) arrivals.push_back(at);
  std::atomic<size_t> next{0};
  std::mutex mutex;
  LatencyResult result;
  const steady_clock::time_point start = steady_clock::now() + std::chrono::milliseconds(100);
  std::vector<std::thread> threads;
  for (int i = 0; i < num_connections; ++i) {
    threads.emplace_back([&] {
      HttpConnection connection(port);
      std::vector<double> latencies;
      size_t failures = 0;
      for (size_t index = next++; index < arrivals.size(); index = next++) {
        const auto due = start + std::chrono::duration_cast<steady_clock::duration>(
                                     std::chrono::duration<double>(arrivals[index]));
        std::this_thread::sleep_until(due);
        size_t events = 0;
        if (!connection.Chat(body, &events)) {
          ++failures;
          break;
        }
        latencies.push_back(
            std::chrono::duration<double, std::milli>(steady_clock::now() - due).count());
      }
      std::lock_guard lock(mutex);
      result.failures += failures;
      result.latencies_ms.insert(result.latencies_ms.end(), latencies.begin(), latencies.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::sort(result.latencies_ms.begin(), result.latencies_ms.end());
  return result;
}

double Percentile(const std::vector<double>& ascending, double percent) {
  if (ascending.empty()) return 0;
  const auto rank =
      static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(ascending.size())));
  return ascending[std::clamp<size_t>(rank, 1, ascending.size()) - 1];
}

}  // namespace pingti::bench
