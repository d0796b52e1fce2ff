// Follows the EndpointSlices of one Kubernetes Service: lists them, then watches for changes.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/net/http_client.h"
#include "router/discovery/endpoint_slices.h"
#include "router/discovery/kubernetes_api.h"

namespace pingti::router {

struct ServicePort {
  std::string service_namespace;
  std::string service;
  std::string port;  // a number, or the port's name
};

// List and watch as Kubernetes' own clients do ("Efficient detection of changes" in its API
// concepts): a list gives the state at a resourceVersion, the watch from there every change, and
// bookmarks newer versions to begin from. A watch that ends is begun again where it was; one whose
// version the server has forgotten (410 Gone) begins with a new list. While the server cannot be
// reached, what it said last stays.
//
// Owns one thread, which calls `on_change` with all workers, at first and whenever they differ, and
// `on_answer` with whether the server was heard, whenever that is known anew.
class EndpointWatch {
 public:
  using OnChange = std::function<void(std::vector<WorkerAddress>)>;

  using OnAnswer = std::function<void(bool answered)>;

  EndpointWatch(KubernetesAccess access, ServicePort port, std::string zone, OnChange on_change,
                OnAnswer on_answer);
  ~EndpointWatch();
  EndpointWatch(const EndpointWatch&) = delete;
  EndpointWatch& operator=(const EndpointWatch&) = delete;

 private:
  void Run();
  // One list, or one watch after it. Errors: what ended it too early; OK: go on at once.
  absl::Status Step();
  absl::Status List();
  absl::Status Watch();
  // An answer that is not 200, as an error. 410 makes the next step a list.
  absl::Status Refused(std::string_view what, const net::HttpResponse& response);
  void Tell();
  // The server said something useful.
  void Hear();
  // False: this is being destroyed.
  bool WaitFor(std::chrono::milliseconds time);

  const KubernetesAccess access_;
  const ServicePort port_;
  const OnChange on_change_;
  const OnAnswer on_answer_;
  net::HttpClient client_;

  // On the thread alone.
  EndpointSlices slices_;
  std::string version_;  // empty: list first
  bool heard_ = false;   // the server said something useful since the last failure
  bool told_ = false;
  std::vector<WorkerAddress> known_;

  Mutex mutex_;
  CondVar stop_requested_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti::router
