// Open-loop HTTP load over keep-alive connections, for the router's bench.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pingti::bench {

// One blocking keep-alive connection. Confined to its thread.
class HttpConnection {
 public:
  explicit HttpConnection(uint16_t port);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Sends a chat request and reads its whole answer. `num_events`: SSE events, 0 for a plain body.
  // False when the connection broke or the status is not 200.
  bool Chat(const std::string& body, size_t* num_events);

 private:
  int socket_;
};

struct LatencyResult {
  std::vector<double> latencies_ms;  // ascending; from each request's scheduled arrival
  size_t failures = 0;
};

// Poisson arrivals at `rate` a second for `seconds`, drawn from a fixed seed. A request's time
// starts when it should have been sent, so a slow server is not spared by a waiting client.
LatencyResult RunOpenLoop(uint16_t port, const std::string& body, double rate, double seconds,
                          int num_connections);

double Percentile(const std::vector<double>& ascending, double percent);

}  // namespace pingti::bench
