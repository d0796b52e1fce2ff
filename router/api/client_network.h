// Where a client comes from, as far as it can be told apart by its address.
#pragma once

#include <string>
#include <string_view>

namespace pingti::router {

// An IPv4 address as it is; of an IPv6 address the first 64 bits, since one client often has all of
// the rest ("2001:db8:0:1::/64"). What is no address stays as it is.
std::string ClientNetwork(std::string_view address);

// The same for a peer as gRPC names it: "ipv4:10.0.0.1:5555", "ipv6:%5B::1%5D:5555".
std::string NetworkOfPeer(std::string_view peer);

}  // namespace pingti::router
