#include "router/api/client_network.h"

#include <gtest/gtest.h>

namespace pingti::router {
namespace {

TEST(ClientNetworkTest, AnAddressIsTheClientsShareOfTheNetwork) {
  EXPECT_EQ(ClientNetwork("10.0.0.1"), "10.0.0.1");
  EXPECT_EQ(ClientNetwork("::ffff:10.0.0.1"), "10.0.0.1");
  EXPECT_EQ(ClientNetwork("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::/64");
  EXPECT_EQ(ClientNetwork("2001:db8:0:1:9:9:9:9"), ClientNetwork("2001:db8:0:1::"));
  EXPECT_NE(ClientNetwork("2001:db8:0:2::"), ClientNetwork("2001:db8:0:1::"));
  EXPECT_EQ(ClientNetwork("::1"), "::/64");
  EXPECT_EQ(ClientNetwork(""), "");
  EXPECT_EQ(ClientNetwork("unix"), "unix");
}

TEST(ClientNetworkTest, APeerIsNamedAsGrpcDoes) {
  EXPECT_EQ(NetworkOfPeer("ipv4:10.0.0.1:5555"), "10.0.0.1");
  EXPECT_EQ(NetworkOfPeer("ipv6:%5B2001:db8:0:1::7%5D:5555"), "2001:db8:0:1::/64");
  EXPECT_EQ(NetworkOfPeer("ipv6:%5B::ffff:10.0.0.1%5D:5555"), "10.0.0.1");
  EXPECT_EQ(NetworkOfPeer("unix"), "unix");
}

}  // namespace
}  // namespace pingti::router
