// See load_client.h.
#include "bench/router/load_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::bench {

using std::chrono::steady_clock;

int ConnectSocket(uint16_t port) {
  const int handle = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  PINGTI_CHECK(connect(handle, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  return handle;
}

size_t FindText(std::string_view events, size_t from) {
  constexpr std::string_view kText = R"("content":")";
  size_t at = events.find(kText, from);
  while (at != std::string_view::npos && events.substr(at + kText.size()).starts_with('"')) {
    at = events.find(kText, at + 1);  // of the event that names the role
  }
  return at;
}

std::string ChatRequest(const std::string& body) {
  return Concat(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
      "Content-Length: ",
      body.size(), "\r\n\r\n", body);
}

ChatClient::ChatClient(uint16_t port, std::function<std::string(size_t)> make_body)
    : socket_(ConnectSocket(port)), make_body_(std::move(make_body)) {}

ChatClient::~ChatClient() { close(socket_); }

bool ChatClient::Ask(size_t number, steady_clock::time_point* first_token) {
  const std::string request = ChatRequest(make_body_(number));
  if (send(socket_, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return false;
  }
  std::string answer;
  std::string buffer(64 << 10, '\0');
  bool started = false;
  while (!answer.ends_with("\r\n0\r\n\r\n")) {
    const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    answer.append(buffer, 0, static_cast<size_t>(got));
    if (!started && FindText(answer, 0) != std::string::npos) {
      *first_token = steady_clock::now();
      started = true;
    }
    if (!started && !answer.starts_with("HTTP/1.1 200")) return false;
  }
  return started;
}

LatencyResult RunOpenLoop(const std::function<std::unique_ptr<LoadClient>(int client)>& connect,
                          double rate, double seconds, int num_clients) {
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(rate);
  std::vector<double> arrivals;
  for (double at = gap(random); at < seconds; at += gap(random)) arrivals.push_back(at);
  std::vector<std::unique_ptr<LoadClient>> clients;
  for (int i = 0; i < num_clients; ++i) clients.push_back(connect(i));
  std::atomic<size_t> next{0};
  std::mutex mutex;
  LatencyResult result;
  const steady_clock::time_point start = steady_clock::now() + std::chrono::milliseconds(100);
  std::vector<std::thread> threads;
  for (const std::unique_ptr<LoadClient>& client : clients) {
    threads.emplace_back([&] {
      std::vector<double> latencies;
      size_t failures = 0;
      for (size_t index = next++; index < arrivals.size() && failures == 0; index = next++) {
        const auto due = start + std::chrono::duration_cast<steady_clock::duration>(
                                     std::chrono::duration<double>(arrivals[index]));
        std::this_thread::sleep_until(due);
        steady_clock::time_point first;
        if (!client->Ask(index, &first)) {
          ++failures;
        } else {
          latencies.push_back(std::chrono::duration<double, std::milli>(first - due).count());
        }
      }
      std::lock_guard lock(mutex);
      result.failures += failures;
      result.first_token_ms.insert(result.first_token_ms.end(), latencies.begin(), latencies.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::sort(result.first_token_ms.begin(), result.first_token_ms.end());
  return result;
}

double Percentile(const std::vector<double>& ascending, double percent) {
  if (ascending.empty()) return 0;
  const auto rank =
      static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(ascending.size())));
  return ascending[std::clamp<size_t>(rank, 1, ascending.size()) - 1];
}

}  // namespace pingti::bench
