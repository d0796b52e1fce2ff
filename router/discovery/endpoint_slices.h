// The endpoints of one Kubernetes Service, from its EndpointSlices: which are workers to use.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/registry/worker_address.h"

namespace pingti::router {

// A Service's endpoints lie in any number of slices, and one may stand in two of them while the
// controller moves it (discovery.k8s.io/v1). What counts:
//
// - An endpoint is taken once it is ready. `ready` absent means that it is.
// - One that was taken stays until it leaves the slices, or is neither serving nor terminating: a
//   worker that ends tells its routers itself and lets its sequences end, or hands them back.
// - A pod with an IPv4 and an IPv6 address, known by targetRef.uid, is one worker: by IPv4.
//
// Thread-compatible.
class EndpointSlices {
 public:
  // `port`: a number, or the name of a port of the Service; `zone`: this router's, empty: unknown.
  EndpointSlices(std::string port, std::string zone)
      : port_(std::move(port)), zone_(std::move(zone)) {}

  // Takes a slice in, in place of the one of its name. Errors: InvalidArgument.
  absl::Status Put(const boost::json::value& slice);
  // Forgets a slice. Errors: InvalidArgument.
  absl::Status Remove(const boost::json::value& slice);
  // Forgets all slices before a new list is put in; what was taken stays taken.
  void Clear() { slices_.clear(); }

  // The workers to use, sorted.
  std::vector<WorkerAddress> Take();

 private:
  struct Endpoint {
    std::string address;  // "host:port"
    std::string uid;      // of the pod
    bool is_ipv4 = false;
    bool ready = true;
    bool stays = true;  // if it was taken
    bool other_zone = false;
  };

  absl::StatusOr<std::vector<Endpoint>> Read(const boost::json::object& slice) const;
  absl::StatusOr<std::optional<Endpoint>> ReadEndpoint(const boost::json::value& endpoint) const;
  // Empty: the slice does not have it.
  std::string PortOf(const boost::json::object& slice) const;
  bool IsInOtherZone(const boost::json::object& endpoint) const;

  const std::string port_;
  const std::string zone_;
  std::map<std::string, std::vector<Endpoint>, std::less<>> slices_;  // by name
  std::set<std::string> taken_;                                       // addresses
};

}  // namespace pingti::router
