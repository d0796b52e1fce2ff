// How to ask the Kubernetes API server: its address, the certificates that sign its own, and the
// token of the pod's ServiceAccount, which rotates.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "common/net/http_client.h"

namespace pingti::router {

struct KubernetesAccess {
  // "https://host:port"; empty takes that of the cluster this runs in, from the environment.
  std::string url{};
  // The files that Kubernetes mounts into a pod.
  std::string token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
  std::string ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
  std::string namespace_file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
  // For how long the server keeps a watch; it is then begun again.
  std::chrono::seconds watch_time{240};
  // How long a watch may say nothing beyond its time, and a connection to come about.
  std::chrono::milliseconds patience{15'000};
  // Between two tries that failed: doubled each time, up to the second one.
  std::chrono::milliseconds least_backoff{200};
  std::chrono::milliseconds most_backoff{30'000};
};

// The address, from `access` or the variables that Kubernetes sets in every pod. Errors:
// FailedPrecondition outside a cluster.
absl::StatusOr<std::string> KubernetesUrl(const KubernetesAccess& access);

// The namespace that this runs in. Errors: NotFound.
absl::StatusOr<std::string> OwnNamespace(const KubernetesAccess& access);

// A GET of `path_and_query` with the token as it is now. Errors: NotFound.
absl::StatusOr<net::HttpClientRequest> KubernetesRequest(const KubernetesAccess& access,
                                                         const std::string& path_and_query);

}  // namespace pingti::router
