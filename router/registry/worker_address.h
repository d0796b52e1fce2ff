// Where a worker is, as discovery tells the registry. A plain value.
#pragma once

#include <compare>
#include <string>
#include <utility>

namespace pingti::router {

struct WorkerAddress {
  WorkerAddress(std::string host_and_port, bool in_other_zone = false)  // NOLINT: a plain address
      : address(std::move(host_and_port)), other_zone(in_other_zone) {}
  WorkerAddress(const char* host_and_port) : address(host_and_port) {}  // NOLINT: as above

  std::string address;      // "host:port"
  bool other_zone = false;  // known to be in another zone than this router

  auto operator<=>(const WorkerAddress&) const = default;
};

}  // namespace pingti::router
