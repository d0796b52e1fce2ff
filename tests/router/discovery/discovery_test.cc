#include "router/discovery/discovery.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "tests/router/discovery/fake_api_server.h"
#include "tests/testing/wait_for.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;

// What on_change was told, and what the name resolves to.
class Names {
 public:
  void Set(absl::StatusOr<std::vector<std::string>> answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  absl::StatusOr<std::vector<std::string>> Resolve() {
    std::lock_guard lock(mutex_);
    ++asked_;
    return answer_;
  }
  void Told(const std::vector<WorkerAddress>& workers) {
    std::lock_guard lock(mutex_);
    std::vector<std::string>& addresses = told_.emplace_back();
    for (const WorkerAddress& worker : workers) addresses.push_back(worker.address);
  }
  std::vector<std::vector<std::string>> told() {
    std::lock_guard lock(mutex_);
    return told_;
  }
  int asked() {
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  std::mutex mutex_;
  absl::StatusOr<std::vector<std::string>> answer_{std::vector<std::string>{}};
  std::vector<std::vector<std::string>> told_;
  int asked_ = 0;
};

std::unique_ptr<Discovery> Start(const std::vector<std::string>& entries, Names* names,
                                 const KubernetesAccess& kubernetes = {}) {
  DiscoveryOptions options;
  options.dns_interval = milliseconds(2);
  options.resolve = [names](const std::string&, const std::string&) { return names->Resolve(); };
  options.kubernetes = kubernetes;
  return *Discovery::Start(entries, options, [names](const std::vector<WorkerAddress>& workers) {
    names->Told(workers);
  });
}

TEST(Discovery, StaticEntriesAreToldOnce) {
  Names names;
  const auto discovery = Start({"b:2", "a:1"}, &names);
  ASSERT_TRUE(testing::WaitFor([&] { return names.told().size() == 1; }));
  EXPECT_EQ(names.told()[0], (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_EQ(names.asked(), 0);
}

TEST(Discovery, DnsNamesAreAskedAgain) {
  Names names;
  names.Set(std::vector<std::string>{"10.0.0.1:9"});
  const auto discovery = Start({"dns:workers:9"}, &names);
  ASSERT_TRUE(testing::WaitFor([&] { return names.told().size() == 1; }));
  names.Set(std::vector<std::string>{"10.0.0.2:9", "10.0.0.1:9"});
  ASSERT_TRUE(testing::WaitFor([&] { return names.told().size() == 2; }));
  EXPECT_EQ(names.told()[1], (std::vector<std::string>{"10.0.0.1:9", "10.0.0.2:9"}));
}

TEST(Discovery, AFailingNameKeepsItsAddresses) {
  Names names;
  names.Set(std::vector<std::string>{"10.0.0.1:9"});
  const auto discovery = Start({"dns:workers:9"}, &names);
  ASSERT_TRUE(testing::WaitFor([&] { return names.told().size() == 1; }));
  names.Set(absl::UnavailableError("no DNS"));
  const int asked = names.asked();
  ASSERT_TRUE(testing::WaitFor([&] { return names.asked() > asked + 2; }));
  EXPECT_EQ(names.told().size(), 1u);
}

TEST(Discovery, TellsWhichEntriesAnswer) {
  Names names;
  names.Set(std::vector<std::string>{"10.0.0.1:9"});
  std::mutex mutex;
  std::map<std::string, bool> answers;
  DiscoveryOptions options;
  options.dns_interval = milliseconds(2);
  options.resolve = [&](const std::string&, const std::string&) { return names.Resolve(); };
  options.on_answer = [&](const std::string& entry, bool answered) {
    std::lock_guard lock(mutex);
    answers[entry] = answered;
  };
  const auto said = [&](bool answered) {
    return testing::WaitFor([&] {
      std::lock_guard lock(mutex);
      return answers == std::map<std::string, bool>{{"dns:workers:9", answered}};
    });
  };
  const auto discovery = *Discovery::Start({"a:1", "dns:workers:9"}, options,
                                           [](const std::vector<WorkerAddress>&) {});
  EXPECT_TRUE(said(true));
  names.Set(absl::UnavailableError("no DNS"));
  EXPECT_TRUE(said(false));
  names.Set(std::vector<std::string>{"10.0.0.1:9"});
  EXPECT_TRUE(said(true));
}

TEST(Discovery, RefusesEntriesWithoutHostOrPort) {
  for (const char* entry : {"", "host", ":80", "host:", "dns:host", "kubernetes:workers",
                            "kubernetes:/workers:1", "kubernetes:prod/:1", "kubernetes:a&b:1"}) {
    const absl::Status status = Discovery::Start({entry}, {}, nullptr).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << entry;
  }
}

TEST(Discovery, RefusesAddressesThatNothingCanListenOn) {
  for (const char* entry : {"host:0", "host:65536", "host:-1", "host:+1", "host:80x", "host:http",
                            "dns:host:99999", "dns:host:http", "::1:80", "[::1:80", "a:b:80"}) {
    const absl::Status status = Discovery::Start({entry}, {}, nullptr).status();
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << entry;
    EXPECT_NE(status.message().find(entry), absl::string_view::npos) << status;
  }
  Names names;
  const auto discovery = Start({"[::1]:65535", "host:1"}, &names);
  ASSERT_TRUE(testing::WaitFor([&] { return names.told().size() == 1; }));
  EXPECT_EQ(names.told()[0], (std::vector<std::string>{"[::1]:65535", "host:1"}));
}

TEST(Discovery, KubernetesOutsideOfAClusterIsRefusedByName) {
  DiscoveryOptions options;
  options.kubernetes.url = "https://localhost:1";
  options.kubernetes.namespace_file = "/nowhere/namespace";
  const absl::Status status = Discovery::Start({"kubernetes:workers:1"}, options, nullptr).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_NE(status.message().find("/nowhere/namespace"), absl::string_view::npos) << status;
}

TEST(Discovery, AllSourcesAreOneList) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / Concat("disc-", ::getpid());
  std::filesystem::create_directories(folder);
  {
    testing::FakeApiServer server(folder);
    server.Put("s", R"(,"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.7"]}])");
    Names names;
    names.Set(std::vector<std::string>{"10.0.0.1:9"});
    const auto discovery =
        Start({"a:1", "dns:workers:9", "kubernetes:workers:9001"}, &names, server.access());
    const std::vector<std::string> all = {"10.0.0.1:9", "10.0.0.7:9001", "a:1"};
    ASSERT_TRUE(testing::WaitFor([&] {
      const auto told = names.told();
      return !told.empty() && told.back() == all;
    }));
    server.Delete("s");
    ASSERT_TRUE(testing::WaitFor([&] { return names.told().back().size() == 2; }));
  }
  std::filesystem::remove_all(folder);
}

TEST(ResolveWithSystem, KnowsLocalhost) {
  const absl::StatusOr<std::vector<std::string>> addresses = ResolveWithSystem("localhost", "80");
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_FALSE(addresses->empty());
}

}  // namespace
}  // namespace pingti::router
