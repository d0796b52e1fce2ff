// See endpoint_watch.h.
#include "router/discovery/endpoint_watch.h"

#include <algorithm>
#include <random>
#include <utility>

#include "boost/json.hpp"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/discovery/kubernetes_json.h"
#include "router/discovery/watch_events.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

constexpr int kPageSize = 500;

net::HttpClientOptions ClientOptions(const KubernetesAccess& access) {
  net::HttpClientOptions options;
  options.connect_timeout = access.patience;
  options.read_timeout = access.watch_time + access.patience;
  options.ca_file = access.ca_file;
  return options;
}

std::string SlicesPath(const ServicePort& port) {
  return Concat("/apis/discovery.k8s.io/v1/namespaces/", port.service_namespace,
                "/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D", port.service);
}

std::string Escaped(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

}  // namespace

EndpointWatch::EndpointWatch(KubernetesAccess access, ServicePort port, std::string zone,
                             OnChange on_change, OnAnswer on_answer)
    : access_(std::move(access)),
      port_(std::move(port)),
      on_change_(std::move(on_change)),
      on_answer_(std::move(on_answer)),
      client_(ClientOptions(access_)),
      slices_(port_.port, std::move(zone)) {
  thread_ = std::thread([this] { Run(); });
}

EndpointWatch::~EndpointWatch() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    stop_requested_.NotifyAll();
  }
  client_.Close();
  thread_.join();
}

bool EndpointWatch::WaitFor(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  MutexLock lock(&mutex_);
  while (!stopping_) {
    if (!stop_requested_.WaitUntil(&mutex_, until)) return !stopping_;
  }
  return false;
}

void EndpointWatch::Run() {
  // Spreads the tries of many routers; which numbers come is of no matter.
  std::minstd_rand random(std::random_device{}());
  std::chrono::milliseconds backoff = access_.least_backoff;
  while (WaitFor(std::chrono::milliseconds(0))) {
    const absl::Status status = Step();
    if (std::exchange(heard_, false)) backoff = access_.least_backoff;
    if (status.ok()) {
      on_answer_(true);
      continue;
    }
    const std::chrono::milliseconds pause = backoff / 2 + backoff * (random() % 100) / 200;
    backoff = std::min(2 * backoff, access_.most_backoff);
    if (!WaitFor(pause)) return;
    on_answer_(false);
    LogWarning("asking Kubernetes for workers failed; keeping those known",
               {{"service", Concat(port_.service_namespace, "/", port_.service)},
                {"reason", std::string(status.message())},
                {"workers", known_.size()}});
  }
}

absl::Status EndpointWatch::Step() { return version_.empty() ? List() : Watch(); }

absl::Status EndpointWatch::Refused(std::string_view what, const net::HttpResponse& response) {
  if (response.status == 410) version_.clear();
  return absl::UnavailableError(Concat(what, " EndpointSlices was answered ", response.status, ": ",
                                       std::string_view(response.body).substr(0, 500)));
}

absl::Status EndpointWatch::List() {
  std::vector<json::value> slices;
  std::string version;
  std::string rest;  // of the list, as the server names it
  do {
    std::string path = Concat(SlicesPath(port_), "&limit=", kPageSize);
    if (!rest.empty()) path += Concat("&continue=", Escaped(rest));
    PINGTI_ASSIGN_OR_RETURN(const net::HttpClientRequest request, KubernetesRequest(access_, path));
    PINGTI_ASSIGN_OR_RETURN(const net::HttpResponse response, client_.Send(request));
    if (response.status != 200) return Refused("listing", response);
    PINGTI_ASSIGN_OR_RETURN(json::object list, ParseObject("the list", response.body));
    const json::value* items = list.if_contains("items");
    version = MetadataText(list, "resourceVersion");
    if (version.empty() || items == nullptr || !(items->is_array() || items->is_null())) {
      return absl::InvalidArgumentError("the list has no resourceVersion or no items");
    }
    if (items->is_array()) {
      slices.insert(slices.end(), items->get_array().begin(), items->get_array().end());
    }
    rest = MetadataText(list, "continue");
  } while (!rest.empty());
  slices_.Clear();
  for (const json::value& slice : slices) PINGTI_RETURN_IF_ERROR(slices_.Put(slice));
  version_ = std::move(version);
  Hear();
  Tell();
  return absl::OkStatus();
}

absl::Status EndpointWatch::Watch() {
  const std::string path = Concat(
      SlicesPath(port_), "&watch=1&allowWatchBookmarks=true&resourceVersion=", Escaped(version_),
      "&timeoutSeconds=", access_.watch_time.count());
  PINGTI_ASSIGN_OR_RETURN(const net::HttpClientRequest request, KubernetesRequest(access_, path));
  WatchEvents events(&slices_, &version_, [this] {
    Hear();
    Tell();
  });
  absl::Status broken;
  const auto began = std::chrono::steady_clock::now();
  const absl::StatusOr<net::HttpResponse> response =
      client_.SendStreaming(request, [&](std::string_view piece) {
        broken = events.Feed(piece);
        return broken.ok();
      });
  if (absl::IsOutOfRange(broken)) heard_ = true;  // the list that comes next need not wait
  PINGTI_RETURN_IF_ERROR(broken);
  PINGTI_RETURN_IF_ERROR(response.status());
  if (response->status != 200) return Refused("watching", *response);
  // The server's own time-out ends a watch in order. One that ends at once again and again must not
  // keep two machines busy.
  if (heard_ || std::chrono::steady_clock::now() - began > std::chrono::seconds(1)) {
    return absl::OkStatus();
  }
  return absl::UnavailableError("the watch ended as soon as it began");
}

void EndpointWatch::Hear() {
  heard_ = true;
  on_answer_(true);
}

void EndpointWatch::Tell() {
  std::vector<WorkerAddress> workers = slices_.Take();
  if (std::exchange(told_, true) && workers == known_) return;
  known_ = std::move(workers);
  on_change_(known_);
}

}  // namespace pingti::router
