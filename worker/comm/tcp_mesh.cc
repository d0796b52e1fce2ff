// See tcp_mesh.h.
#include "worker/comm/tcp_mesh.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A stranger that connects and says nothing holds the others up for this long.
constexpr milliseconds kHelloTimeout{2'000};
constexpr milliseconds kRetryPause{50};

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// What both ends of a connection say first.
struct Hello {
  std::array<char, 8> magic = {'p', 'i', 'n', 'g', 't', 'i', 'T', 'P'};
  std::array<char, 64> group_id{};
  int32_t rank = 0;
};

Hello HelloOf(const TcpMeshOptions& options) {
  Hello hello;
  std::copy(options.group_id.begin(), options.group_id.end(), hello.group_id.begin());
  hello.rank = options.rank;
  return hello;
}

std::string Errno() { return std::strerror(errno); }

// Whichever way a closed connection shows first.
constexpr char kClosed[] = "it closed the connection";
std::string LossText() { return errno == EPIPE || errno == ECONNRESET ? kClosed : Errno(); }

int PollTimeout(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
}

// False when the deadline passes first.
bool WaitFor(int fd, short events, Clock::time_point deadline) {
  pollfd entry{fd, events, 0};
  for (;;) {
    const int ready = poll(&entry, 1, PollTimeout(deadline));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

// True when all `size` bytes have passed. `move` is a read or a write.
template <typename T, typename Move>
bool MoveAll(int fd, T* data, size_t size, short events, Clock::time_point deadline,
             const Move& move) {
  while (size > 0) {
    if (!WaitFor(fd, events, deadline)) return false;
    const ssize_t moved = move(fd, data, size);
    if (moved == 0 || (moved < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (moved < 0) continue;
    data += moved;
    size -= static_cast<size_t>(moved);
  }
  return true;
}

ssize_t SendSome(int fd, const void* data, size_t size) {
  return send(fd, data, size, MSG_NOSIGNAL);
}

bool SendHello(int fd, const Hello& hello, Clock::time_point deadline) {
  return MoveAll(fd, reinterpret_cast<const char*>(&hello), sizeof(hello), POLLOUT, deadline,
                 SendSome);
}

bool ReceiveHello(int fd, Hello* hello, Clock::time_point deadline) {
  return MoveAll(fd, reinterpret_cast<char*>(hello), sizeof(*hello), POLLIN, deadline, read);
}

void PrepareSocket(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

struct AddressList {
  addrinfo* list = nullptr;
  ~AddressList() {
    if (list != nullptr) freeaddrinfo(list);
  }
};

// One try. An invalid Fd and `error` when nobody answers.
Fd ConnectOnce(const std::string& host, const std::string& port, Clock::time_point deadline,
               std::string* error) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  AddressList addresses;
  if (const int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &addresses.list);
      code != 0) {
    *error = gai_strerror(code);
    return Fd();
  }
  for (const addrinfo* at = addresses.list; at != nullptr; at = at->ai_next) {
    Fd fd(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) continue;
    if (connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) return fd;
    int failure = errno;
    if (failure == EINPROGRESS && WaitFor(fd.get(), POLLOUT, deadline)) {
      socklen_t size = sizeof(failure);
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
      if (failure == 0) return fd;
    }
    *error = std::strerror(failure);
  }
  return Fd();
}

// Until the peer listens, answers and is of this group.
absl::StatusOr<Fd> ConnectTo(int peer, const TcpMeshOptions& options, Clock::time_point deadline) {
  const std::string& address = options.addresses[static_cast<size_t>(peer)];
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(
        Concat("rank ", peer, "'s address '", address, "': expected host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  std::string error = "it does not answer";
  while (Clock::now() < deadline) {
    Fd fd = ConnectOnce(host, address.substr(colon + 1), deadline, &error);
    if (fd.valid()) {
      PrepareSocket(fd.get());
      const Hello own = HelloOf(options);
      Hello theirs;
      if (SendHello(fd.get(), own, deadline) && ReceiveHello(fd.get(), &theirs, deadline) &&
          theirs.magic == own.magic && theirs.group_id == own.group_id && theirs.rank == peer) {
        return fd;
      }
      error = "it is not of this group";
    }
    std::this_thread::sleep_for(kRetryPause);
  }
  return absl::UnavailableError(
      Concat("rank ", options.rank, " cannot reach rank ", peer, " at ", address, ": ", error));
}

// From every higher rank; who is none of them is left at the door.
absl::Status AcceptPeers(const TcpListener& listener, const TcpMeshOptions& options,
                         Clock::time_point deadline, std::vector<Fd>* peers) {
  const Hello own = HelloOf(options);
  const auto size = static_cast<int>(peers->size());
  const auto missing = [&] {
    std::string ranks;
    for (int r = options.rank + 1; r < size; ++r) {
      if ((*peers)[static_cast<size_t>(r)].valid()) continue;
      ranks += Concat(ranks.empty() ? "" : ", ", r);
    }
    return ranks;
  };
  while (!missing().empty()) {
    if (!WaitFor(listener.fd(), POLLIN, deadline)) {
      return absl::DeadlineExceededError(Concat("rank ", options.rank, " of ", size,
                                                " waited for rank ", missing(), " for ",
                                                options.join_timeout.count(), " ms"));
    }
    Fd fd(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) continue;
    PrepareSocket(fd.get());
    Hello theirs;
    const Clock::time_point soon = std::min(deadline, Clock::now() + kHelloTimeout);
    if (!ReceiveHello(fd.get(), &theirs, soon) || theirs.magic != own.magic ||
        theirs.group_id != own.group_id || theirs.rank <= options.rank || theirs.rank >= size ||
        !SendHello(fd.get(), own, soon)) {
      continue;
    }
    (*peers)[static_cast<size_t>(theirs.rank)] = std::move(fd);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TcpListener> TcpListener::Open(const std::string& address) {
  const auto fail = [&] {
    return absl::UnavailableError(Concat("cannot listen for ranks on ", address, ": ", Errno()));
  };
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    size = sizeof(*v4);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    size = sizeof(*v6);
  } else {
    return absl::InvalidArgumentError(
        Concat("address '", address, "' for ranks: expected an IPv4 or IPv6 address"));
  }
  Fd fd(socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  auto* name = reinterpret_cast<sockaddr*>(&storage);
  if (!fd.valid() || bind(fd.get(), name, size) != 0 || listen(fd.get(), 64) != 0 ||
      getsockname(fd.get(), name, &size) != 0) {
    return fail();
  }
  const uint16_t port = ntohs(storage.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
  return TcpListener(dup(fd.get()), port);
}

TcpListener::TcpListener(TcpListener&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), port_(other.port_) {}

TcpListener& TcpListener::operator=(TcpListener&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(port_, other.port_);
  return *this;
}

TcpListener::~TcpListener() {
  if (fd_ >= 0) close(fd_);
}

struct TcpMesh::State {
  explicit State(std::vector<Fd> connections)
      : peers(std::move(connections)), wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    PINGTI_CHECK(wake.valid());
  }

  absl::Status Check() {
    MutexLock lock(&mutex);
    return lost;
  }

  // The first cause stays.
  absl::Status Lose(const std::string& why) {
    MutexLock lock(&mutex);
    if (lost.ok()) lost = absl::AbortedError(why);
    return lost;
  }

  const std::vector<Fd> peers;  // by rank; its own is invalid
  const Fd wake;                // readable once aborted
  Mutex mutex;
  absl::Status lost PINGTI_GUARDED_BY(mutex);
};

// What has passed to and from one peer in an exchange: each way eight bytes of length, then the
// message.
class TcpMesh::Transfer {
 public:
  Transfer(int fd, std::span<const std::byte> message, size_t most_bytes,
           std::vector<std::byte>* received)
      : fd_(fd), message_(message), most_bytes_(most_bytes), received_(received) {
    out_length_ = message.size();
  }

  int fd() const { return fd_; }
  bool done() const { return sent_all() && received_all(); }
  short events() const {
    return static_cast<short>((sent_all() ? 0 : POLLOUT) | (received_all() ? 0 : POLLIN));
  }

  // As far as it goes without waiting. What is wrong with the peer; empty: nothing.
  std::string Send() {
    while (!sent_all()) {
      const bool at_length = sent_ < sizeof(uint64_t);
      const std::byte* from = at_length ? reinterpret_cast<const std::byte*>(&out_length_) + sent_
                                        : message_.data() + (sent_ - sizeof(uint64_t));
      const size_t left =
          at_length ? sizeof(uint64_t) - sent_ : message_.size() + sizeof(uint64_t) - sent_;
      const ssize_t moved = SendSome(fd_, from, left);
      if (moved < 0) return errno == EAGAIN || errno == EINTR ? "" : LossText();
      sent_ += static_cast<size_t>(moved);
    }
    return "";
  }

  std::string Receive() {
    while (!received_all()) {
      const bool at_length = got_ < sizeof(uint64_t);
      std::byte* to = at_length ? reinterpret_cast<std::byte*>(&in_length_) + got_
                                : received_->data() + (got_ - sizeof(uint64_t));
      const size_t left =
          at_length ? sizeof(uint64_t) - got_ : received_->size() + sizeof(uint64_t) - got_;
      const ssize_t moved = read(fd_, to, left);
      if (moved == 0) return kClosed;
      if (moved < 0) return errno == EAGAIN || errno == EINTR ? "" : LossText();
      got_ += static_cast<size_t>(moved);
      if (at_length && got_ == sizeof(uint64_t)) {
        if (in_length_ > most_bytes_) {
          return Concat("it sends ", in_length_, " bytes; expected at most ", most_bytes_);
        }
        received_->resize(in_length_);
      }
    }
    return "";
  }

 private:
  bool sent_all() const { return sent_ == message_.size() + sizeof(uint64_t); }
  bool received_all() const {
    return got_ >= sizeof(uint64_t) && got_ == in_length_ + sizeof(uint64_t);
  }

  int fd_;
  std::span<const std::byte> message_;
  size_t most_bytes_;
  std::vector<std::byte>* received_;
  uint64_t out_length_ = 0;
  uint64_t in_length_ = 0;
  size_t sent_ = 0;
  size_t got_ = 0;
};

absl::StatusOr<std::unique_ptr<TcpMesh>> TcpMesh::Join(const TcpListener& listener,
                                                       TcpMeshOptions options) {
  const auto size = static_cast<int>(options.addresses.size());
  if (options.rank < 0 || options.rank >= size) {
    return absl::InvalidArgumentError(
        Concat("rank ", options.rank, ": expected one from 0 to ", size - 1));
  }
  if (options.group_id.empty() || options.group_id.size() > sizeof(Hello::group_id)) {
    return absl::InvalidArgumentError(Concat("group id of ", options.group_id.size(),
                                             " bytes: expected 1 to ", sizeof(Hello::group_id)));
  }
  const Clock::time_point deadline = Clock::now() + options.join_timeout;
  std::vector<Fd> peers(static_cast<size_t>(size));
  for (int peer = 0; peer < options.rank; ++peer) {
    PINGTI_ASSIGN_OR_RETURN(peers[static_cast<size_t>(peer)], ConnectTo(peer, options, deadline));
  }
  PINGTI_RETURN_IF_ERROR(AcceptPeers(listener, options, deadline, &peers));
  return std::unique_ptr<TcpMesh>(
      new TcpMesh(std::move(options), std::make_unique<State>(std::move(peers))));
}

TcpMesh::TcpMesh(TcpMeshOptions options, std::unique_ptr<State> state)
    : options_(std::move(options)), state_(std::move(state)) {}

TcpMesh::~TcpMesh() = default;

absl::Status TcpMesh::Exchange(std::span<const std::byte> message, size_t most_bytes,
                               std::vector<std::vector<std::byte>>* received) {
  PINGTI_RETURN_IF_ERROR(Check());
  const Clock::time_point deadline = Clock::now() + options_.exchange_timeout;
  received->resize(static_cast<size_t>(size()));
  std::vector<std::pair<int, Transfer>> transfers;  // with the peer's rank
  for (int peer = 0; peer < size(); ++peer) {
    const auto at = static_cast<size_t>(peer);
    if (peer == rank()) {
      (*received)[at].clear();
      continue;
    }
    transfers.emplace_back(
        peer, Transfer(state_->peers[at].get(), message, most_bytes, &(*received)[at]));
  }
  std::vector<pollfd> polled;
  for (;;) {
    polled.assign(1, {state_->wake.get(), POLLIN, 0});
    for (auto& [peer, transfer] : transfers) {
      std::string wrong = transfer.Send();
      if (wrong.empty()) wrong = transfer.Receive();
      if (!wrong.empty()) {
        return state_->Lose(Concat("rank ", rank(), " lost rank ", peer, ": ", wrong));
      }
      if (!transfer.done()) polled.push_back({transfer.fd(), transfer.events(), 0});
    }
    if (polled.size() == 1) return Check();
    const int ready = poll(polled.data(), polled.size(), PollTimeout(deadline));
    if (polled[0].revents != 0) return Check();
    if (ready == 0 && Clock::now() >= deadline) {
      const auto late = std::find_if(transfers.begin(), transfers.end(),
                                     [](const auto& entry) { return !entry.second.done(); });
      return state_->Lose(Concat("rank ", rank(), " waited for rank ", late->first, " for ",
                                 options_.exchange_timeout.count(), " ms"));
    }
  }
}

absl::Status TcpMesh::Check() const { return state_->Check(); }

void TcpMesh::Abort() {
  (void)state_->Lose("the tensor-parallel group was aborted");
  const uint64_t one = 1;
  const ssize_t written = write(state_->wake.get(), &one, sizeof(one));
  PINGTI_CHECK(written == sizeof(one) || errno == EAGAIN);
  // Peers that wait for this rank are told.
  for (const Fd& peer : state_->peers) {
    if (peer.valid()) shutdown(peer.get(), SHUT_RDWR);
  }
}

}  // namespace pingti::worker
