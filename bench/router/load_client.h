// Open-loop load for the router's bench: clients that ask one request at a time, and the times at
// which they should.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pingti::bench {

// Asks one request at a time. Confined to its thread.
class LoadClient {
 public:
  virtual ~LoadClient() = default;
  // Asks the request of that number and reads its whole answer. False: it failed, and this can ask
  // no more. `first_token`: when it came.
  virtual bool Ask(size_t number, std::chrono::steady_clock::time_point* first_token) = 0;
};

// A blocking keep-alive connection that streams chat completions.
class ChatClient final : public LoadClient {
 public:
  // `make_body`: of the request of a number.
  ChatClient(uint16_t port, std::function<std::string(size_t number)> make_body);
  ~ChatClient() override;
  ChatClient(const ChatClient&) = delete;
  ChatClient& operator=(const ChatClient&) = delete;

  bool Ask(size_t number, std::chrono::steady_clock::time_point* first_token) override;

 private:
  const int socket_;
  const std::function<std::string(size_t)> make_body_;
};

// Where the next event with text begins at or behind `from`; npos: there is none.
size_t FindText(std::string_view events, size_t from);
// The whole of a POST request to /v1/chat/completions.
std::string ChatRequest(const std::string& body);
// A socket that is connected to a port of this machine and sends without delay.
int ConnectSocket(uint16_t port);

struct LatencyResult {
  std::vector<double> first_token_ms;  // ascending; from each request's scheduled arrival
  size_t failures = 0;
};

// Poisson arrivals at `rate` per second for `seconds`, drawn from a fixed seed, asked by
// `num_clients` threads that each call `connect` for a client of their own. A request's time starts
// when it should have been sent, so a slow server is not spared by a waiting client.
LatencyResult RunOpenLoop(const std::function<std::unique_ptr<LoadClient>(int client)>& connect,
                          double rate, double seconds, int num_clients);

double Percentile(const std::vector<double>& ascending, double percent);

}  // namespace pingti::bench
