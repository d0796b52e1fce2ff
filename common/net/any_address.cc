// See any_address.h.
#include "common/net/any_address.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pingti::net {
namespace {

// Whether a socket can be bound to every address of both kinds.
bool HasDualStack() {
  const int socket = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  const int off = 0;
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  const bool bound = ::setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0 &&
                     ::bind(socket, reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0;
  ::close(socket);
  return bound;
}

}  // namespace

std::string ResolveAnyAddress(std::string address) {
  if (address != "*") return address;
  return HasDualStack() ? "::" : "0.0.0.0";
}

}  // namespace pingti::net
