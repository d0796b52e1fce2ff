// Where workers are: a fixed list, or names that DNS answers for (a headless Service gives one
// address per pod). main.cc picks by whether an entry starts with "dns:".
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"

namespace pingti::router {

// Entries are "host:port" (used as it is) or "dns:host:port" (every address the name has, asked
// again every `interval`). A name that does not resolve keeps its last known addresses: DNS being
// away must not take the workers away.
//
// Owns one thread, which resolves and calls `on_change` with all addresses, sorted, at first and
// whenever they differ from the last time. Thread-compatible.
class Discovery {
 public:
  using OnChange = std::function<void(const std::vector<std::string>&)>;
  // All addresses of a name, "ip:port" each. Errors: Unavailable.
  using Resolve = std::function<absl::StatusOr<std::vector<std::string>>(const std::string& host,
                                                                         const std::string& port)>;

  // Errors: InvalidArgument for an entry without host or port.
  static absl::StatusOr<std::unique_ptr<Discovery>> Start(std::vector<std::string> entries,
                                                          std::chrono::milliseconds interval,
                                                          Resolve resolve, OnChange on_change);
  ~Discovery();

 private:
  struct Entry {
    std::string host;
    std::string port;
    bool is_dns = false;
    std::vector<std::string> addresses;  // last known
  };

  Discovery(std::vector<Entry> entries, std::chrono::milliseconds interval, Resolve resolve,
            OnChange on_change);
  static absl::StatusOr<Entry> ParseEntry(const std::string& text);
  void Run();
  std::vector<std::string> Collect();

  std::vector<Entry> entries_;  // resolver thread only
  const std::chrono::milliseconds interval_;
  const Resolve resolve_;
  const OnChange on_change_;
  Mutex mutex_;
  CondVar stop_requested_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// getaddrinfo(3). Blocks.
absl::StatusOr<std::vector<std::string>> ResolveWithSystem(const std::string& host,
                                                           const std::string& port);

}  // namespace pingti::router
