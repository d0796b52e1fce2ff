#include "router/discovery/discovery.h"

#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <vector>

#include "tests/testing/fake_worker.h"

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
  void Told(const std::vector<std::string>& addresses) {
    std::lock_guard lock(mutex_);
    told_.push_back(addresses);
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

std::unique_ptr<Discovery> Start(std::vector<std::string> entries, Names* names) {
  return *Discovery::Start(
      std::move(entries), milliseconds(2),
      [names](const std::string&, const std::string&) { return names->Resolve(); },
      [names](const std::vector<std::string>& addresses) { names->Told(addresses); });
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

TEST(Discovery, RefusesEntriesWithoutHostOrPort) {
  for (const char* entry : {"", "host", ":80", "host:", "dns:host"}) {
    const absl::Status status =
        Discovery::Start({entry}, milliseconds(1), nullptr, nullptr).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << entry;
  }
}

TEST(ResolveWithSystem, KnowsLocalhost) {
  const absl::StatusOr<std::vector<std::string>> addresses = ResolveWithSystem("localhost", "80");
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_FALSE(addresses->empty());
}

}  // namespace
}  // namespace pingti::router
