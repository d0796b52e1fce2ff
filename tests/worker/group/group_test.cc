// A leader and followers of one group over gRPC: commands do what calls do, everyone who is not of
// the group is refused by name, and whoever is gone, silent or frozen is noticed and named.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "proto/pingti/worker/v1/group.grpc.pb.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/wait_for.h"
#include "worker/group/follower.h"
#include "worker/group/leader.h"
#include "worker/group/remote_model.h"

namespace pingti::worker {
namespace {

using pingti::testing::FakeModel;
using pingti::testing::WaitFor;
using std::chrono::milliseconds;

constexpr int32_t kBlocks = 8;
constexpr int32_t kBlockTokens = 4;

class FakeHost : public FollowerHost {
 public:
  absl::StatusOr<Model*> Start(const v1::Command::Start& start) override {
    start_ = start;
    if (!refusal.empty()) return absl::NotFoundError(refusal);
    return &model;
  }
  std::string device() const override { return "a fake"; }
  absl::StatusOr<RemoteMemory> PlanMemory() override { return RemoteMemory{77, 1232, "7 x 11"}; }
  void Abort() override {
    aborted = true;
    model.Release();
  }

  const v1::Command::Start& start() const { return start_; }

  FakeModel model;
  std::string refusal;
  std::atomic<bool> aborted{false};

 private:
  v1::Command::Start start_;
};

// Runs a follower on a thread of its own.
class FollowerThread {
 public:
  explicit FollowerThread(const FollowerOptions& options)
      : options_(options), thread_([this] { status_ = RunFollower(options_, &host, &stop_); }) {}
  ~FollowerThread() { (void)Stop(); }

  absl::Status Stop() {
    stop_.Stop();
    return Join();
  }
  absl::Status Join() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }

  FakeHost host;

 private:
  const FollowerOptions options_;
  FollowerStop stop_;
  absl::Status status_;
  std::thread thread_;
};

GroupLeaderOptions LeaderOptions(int world_size) {
  GroupLeaderOptions options;
  options.world_size = world_size;
  options.fingerprint = "the same";
  return options;
}

FollowerOptions OptionsOf(const GroupLeader& leader, int rank, int world_size) {
  FollowerOptions options;
  options.leader = "127.0.0.1:" + std::to_string(leader.port());
  options.rank = rank;
  options.world_size = world_size;
  options.fingerprint = "the same";
  options.peer_ports = {static_cast<uint16_t>(100 + rank), static_cast<uint16_t>(200 + rank)};
  return options;
}

// A step of one sequence with `count` new tokens from position `first` on, in blocks from 0 on.
class Step {
 public:
  Step(int32_t first, int32_t count) : context_{first + count} {
    for (int32_t i = first; i < first + count; ++i) {
      ids_.push_back(5 + i);
      positions_.push_back(i);
    }
    start_ = {0, count};
    table_.resize(static_cast<size_t>((first + count + kBlockTokens - 1) / kBlockTokens));
    std::iota(table_.begin(), table_.end(), 0);
    rows_ = {count - 1};
  }
  ForwardBatch batch() const {
    return {ids_, positions_, start_, context_, table_, static_cast<int32_t>(table_.size()), rows_};
  }

 private:
  std::vector<int32_t> ids_, positions_, start_, context_, table_, rows_;
};

std::vector<std::byte> Exported(Model* model, std::vector<int32_t> blocks) {
  std::vector<std::byte> bytes(blocks.size() * static_cast<size_t>(model->kv_block_layout().bytes));
  EXPECT_TRUE(model->ExportBlocks(blocks, bytes).ok());
  return bytes;
}

TEST(Group, CommandsDoOnAFollowerWhatCallsDoHere) {
  const auto leader = *GroupLeader::Start(LeaderOptions(3));
  FollowerThread one(OptionsOf(*leader, 1, 3)), two(OptionsOf(*leader, 2, 3));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  EXPECT_EQ(leader->peer_addresses(2),
            (std::vector<std::string>{"127.0.0.1:102", "127.0.0.1:202"}));
  v1::Command::Start start;
  start.set_group_id("g");
  const auto remote = *RemoteModel::Load(leader->follower(2), start);
  EXPECT_EQ(two.host.start().group_id(), "g");
  EXPECT_EQ(remote->device(), "a fake");
  EXPECT_EQ(remote->PlanMemory()->num_blocks, 77);
  EXPECT_EQ(remote->PlanMemory()->max_context_tokens, 1232);
  EXPECT_EQ(remote->PlanMemory()->arithmetic, "7 x 11");
  FakeModel local;
  EXPECT_EQ(remote->vocab_size(), local.vocab_size());
  EXPECT_EQ(remote->max_context_tokens(), local.max_context_tokens());
  EXPECT_EQ(remote->KvBytesPerBlock(kBlockTokens), local.KvBytesPerBlock(kBlockTokens));
  EXPECT_EQ(remote->WorkspaceBytes(64, 8), local.WorkspaceBytes(64, 8));
  const BlockCopy copies[] = {{1, 5}};
  for (Model* model : {static_cast<Model*>(&local), static_cast<Model*>(remote.get())}) {
    ASSERT_TRUE(model->Allocate(kBlocks, kBlockTokens, 64, 8).ok());
    ASSERT_TRUE(model->Forward(Step(0, 7).batch(), {}).ok());
    ASSERT_TRUE(model->Forward(Step(7, 1).batch(), copies).ok());
    const int32_t to[] = {6};
    ASSERT_TRUE(model->ImportBlocks(to, Exported(model, {0})).ok());
  }
  EXPECT_EQ(remote->kv_block_layout(), local.kv_block_layout());
  EXPECT_EQ(Exported(remote.get(), {0, 1, 5, 6}), Exported(&local, {0, 1, 5, 6}));
  EXPECT_EQ(two.host.model.num_forwards(), 2);
  EXPECT_EQ(one.host.model.num_forwards(), 0);
}

TEST(Group, AFollowersErrorsArriveAsTheyAreAndItGoesOn) {
  const auto leader = *GroupLeader::Start(LeaderOptions(2));
  FollowerThread follower(OptionsOf(*leader, 1, 2));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  v1::Command early;
  early.mutable_forward();
  EXPECT_EQ(leader->follower(1)->Call(early).status(),
            absl::FailedPreconditionError("expected Start first"));
  follower.host.refusal = "no such file: model.gguf";
  EXPECT_EQ(RemoteModel::Load(leader->follower(1), {}).status(),
            absl::NotFoundError("no such file: model.gguf"));
  follower.host.refusal.clear();
  const auto remote = *RemoteModel::Load(leader->follower(1), {});
  ASSERT_TRUE(remote->Allocate(kBlocks, kBlockTokens, 64, 8).ok());
  follower.host.model.FailForward(1, "a fault");
  EXPECT_EQ(remote->Forward(Step(0, 3).batch(), {}).message(), "a fault");
  EXPECT_TRUE(remote->Forward(Step(0, 3).batch(), {}).ok());
  EXPECT_FALSE(remote->Forward(Step(0, 65).batch(), {}).ok());
  EXPECT_EQ(remote->Sample({}, {}).code(), absl::StatusCode::kInternal);
}

TEST(Group, ALostDeviceEndsTheFollower) {
  const auto leader = *GroupLeader::Start(LeaderOptions(2));
  FollowerThread follower(OptionsOf(*leader, 1, 2));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  const auto remote = *RemoteModel::Load(leader->follower(1), {});
  ASSERT_TRUE(remote->Allocate(kBlocks, kBlockTokens, 64, 8).ok());
  follower.host.model.LoseDevice("the card is gone");
  EXPECT_EQ(remote->Forward(Step(0, 3).batch(), {}), absl::DataLossError("the card is gone"));
  EXPECT_EQ(follower.Join(), absl::DataLossError("the card is gone"));
  EXPECT_TRUE(WaitFor([&] { return !leader->follower(1)->Check().ok(); }));
}

TEST(Group, WhoIsNotOfTheGroupIsRefusedByName) {
  const auto leader = *GroupLeader::Start(LeaderOptions(2));
  const auto refusal_of = [&](FollowerOptions options) {
    FakeHost host;
    FollowerStop stop;
    const absl::Status status = RunFollower(options, &host, &stop);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    const std::string prefix = "the leader " + options.leader + " refuses: ";
    EXPECT_TRUE(status.message().substr(0, prefix.size()) == prefix) << status;
    return std::string(status.message().substr(prefix.size()));
  };
  EXPECT_EQ(refusal_of(OptionsOf(*leader, 1, 3)), "rank 1: world size 3: expected 2");
  EXPECT_EQ(refusal_of(OptionsOf(*leader, 2, 2)), "rank 2: expected a rank from 1 to 1");
  EXPECT_EQ(refusal_of(OptionsOf(*leader, 0, 2)), "rank 0: expected a rank from 1 to 1");
  FollowerOptions other = OptionsOf(*leader, 1, 2);
  other.fingerprint = "another";
  EXPECT_EQ(refusal_of(other), "rank 1: its checkpoint or settings are not the leader's");
  EXPECT_EQ(leader->WaitForFollowers(milliseconds(20)).message(),
            "the group of 2 waited for rank 1 for 20 ms; last refused: rank 1: its checkpoint or "
            "settings are not the leader's");
  FollowerThread follower(OptionsOf(*leader, 1, 2));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  EXPECT_EQ(refusal_of(OptionsOf(*leader, 1, 2)), "rank 1: this rank is taken");
  EXPECT_TRUE(leader->follower(1)->Check().ok());
}

TEST(Group, AFollowerThatLeavesDuringACommandIsNamed) {
  const auto leader = *GroupLeader::Start(LeaderOptions(2));
  FollowerThread follower(OptionsOf(*leader, 1, 2));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  const auto remote = *RemoteModel::Load(leader->follower(1), {});
  ASSERT_TRUE(remote->Allocate(kBlocks, kBlockTokens, 64, 8).ok());
  follower.host.model.Stall();
  absl::Status status;
  std::thread call([&] { status = remote->Forward(Step(0, 3).batch(), {}); });
  follower.host.model.WaitUntilStalled();
  EXPECT_TRUE(follower.Stop().ok()) << "its leaving also ends what it waits for";
  call.join();
  EXPECT_EQ(status, absl::AbortedError("rank 1 is lost: it closed the connection"));
  EXPECT_EQ(remote->Forward(Step(0, 3).batch(), {}), status);
  EXPECT_TRUE(follower.host.aborted);
}

TEST(Group, ACommandMayTakeLongerThanTheSilenceAndBeAborted) {
  GroupLeaderOptions options = LeaderOptions(2);
  options.patience = {milliseconds(20), milliseconds(600)};
  const auto leader = *GroupLeader::Start(options);
  FollowerOptions its = OptionsOf(*leader, 1, 2);
  its.patience = options.patience;
  FollowerThread follower(its);
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  const auto remote = *RemoteModel::Load(leader->follower(1), {});
  ASSERT_TRUE(remote->Allocate(kBlocks, kBlockTokens, 64, 8).ok());
  follower.host.model.Stall();
  absl::Status status;
  std::thread call([&] { status = remote->Forward(Step(0, 3).batch(), {}); });
  follower.host.model.WaitUntilStalled();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(WaitFor(
      [&] { return std::chrono::steady_clock::now() - begin > 3 * options.patience.silence; }));
  EXPECT_TRUE(leader->follower(1)->Check().ok());
  remote->AbortGroup();
  call.join();
  EXPECT_EQ(status, absl::AbortedError("rank 1 is lost: the group was aborted"));
  EXPECT_EQ(follower.Join(), absl::AbortedError("the leader closed the connection"));
}

// Joins, then says nothing more, as a process that is frozen.
TEST(Group, ASilentFollowerIsNamed) {
  GroupLeaderOptions options = LeaderOptions(2);
  options.patience = {milliseconds(20), milliseconds(100)};
  const auto leader = *GroupLeader::Start(options);
  const auto stub = v1::Group::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(leader->port()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto stream = stub->Join(&context);
  v1::FollowerMessage hello;
  hello.mutable_hello()->set_rank(1);
  hello.mutable_hello()->set_world_size(2);
  hello.mutable_hello()->set_fingerprint("the same");
  ASSERT_TRUE(stream->Write(hello));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  const absl::Status status = RemoteModel::Load(leader->follower(1), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(
      std::string(status.message()).starts_with("rank 1 is lost: it gave no sign of life for 1"))
      << status;
  context.TryCancel();
}

TEST(Group, ALateSignIsToldOf) {
  GroupLeaderOptions options = LeaderOptions(2);
  options.patience = {milliseconds(20), milliseconds(4'000)};
  std::atomic<int> late_rank{0};
  std::atomic<int64_t> gap_ms{0};
  options.on_late_sign = [&](int rank, milliseconds gap) {
    gap_ms = gap.count();
    late_rank = rank;
  };
  const auto leader = *GroupLeader::Start(options);
  const auto stub = v1::Group::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(leader->port()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto stream = stub->Join(&context);
  v1::FollowerMessage message;
  message.mutable_hello()->set_rank(1);
  message.mutable_hello()->set_world_size(2);
  message.mutable_hello()->set_fingerprint("the same");
  ASSERT_TRUE(stream->Write(message));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(
      WaitFor([&] { return std::chrono::steady_clock::now() - begin > milliseconds(2'100); }));
  message.mutable_alive();
  ASSERT_TRUE(stream->Write(message));
  ASSERT_TRUE(WaitFor([&] { return late_rank == 1; }));
  EXPECT_GT(gap_ms, 2'000);
  EXPECT_TRUE(leader->follower(1)->Check().ok());
  context.TryCancel();
}

// Takes followers in, then says nothing more.
class SilentLeader : public v1::Group::Service {
 public:
  grpc::Status Join(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<v1::Command, v1::FollowerMessage>* stream) override {
    v1::Command ping;
    ping.mutable_ping();
    stream->Write(ping);
    v1::FollowerMessage message;
    while (!context->IsCancelled() && stream->Read(&message)) {
    }
    return grpc::Status::OK;
  }
};

TEST(Group, ASilentLeaderIsLeft) {
  SilentLeader service;
  const auto server = *net::GrpcServer::Start({}, {{&service}});
  FakeHost host;
  FollowerStop stop;
  FollowerOptions options;
  options.leader = "127.0.0.1:" + std::to_string(server->port());
  options.patience = {milliseconds(20), milliseconds(100)};
  const absl::Status status = RunFollower(options, &host, &stop);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(std::string(status.message()).starts_with("the leader gave no sign of life for 1"))
      << status;
  EXPECT_TRUE(host.aborted);
}

TEST(Group, ALeaderThatEndsTakesItsFollowersAlong) {
  auto leader = *GroupLeader::Start(LeaderOptions(2));
  FollowerThread follower(OptionsOf(*leader, 1, 2));
  ASSERT_TRUE(leader->WaitForFollowers(pingti::testing::kPatience).ok());
  // One that has heard nothing yet looks for a leader again.
  EXPECT_FALSE(leader->follower(1)->Call({}).ok());
  leader.reset();
  EXPECT_EQ(follower.Join().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(follower.host.aborted);
}

TEST(Group, NobodyWaitsForEver) {
  const auto leader = *GroupLeader::Start(LeaderOptions(4));
  EXPECT_EQ(leader->WaitForFollowers(milliseconds(1)).message(),
            "the group of 4 waited for rank 1, 2, 3 for 1 ms");
  FakeHost host;
  FollowerStop stop;
  FollowerOptions options;
  options.leader = "127.0.0.1:1";
  options.join_timeout = milliseconds(10);
  EXPECT_EQ(RunFollower(options, &host, &stop).message(),
            "rank 1 found no leader at 127.0.0.1:1 within 10 ms");
  stop.Stop();
  options.join_timeout = pingti::testing::kPatience;
  EXPECT_TRUE(RunFollower(options, &host, &stop).ok());
}

}  // namespace
}  // namespace pingti::worker
