// See client_network.h.
#include "router/api/client_network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace pingti::router {

std::string ClientNetwork(std::string_view address) {
  std::string text(address);
  in6_addr v6{};
  if (::inet_pton(AF_INET6, text.c_str(), &v6) != 1) return text;
  char written[INET6_ADDRSTRLEN];
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    in_addr v4{};
    std::memcpy(&v4, &v6.s6_addr[12], sizeof(v4));
    return ::inet_ntop(AF_INET, &v4, written, sizeof(written));
  }
  std::fill(v6.s6_addr + 8, v6.s6_addr + 16, uint8_t{0});
  return std::string(::inet_ntop(AF_INET6, &v6, written, sizeof(written))) + "/64";
}

std::string NetworkOfPeer(std::string_view peer) {
  constexpr std::string_view kOpen = "%5B";
  constexpr std::string_view kClose = "%5D";
  const size_t scheme = peer.find(':');
  if (scheme == std::string_view::npos) return std::string(peer);
  std::string_view address = peer.substr(scheme + 1);
  address = address.substr(0, address.rfind(':'));
  if (address.starts_with(kOpen)) address.remove_prefix(kOpen.size());
  if (address.ends_with(kClose)) address.remove_suffix(kClose.size());
  return ClientNetwork(address);
}

}  // namespace pingti::router
