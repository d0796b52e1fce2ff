// What a server listens on to be reached from everywhere, on hosts with IPv4, IPv6 or both.
#pragma once

#include <string>

namespace pingti::net {

// "*" as an address to listen on: "::", which takes IPv4 as well, or "0.0.0.0" on a host without
// IPv6. Every other address stays as it is.
std::string ResolveAnyAddress(std::string address);

}  // namespace pingti::net
