// Joining and losing peers over TCP: everyone is named, and nobody waits for ever.
#include "worker/comm/tcp_mesh.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace pingti::worker {
namespace {

using std::chrono::milliseconds;

std::string AddressOf(const TcpListener& listener) {
  return "127.0.0.1:" + std::to_string(listener.port());
}

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string Text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Two ranks; each joins in a thread of its own.
class Pair {
 public:
  explicit Pair(milliseconds exchange_timeout = milliseconds(60'000)) {
    TcpListener listeners[] = {*TcpListener::Open("127.0.0.1"), *TcpListener::Open("127.0.0.1")};
    TcpMeshOptions options;
    options.addresses = {AddressOf(listeners[0]), AddressOf(listeners[1])};
    options.group_id = "pair";
    options.exchange_timeout = exchange_timeout;
    std::thread other([&] {
      TcpMeshOptions own = options;
      own.rank = 1;
      ranks[1] = *TcpMesh::Join(listeners[1], own);
    });
    ranks[0] = *TcpMesh::Join(listeners[0], options);
    other.join();
  }

  std::unique_ptr<TcpMesh> ranks[2];
};

TEST(TcpMesh, ExchangesMessagesOfEverySizeAlsoWhenNeitherFitsTheKernelsBuffers) {
  Pair pair;
  for (const size_t size : {0u, 1u, 1000u, 20'000'000u}) {
    std::thread other([&] {
      std::vector<std::vector<std::byte>> received;
      const std::string own(size, 'b');
      EXPECT_TRUE(pair.ranks[1]->Exchange(Bytes(own), 1 << 30, &received).ok());
      EXPECT_EQ(Text(received[0]), std::string(size + 1, 'a'));
      EXPECT_TRUE(received[1].empty());
    });
    std::vector<std::vector<std::byte>> received;
    const std::string own(size + 1, 'a');
    EXPECT_TRUE(pair.ranks[0]->Exchange(Bytes(own), 1 << 30, &received).ok());
    EXPECT_EQ(Text(received[1]), std::string(size, 'b'));
    other.join();
  }
}

TEST(TcpMesh, APeerThatIsGoneSilentOrTooLoudIsNamedAndTheGroupIsOver) {
  const auto status_of = [](Pair* pair, size_t most_bytes) {
    std::vector<std::vector<std::byte>> received;
    const absl::Status status = pair->ranks[0]->Exchange(Bytes("hello"), most_bytes, &received);
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(pair->ranks[0]->Check(), status);
    EXPECT_EQ(pair->ranks[0]->Exchange(Bytes("again"), most_bytes, &received), status);
    return std::string(status.message());
  };
  Pair gone;
  gone.ranks[1].reset();
  EXPECT_EQ(status_of(&gone, 100), "rank 0 lost rank 1: it closed the connection");
  Pair silent(milliseconds(50));
  EXPECT_EQ(status_of(&silent, 100), "rank 0 waited for rank 1 for 50 ms");
  Pair loud;
  std::thread other([&] {
    std::vector<std::vector<std::byte>> received;
    (void)loud.ranks[1]->Exchange(Bytes(std::string(1000, 'x')), 100, &received);
  });
  EXPECT_EQ(status_of(&loud, 100), "rank 0 lost rank 1: it sends 1000 bytes; expected at most 100");
  loud.ranks[0].reset();
  other.join();
}

TEST(TcpMesh, RanksThatDoNotComeAreNamed) {
  const TcpListener own = *TcpListener::Open("127.0.0.1");
  TcpMeshOptions options;
  options.group_id = "g";
  options.join_timeout = milliseconds(50);
  options.addresses = {AddressOf(own), "127.0.0.1:1", "127.0.0.1:2"};
  absl::Status status = TcpMesh::Join(own, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "rank 0 of 3 waited for rank 1, 2 for 50 ms");
  options.addresses = {"127.0.0.1:1", AddressOf(own)};
  options.rank = 1;
  status = TcpMesh::Join(own, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1 cannot reach rank 0 at 127.0.0.1:1: "), std::string::npos)
      << status;
}

TEST(TcpMesh, StrangersAndOtherGroupsStayOut) {
  const TcpListener first = *TcpListener::Open("127.0.0.1");
  const TcpListener second = *TcpListener::Open("127.0.0.1");
  TcpMeshOptions options;
  options.group_id = "today's";
  options.addresses = {AddressOf(first), AddressOf(second)};
  absl::StatusOr<std::unique_ptr<TcpMesh>> joined;
  std::thread rank_0([&] { joined = TcpMesh::Join(first, options); });
  TcpMeshOptions other = options;
  other.rank = 1;
  other.group_id = "yesterday's";
  other.join_timeout = milliseconds(100);
  const absl::Status status = TcpMesh::Join(second, other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  other.group_id = options.group_id;
  other.join_timeout = milliseconds(60'000);
  EXPECT_TRUE(TcpMesh::Join(second, other).ok());
  rank_0.join();
  EXPECT_TRUE(joined.ok()) << joined.status();
}

TEST(TcpMesh, WrongOptionsAreNamed) {
  const TcpListener own = *TcpListener::Open("::1");
  TcpMeshOptions options;
  options.addresses = {"[::1]:1", "nowhere"};
  options.group_id = "g";
  options.rank = 2;
  EXPECT_EQ(TcpMesh::Join(own, options).status().message(), "rank 2: expected one from 0 to 1");
  options.rank = 1;
  options.addresses = {"nowhere", "[::1]:1"};
  EXPECT_EQ(TcpMesh::Join(own, options).status().message(),
            "rank 0's address 'nowhere': expected host:port");
  options.group_id = std::string(65, 'g');
  EXPECT_EQ(TcpMesh::Join(own, options).status().message(),
            "group id of 65 bytes: expected 1 to 64");
  EXPECT_EQ(TcpListener::Open("localhost").status().message(),
            "address 'localhost' for ranks: expected an IPv4 or IPv6 address");
}

}  // namespace
}  // namespace pingti::worker
