// See kubernetes_api.h.
#include "router/discovery/kubernetes_api.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "common/base/read_file.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

absl::StatusOr<std::string> ReadTrimmed(std::string_view what, const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  while (text.ok() && !text->empty() && (text->back() == '\n' || text->back() == ' ')) {
    text->pop_back();
  }
  if (text.ok() && !text->empty()) return text;
  return absl::NotFoundError(
      Concat(what, " file '", path, "' cannot be read or is empty: is a ServiceAccount mounted?"));
}

}  // namespace

absl::StatusOr<std::string> KubernetesUrl(const KubernetesAccess& access) {
  if (!access.url.empty()) return access.url;
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    return absl::FailedPreconditionError(
        "workers are to be found by Kubernetes, but KUBERNETES_SERVICE_HOST and _PORT are not set: "
        "this runs in no cluster, so set kubernetes_api");
  }
  const bool is_v6 = std::string_view(host).find(':') != std::string_view::npos;
  return Concat("https://", is_v6 ? "[" : "", host, is_v6 ? "]" : "", ":", port);
}

absl::StatusOr<std::string> OwnNamespace(const KubernetesAccess& access) {
  return ReadTrimmed("namespace", access.namespace_file);
}

absl::StatusOr<net::HttpClientRequest> KubernetesRequest(const KubernetesAccess& access,
                                                         const std::string& path_and_query) {
  PINGTI_ASSIGN_OR_RETURN(const std::string url, KubernetesUrl(access));
  PINGTI_ASSIGN_OR_RETURN(const std::string token, ReadTrimmed("token", access.token_file));
  net::HttpClientRequest request;
  request.url = url + path_and_query;
  request.headers = {{"Accept", "application/json"}, {"Authorization", Concat("Bearer ", token)}};
  return request;
}

}  // namespace pingti::router
