// See endpoint_slices.h.
#include "router/discovery/endpoint_slices.h"

#include <algorithm>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/discovery/kubernetes_json.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

// Null when it is absent, null, or of another type.
const json::object* ObjectIn(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? nullptr : value->if_object();
}

const json::array* ArrayIn(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? nullptr : value->if_array();
}

std::string TextIn(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

bool FlagIn(const json::object* object, std::string_view name, bool absent) {
  const json::value* value = object == nullptr ? nullptr : object->if_contains(name);
  const bool* flag = value == nullptr ? nullptr : value->if_bool();
  return flag == nullptr ? absent : *flag;
}

bool IsNumber(std::string_view text) {
  return text.find_first_not_of("0123456789") == std::string_view::npos;
}

absl::StatusOr<std::string> NameOf(const json::value& slice) {
  const json::object* object = slice.if_object();
  std::string name = object == nullptr ? std::string() : MetadataText(*object, "name");
  if (!name.empty()) return name;
  return absl::InvalidArgumentError("an EndpointSlice without metadata.name");
}

}  // namespace

absl::Status EndpointSlices::Put(const json::value& slice) {
  PINGTI_ASSIGN_OR_RETURN(const std::string name, NameOf(slice));
  absl::StatusOr<std::vector<Endpoint>> endpoints = Read(slice.get_object());
  if (!endpoints.ok()) {
    return absl::InvalidArgumentError(
        Concat("EndpointSlice '", name, "': ", std::string(endpoints.status().message())));
  }
  slices_.insert_or_assign(name, *std::move(endpoints));
  return absl::OkStatus();
}

absl::Status EndpointSlices::Remove(const json::value& slice) {
  PINGTI_ASSIGN_OR_RETURN(const std::string name, NameOf(slice));
  slices_.erase(name);
  return absl::OkStatus();
}

std::string EndpointSlices::PortOf(const json::object& slice) const {
  if (IsNumber(port_)) return port_;
  const json::array* ports = ArrayIn(slice, "ports");
  if (ports == nullptr) return "";
  for (const json::value& value : *ports) {
    const json::object* port = value.if_object();
    if (port == nullptr || TextIn(*port, "name") != port_) continue;
    const json::value* number = port->if_contains("port");
    const int64_t* port_number = number == nullptr ? nullptr : number->if_int64();
    if (port_number != nullptr && *port_number > 0 && *port_number <= UINT16_MAX) {
      return Concat(*port_number);
    }
  }
  return "";
}

// The hints say for which zones an endpoint is meant where the cluster spreads load over zones;
// without them its own zone counts.
bool EndpointSlices::IsInOtherZone(const json::object& endpoint) const {
  if (zone_.empty()) return false;
  const json::object* hints = ObjectIn(endpoint, "hints");
  const json::array* for_zones = hints == nullptr ? nullptr : ArrayIn(*hints, "forZones");
  if (for_zones != nullptr && !for_zones->empty()) {
    return std::none_of(for_zones->begin(), for_zones->end(), [&](const json::value& zone) {
      return zone.is_object() && TextIn(zone.get_object(), "name") == zone_;
    });
  }
  const std::string zone = TextIn(endpoint, "zone");
  return !zone.empty() && zone != zone_;
}

absl::StatusOr<std::optional<EndpointSlices::Endpoint>> EndpointSlices::ReadEndpoint(
    const json::value& value) const {
  const json::object* endpoint = value.if_object();
  if (endpoint == nullptr) return absl::InvalidArgumentError("an endpoint is no object");
  const json::array* addresses = ArrayIn(*endpoint, "addresses");
  if (addresses == nullptr || addresses->empty()) return std::optional<Endpoint>();
  // "Consumers should only use the first" (discovery.k8s.io/v1, Endpoint.addresses).
  const json::string* address = addresses->front().if_string();
  if (address == nullptr || address->empty()) {
    return absl::InvalidArgumentError("an endpoint's address is no text, or empty");
  }
  Endpoint read;
  read.address = std::string(address->data(), address->size());
  const json::object* conditions = ObjectIn(*endpoint, "conditions");
  read.ready = FlagIn(conditions, "ready", true);
  const bool terminating = FlagIn(conditions, "terminating", false);
  read.stays = terminating || FlagIn(conditions, "serving", read.ready);
  const json::object* target = ObjectIn(*endpoint, "targetRef");
  if (target != nullptr) read.uid = TextIn(*target, "uid");
  read.other_zone = IsInOtherZone(*endpoint);
  return read;
}

absl::StatusOr<std::vector<EndpointSlices::Endpoint>> EndpointSlices::Read(
    const json::object& slice) const {
  const std::string type = TextIn(slice, "addressType");
  const std::string port = PortOf(slice);
  const json::array* values = ArrayIn(slice, "endpoints");
  std::vector<Endpoint> endpoints;
  if (values == nullptr || port.empty()) return endpoints;
  for (const json::value& value : *values) {
    PINGTI_ASSIGN_OR_RETURN(std::optional<Endpoint> endpoint, ReadEndpoint(value));
    if (!endpoint.has_value()) continue;
    endpoint->is_ipv4 = type == "IPv4";
    endpoint->address = type == "IPv6" ? Concat("[", endpoint->address, "]:", port)
                                       : Concat(endpoint->address, ":", port);
    endpoints.push_back(*std::move(endpoint));
  }
  return endpoints;
}

std::vector<WorkerAddress> EndpointSlices::Take() {
  std::set<std::string> on_ipv4;           // pods
  std::map<std::string, Endpoint> wanted;  // by address
  for (const auto& [name, endpoints] : slices_) {
    for (const Endpoint& endpoint : endpoints) {
      const bool is_taken = taken_.contains(endpoint.address);
      if (!endpoint.ready && !(is_taken && endpoint.stays)) continue;
      if (endpoint.is_ipv4 && !endpoint.uid.empty()) on_ipv4.insert(endpoint.uid);
      wanted.emplace(endpoint.address, endpoint);
    }
  }
  std::vector<WorkerAddress> workers;
  taken_.clear();
  for (const auto& [address, endpoint] : wanted) {
    if (!endpoint.is_ipv4 && on_ipv4.contains(endpoint.uid)) continue;
    taken_.insert(address);
    workers.emplace_back(address, endpoint.other_zone);
  }
  return workers;
}

}  // namespace pingti::router
