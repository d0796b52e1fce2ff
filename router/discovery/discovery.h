// Where workers are: a fixed list, names that DNS answers for (a headless Service gives one address
// per pod), and Services whose endpoints Kubernetes tells. Read next: endpoint_watch.h.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "router/discovery/endpoint_watch.h"
#include "router/discovery/kubernetes_api.h"
#include "router/registry/worker_address.h"

namespace pingti::router {

// All addresses of a name, "ip:port" each. Errors: Unavailable.
using ResolveName = std::function<absl::StatusOr<std::vector<std::string>>(
    const std::string& host, const std::string& port)>;

// getaddrinfo(3). Blocks.
absl::StatusOr<std::vector<std::string>> ResolveWithSystem(const std::string& host,
                                                           const std::string& port);

struct DiscoveryOptions {
  std::chrono::milliseconds dns_interval{5'000};
  ResolveName resolve = &ResolveWithSystem;
  KubernetesAccess kubernetes{};
  std::string zone{};  // this router's; empty: unknown
  // Told of every entry that is asked for addresses, as it was written, whether it answered the
  // last time. Called on threads of this and of its watches.
  std::function<void(const std::string& entry, bool answered)> on_answer = [](const std::string&,
                                                                              bool) {};
};

// Entries are "host:port" (used as it is), "dns:host:port" (every address the name has, asked again
// every `dns_interval`) or "kubernetes:[namespace/]service:port" (the endpoints of a Service, by
// the number or the name of its port). A source that does not answer keeps its last known
// addresses: DNS or Kubernetes being away must not take the workers away.
//
// Owns a thread, which resolves and calls `on_change` with all addresses, sorted, at first and
// whenever they differ from the last time; and one per Service. Thread-compatible.
class Discovery {
 public:
  using OnChange = std::function<void(const std::vector<WorkerAddress>&)>;

  // Errors: InvalidArgument for an entry without host or port; those of KubernetesUrl and
  // OwnNamespace where an entry needs them.
  static absl::StatusOr<std::unique_ptr<Discovery>> Start(const std::vector<std::string>& entries,
                                                          DiscoveryOptions options,
                                                          OnChange on_change);
  ~Discovery();

 private:
  enum class Kind { kStatic, kDns, kKubernetes };
  struct Entry {
    std::string text;  // as it was written
    Kind kind = Kind::kStatic;
    std::string host;               // of a Service, its name
    std::string service_namespace;  // empty: the router's own
    std::string port;
    std::vector<WorkerAddress> workers;  // last known
  };

  Discovery(std::vector<Entry> entries, DiscoveryOptions options, OnChange on_change);
  static absl::StatusOr<Entry> ParseEntry(const std::string& text);
  void Watch(Entry* entry);
  void Run();
  std::vector<WorkerAddress> Collect();

  const DiscoveryOptions options_;
  const OnChange on_change_;
  std::vector<Entry> entries_;  // `workers` of a Service under the mutex, of others on the thread
  Mutex mutex_;
  CondVar woken_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  bool changed_ PINGTI_GUARDED_BY(mutex_) = false;  // a Service has other workers
  std::thread thread_;
  std::vector<std::unique_ptr<EndpointWatch>> watches_;
};

}  // namespace pingti::router
