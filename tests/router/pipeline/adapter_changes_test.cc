// A change of adapters is asked of every worker of the model, and told once all have answered.
#include "router/pipeline/adapter_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "router/api/api_error.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

using ::testing::HasSubstr;

class AskedChannel final : public WorkerChannel {
 public:
  void Submit(std::vector<Sequence>) override {}
  void Cancel(uint64_t) override {}
  void ChangeAdapter(const AdapterChange& change, const ChangeDone& done) override {
    asked = change;
    answer = done;
  }
  AdapterChange asked;
  ChangeDone answer;
};

class AdapterChangesTest : public ::testing::Test {
 protected:
  AdapterChangesTest() {
    registry_.Connect(
        [this](LinkId id, const std::string& address) {
          links_[address] = id;
          return channels_[address] = std::make_shared<AskedChannel>();
        },
        [] {});
    registry_.SetAddresses({"a", "b"});
  }

  void Ready(const std::string& address, const std::string& model = "m") {
    auto served = std::make_shared<ServedModel>();
    served->id = model;
    served->fingerprint = model;
    WorkerInfo info;
    info.model = served;
    registry_.OnReady(links_.at(address), info);
  }
  absl::Status Ask(std::string_view model = "") {
    return ChangeAdapter(registry_, change_, model,
                         [this](const std::vector<AdapterChangeResult>& results) {
                           ++told_;
                           outcome_ = ChangeStatus(change_, results);
                         });
  }

  testing::FakeClock clock_;
  std::map<std::string, LinkId> links_;
  std::map<std::string, std::shared_ptr<AskedChannel>> channels_;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  WorkerRegistry registry_{{}, &clock_, &metrics_};
  AdapterChange change_{true, "sql", "/adapters/sql"};
  int told_ = 0;
  absl::Status outcome_;
};

TEST_F(AdapterChangesTest, EveryReadyWorkerIsAskedAndTheAnswerWaitsForAll) {
  EXPECT_TRUE(absl::IsUnavailable(Ask()));
  Ready("a");
  Ready("b");
  ASSERT_TRUE(Ask().ok());
  EXPECT_EQ(channels_["b"]->asked.path, "/adapters/sql");
  channels_["b"]->answer(absl::OkStatus());
  EXPECT_EQ(told_, 0);
  channels_["a"]->answer(absl::OkStatus());
  EXPECT_EQ(told_, 1);
  EXPECT_TRUE(outcome_.ok()) << outcome_;
}

TEST_F(AdapterChangesTest, AnErrorNamesItsWorkerAndHowManyHaveDoneIt) {
  Ready("a");
  Ready("b");
  ASSERT_TRUE(Ask().ok());
  channels_["a"]->answer(absl::OkStatus());
  channels_["b"]->answer(absl::NotFoundError("no such file"));
  EXPECT_TRUE(absl::IsInvalidArgument(outcome_));
  EXPECT_THAT(std::string(outcome_.message()),
              HasSubstr("loaded at 1 of 2 workers; at b: no such file"));
}

TEST_F(AdapterChangesTest, OnlyTheClientsMistakeIsInAField) {
  Ready("a");
  ASSERT_TRUE(Ask().ok());
  channels_["a"]->answer(absl::NotFoundError("no such file"));
  EXPECT_EQ(ErrorParam(outcome_), "lora_path");
  EXPECT_EQ(ErrorCode(outcome_), "invalid_value");
  ASSERT_TRUE(Ask().ok());
  channels_["a"]->answer(absl::UnavailableError("connection refused"));
  EXPECT_TRUE(absl::IsUnavailable(outcome_));
  EXPECT_EQ(ErrorParam(outcome_), "");
  EXPECT_EQ(ErrorCode(outcome_), "worker_unavailable");
}

TEST_F(AdapterChangesTest, AWorkerThatHadItBeforeIsNoErrorUnlessAllHad) {
  Ready("a");
  Ready("b");
  ASSERT_TRUE(Ask().ok());
  channels_["a"]->answer(absl::AlreadyExistsError("is loaded already"));
  channels_["b"]->answer(absl::OkStatus());
  EXPECT_TRUE(outcome_.ok()) << outcome_;
  ASSERT_TRUE(Ask().ok());
  channels_["a"]->answer(absl::AlreadyExistsError("is loaded already"));
  channels_["b"]->answer(absl::AlreadyExistsError("is loaded already"));
  EXPECT_THAT(std::string(outcome_.message()), HasSubstr("is loaded already"));
}

TEST_F(AdapterChangesTest, OfSeveralModelsOneMustBeNamed) {
  Ready("a", "m");
  Ready("b", "n");
  EXPECT_THAT(std::string(Ask().message()), HasSubstr("'base_model_name'"));
  ASSERT_TRUE(Ask("n").ok());
  EXPECT_EQ(channels_["a"]->answer, nullptr);
  channels_["b"]->answer(absl::OkStatus());
  EXPECT_TRUE(outcome_.ok());
}

}  // namespace
}  // namespace pingti::router
