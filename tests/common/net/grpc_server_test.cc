// A gRPC server's life cycle, seen by the health service's own client.
#include "common/net/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/base/strings.h"
#include "proto/pingti/v1/inference.grpc.pb.h"
#include "tests/common/net/tcp_client.h"
#include "tests/testing/wait_for.h"

namespace pingti::net {
namespace {

using pingti::testing::TcpClient;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience{20};

// Any service will do: gRPC does not start without one.
using AnyService = pingti::v1::Inference::CallbackService;

// Calls grpc.health.v1.Health/Check with an empty request through the generic stub. The answer's
// one field is the status: 1 serving, 2 not serving.
std::string CheckHealth(uint16_t port) {
  const auto channel =
      grpc::CreateChannel(Concat("127.0.0.1:", port), grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  grpc::CompletionQueue queue;
  const grpc::Slice nothing;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                    grpc::ByteBuffer(&nothing, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return status.error_message();
  grpc::Slice slice;
  EXPECT_TRUE(response.DumpToSingleSlice(&slice).ok());
  const std::string bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes == "\x08\x01" ? "serving" : bytes == "\x08\x02" ? "not serving" : bytes;
}

TEST(GrpcServerTest, HealthFollowsSetServing) {
  AnyService service;
  const auto server = GrpcServer::Start({}, {{&service}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT((*server)->port(), 0);
  EXPECT_EQ(CheckHealth((*server)->port()), "not serving");
  (*server)->SetServing(true);
  EXPECT_EQ(CheckHealth((*server)->port()), "serving");
  (*server)->SetServing(false);
  EXPECT_EQ(CheckHealth((*server)->port()), "not serving");
}

TEST(GrpcServerTest, APortInUseIsNamed) {
  AnyService service;
  const auto first = GrpcServer::Start({}, {{&service}});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = GrpcServer::Start({.port = (*first)->port()}, {{&service}});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(second.status().message()),
            Concat("address 127.0.0.1:", (*first)->port(), " is already in use"));
}

TEST(GrpcServerTest, BadOptionsAreNamed) {
  EXPECT_THAT(std::string(GrpcServer::Start({.address = "nowhere"}, {}).status().message()),
              HasSubstr("'nowhere'"));
  EXPECT_THAT(std::string(GrpcServer::Start({.max_received_bytes = 0}, {}).status().message()),
              HasSubstr("has 0 bytes"));
  EXPECT_THAT(
      std::string(GrpcServer::Start({.max_sent_bytes = int64_t{1} << 31}, {}).status().message()),
      HasSubstr("has 2147483648 bytes"));
}

TEST(GrpcServerTest, ConnectionsBeyondTheLimitAreClosedUntilOthersEnd) {
  AnyService service;
  const auto server = GrpcServer::Start({.max_connections = 2}, {{&service}});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto connect = [&] { return std::make_unique<TcpClient>((*server)->port()); };
  std::vector<std::unique_ptr<TcpClient>> held;
  for (int i = 0; i < 2; ++i) held.push_back(connect());
  // A gRPC server speaks first, a frame of type 4; who is refused reads the end at once.
  const auto welcome = [](TcpClient* client) { return client->ReadUntil("\x04") != ""; };
  for (const auto& client : held) EXPECT_TRUE(welcome(client.get()));
  EXPECT_FALSE(welcome(connect().get()));
  held.pop_back();
  EXPECT_TRUE(pingti::testing::WaitFor([&] { return welcome(connect().get()); }));
}

TEST(GrpcServerTest, WithoutAServiceIsRefused) {
  EXPECT_EQ(GrpcServer::Start({}, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GrpcServerTest, ShutdownTwiceIsFine) {
  AnyService service;
  const auto server = GrpcServer::Start({}, {{&service}});
  ASSERT_TRUE(server.ok()) << server.status();
  (*server)->Shutdown(std::chrono::milliseconds(100));
  (*server)->Shutdown(std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace pingti::net
