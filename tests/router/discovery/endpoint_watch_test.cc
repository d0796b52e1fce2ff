// The watch against a fake API server over TLS.
#include "router/discovery/endpoint_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/router/discovery/fake_api_server.h"
#include "tests/testing/wait_for.h"

namespace pingti::router {
namespace {

using testing::FakeApiServer;
using testing::WaitFor;

std::string Ready(const std::string& address, const std::string& conditions = R"("ready":true)") {
  return Concat(R"({"addresses":[")", address, R"("],"conditions":{)", conditions, "}}");
}

std::string Slice(const std::string& endpoints) {
  return Concat(R"(,"addressType":"IPv4","ports":[{"name":"grpc","port":9001}],"endpoints":[)",
                endpoints, "]");
}

class EndpointWatchTest : public ::testing::Test {
 protected:
  EndpointWatchTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                Concat("watch-", ::getpid(), "-",
                       ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(folder_);
    server_ = std::make_unique<FakeApiServer>(folder_);
  }
  ~EndpointWatchTest() override {
    watch_ = nullptr;
    server_ = nullptr;
    std::filesystem::remove_all(folder_);
  }

  void Start() { Start(server_->access()); }
  void Start(KubernetesAccess access) {
    watch_ = std::make_unique<EndpointWatch>(
        std::move(access), ServicePort{"prod", "workers", "grpc"}, "",
        [this](std::vector<WorkerAddress> workers) {
          MutexLock lock(&mutex_);
          ++told_;
          workers_.clear();
          for (const WorkerAddress& worker : workers) workers_ += worker.address + " ";
        },
        [this](bool answered) {
          MutexLock lock(&mutex_);
          answered_ = answered;
        });
  }
  // What was told last: "10.0.0.1:9001 " for each.
  std::string workers() {
    MutexLock lock(&mutex_);
    return workers_;
  }
  int told() {
    MutexLock lock(&mutex_);
    return told_;
  }
  std::optional<bool> answered() {
    MutexLock lock(&mutex_);
    return answered_;
  }
  bool Becomes(const std::string& workers) {
    return WaitFor([&] { return this->workers() == workers; });
  }
  bool IsWatching() {
    return WaitFor([&] { return server_->num_watches() >= 1; });
  }

  const std::filesystem::path folder_;
  std::unique_ptr<FakeApiServer> server_;
  Mutex mutex_;
  std::string workers_ PINGTI_GUARDED_BY(mutex_);
  int told_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::optional<bool> answered_ PINGTI_GUARDED_BY(mutex_);
  std::unique_ptr<EndpointWatch> watch_;
};

TEST_F(EndpointWatchTest, ListsAndFollowsChanges) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  ASSERT_TRUE(Becomes("10.0.0.1:9001 "));
  ASSERT_TRUE(IsWatching());
  server_->Put("a", Slice(Ready("10.0.0.1") + "," + Ready("10.0.0.2")));
  ASSERT_TRUE(Becomes("10.0.0.1:9001 10.0.0.2:9001 "));
  server_->Put("b", Slice(Ready("10.0.0.3")));
  ASSERT_TRUE(Becomes("10.0.0.1:9001 10.0.0.2:9001 10.0.0.3:9001 "));
  server_->Delete("a");
  ASSERT_TRUE(Becomes("10.0.0.3:9001 "));
  EXPECT_EQ(server_->lists(), 1);
}

TEST_F(EndpointWatchTest, ToldOfNoWorkersWhenThereAreNone) {
  Start();
  EXPECT_TRUE(WaitFor([&] { return told() == 1; }));
  EXPECT_EQ(workers(), "");
}

TEST_F(EndpointWatchTest, AListComesInPages) {
  server_->SetPageSize(2);
  std::string all;
  for (int i = 1; i <= 5; ++i) {
    server_->Put(Concat("slice-", i), Slice(Ready(Concat("10.0.0.", i))));
    all += Concat("10.0.0.", i, ":9001 ");
  }
  Start();
  EXPECT_TRUE(Becomes(all));
  EXPECT_EQ(server_->lists(), 3);
}

TEST_F(EndpointWatchTest, AWatchThatEndsGoesOnWhereItWas) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  ASSERT_TRUE(IsWatching());
  server_->EndWatches();
  server_->Put("a", Slice(Ready("10.0.0.2")));  // perhaps between two watches
  EXPECT_TRUE(Becomes("10.0.0.2:9001 "));
  EXPECT_TRUE(IsWatching());
  EXPECT_EQ(server_->lists(), 1);
}

TEST_F(EndpointWatchTest, ABookmarkSpares410) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  ASSERT_TRUE(IsWatching());
  server_->ChangeAnotherService();
  server_->SendBookmarks();
  server_->Put("a", Slice(Ready("10.0.0.2")));  // behind the bookmark: once it came, that came
  ASSERT_TRUE(Becomes("10.0.0.2:9001 "));
  server_->ChangeAnotherService();
  server_->SendBookmarks();
  server_->Compact();
  server_->EndWatches();
  ASSERT_TRUE(WaitFor([&] { return server_->watches_begun() >= 2; }));
  ASSERT_TRUE(IsWatching());
  EXPECT_EQ(server_->lists(), 1);
}

TEST_F(EndpointWatchTest, AVersionThatIsGoneMeansANewList) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  ASSERT_TRUE(IsWatching());
  EXPECT_EQ(answered(), true);
  server_->Stop();
  EXPECT_TRUE(WaitFor([&] { return answered() == false; }));
  server_->Put("a", Slice(Ready("10.0.0.2")));
  server_->Delete("a");
  server_->Put("b", Slice(Ready("10.0.0.3")));
  server_->Compact();
  EXPECT_EQ(workers(), "10.0.0.1:9001 ") << "a server that is away takes nothing away";
  server_->StartAgain();
  EXPECT_TRUE(Becomes("10.0.0.3:9001 ")) << "what was deleted meanwhile is gone";
  EXPECT_EQ(answered(), true);
  EXPECT_EQ(server_->lists(), 2);
}

TEST_F(EndpointWatchTest, AVersionThatExpiresWithinAWatchMeansANewList) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  ASSERT_TRUE(IsWatching());
  server_->ExpireWatches();
  ASSERT_TRUE(WaitFor([&] { return server_->lists() == 2; }));
  server_->Put("a", Slice(Ready("10.0.0.2")));
  EXPECT_TRUE(Becomes("10.0.0.2:9001 "));
}

TEST_F(EndpointWatchTest, TheTokenIsReadAnew) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  ASSERT_TRUE(IsWatching());
  server_->RotateToken("second");
  server_->EndWatches();
  server_->Put("a", Slice(Ready("10.0.0.2")));
  EXPECT_TRUE(Becomes("10.0.0.2:9001 "));
  EXPECT_TRUE(IsWatching());
  EXPECT_EQ(server_->unauthorized(), 0);
}

TEST_F(EndpointWatchTest, ASilentConnectionIsGivenUp) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  server_->SetSilent(true);
  KubernetesAccess access = server_->access();
  access.watch_time = std::chrono::seconds(0);
  access.patience = std::chrono::milliseconds(300);
  Start(access);
  ASSERT_TRUE(WaitFor([&] { return server_->watches_begun() >= 1; }));
  server_->Put("a", Slice(Ready("10.0.0.2")));  // this watch never tells
  server_->SetSilent(false);
  EXPECT_TRUE(Becomes("10.0.0.2:9001 "));
}

TEST_F(EndpointWatchTest, WhatIsNoEventMeansANewTryAndNoLoss) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  Start();
  for (
      const char* line :
      {"no json", "[]", "{}", R"({"type":"ADDED","object":{}})",
       R"({"type":"ADDED","object":{"metadata":{"name":"x"},"ports":[{"name":"grpc","port":1}],"endpoints":[1]}})",
       R"({"type":"ERROR","object":{"code":500}})"}) {
    ASSERT_TRUE(IsWatching()) << line;
    const int begun = server_->watches_begun();
    server_->SendLine(line);
    ASSERT_TRUE(WaitFor([&] { return server_->watches_begun() > begun; })) << line;
  }
  EXPECT_EQ(workers(), "10.0.0.1:9001 ");
  server_->Put("a", Slice(Ready("10.0.0.2")));
  EXPECT_TRUE(Becomes("10.0.0.2:9001 "));
}

TEST_F(EndpointWatchTest, AServerOfAnotherAuthorityIsNotAsked) {
  server_->Put("a", Slice(Ready("10.0.0.1")));
  const testing::TestCertificate other("other", nullptr);
  other.Write((folder_ / "other.pem").string(), (folder_ / "other.key").string());
  KubernetesAccess access = server_->access();
  access.ca_file = (folder_ / "other.pem").string();
  Start(access);
  // The right authorities come to the file, as when they are renewed.
  std::filesystem::copy_file(folder_ / "ca.pem", folder_ / "new.pem");
  EXPECT_EQ(server_->lists(), 0);
  std::filesystem::rename(folder_ / "new.pem", folder_ / "other.pem");
  EXPECT_TRUE(Becomes("10.0.0.1:9001 "));
}

TEST_F(EndpointWatchTest, EndsAtOnceWhateverItDoes) {
  for (int i = 0; i < 50; ++i) {  // at many moments of its way to the first watch
    Start();
    WaitFor([&] { return server_->lists() + server_->watches_begun() >= i; });
    watch_ = nullptr;
  }
  server_->Stop();
  KubernetesAccess access = server_->access();
  access.least_backoff = access.most_backoff = std::chrono::hours(1);
  Start(access);
  watch_ = nullptr;
}

}  // namespace
}  // namespace pingti::router
