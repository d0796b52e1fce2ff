// See ports.h.
#include "tests/testing/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::testing {
namespace {

// As in ports.py.
constexpr int kFirst = 12000;
constexpr int kEnd = 30000;
constexpr int kBlock = 100;

// True when the block is this process's from now on: the socket stays open until the process ends.
bool ReserveBlock(int first) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  PINGTI_CHECK(fd >= 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = Concat("pingti-ports-", first);
  // The abstract namespace: a zero before the name, and no file.
  std::copy(name.begin(), name.end(), address.sun_path + 1);
  const socklen_t size = offsetof(sockaddr_un, sun_path) + 1 + name.size();
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0) return true;
  close(fd);
  return false;
}

int ReserveAnyBlock() {
  std::vector<int> blocks((kEnd - kFirst) / kBlock);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::random_device());
  for (const int block : blocks) {
    if (ReserveBlock(kFirst + block * kBlock)) return kFirst + block * kBlock;
  }
  PINGTI_CHECK_MSG(false, "other processes hold all blocks of ports");
}

bool IsFree(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  PINGTI_CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const bool is_free = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return is_free;
}

}  // namespace

uint16_t FreePort() {
  static std::mutex mutex;
  static int next = 0;
  static int end = 0;
  std::lock_guard lock(mutex);
  for (;;) {
    while (next < end) {
      if (const int port = next++; IsFree(port)) return static_cast<uint16_t>(port);
    }
    next = ReserveAnyBlock();
    end = next + kBlock;
  }
}

}  // namespace pingti::testing
