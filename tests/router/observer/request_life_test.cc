// What observers are told, and what metrics make of it.
#include "router/observer/request_life.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/observer/access_log.h"
#include "router/observer/metrics_watcher.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Writes down what it hears.
class Notes final : public RequestWatcher {
 public:
  std::vector<std::string> heard;

  std::unique_ptr<RequestObserver> OnReceived(const RequestInfo& request) override {
    heard.push_back(Concat("received ", request.endpoint));
    return std::make_unique<Observer>(this);
  }

 private:
  class Observer final : public RequestObserver {
   public:
    explicit Observer(Notes* notes) : notes_(notes) {}
    void OnAccepted(const RequestInfo&, const RequestAccepted& event) override {
      notes_->heard.push_back(Concat("accepted ", event.model_id));
    }
    void OnTokenized(const RequestInfo&, const RequestTokenized& event) override {
      notes_->heard.push_back(Concat("tokenized ", event.prompt_tokens));
    }
    void OnEnded(const RequestInfo& request, const RequestEnded& event) override {
      notes_->heard.push_back(Concat("ended ", request.model, " ", event.code));
    }

   private:
    Notes* const notes_;
  };
};

class RequestLifeTest : public ::testing::Test {
 protected:
  std::unique_ptr<RequestLife> Receive(Transport transport) {
    return std::make_unique<RequestLife>(
        RequestInfo{.transport = transport, .endpoint = "/v1/x", .id = "req-1"}, watchers_,
        &clock_);
  }
  // The value of the sample with this name and these labels; -1: there is none.
  double Sample(const std::string& name) {
    const std::string text = "\n" + registry_.Serialize();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }

  testing::FakeClock clock_;
  metrics::Registry registry_;
  metrics::RouterMetrics metrics_{&registry_};
  MetricsWatcher counter_{&metrics_};
  Notes notes_;
  std::vector<RequestWatcher*> watchers_{&counter_, &notes_};
};

TEST_F(RequestLifeTest, EndsOnceWithTheTransportsCode) {
  {
    const auto life = Receive(Transport::kHttp);
    life->SetModel("m");
    life->Accepted("m", "m-1");
    life->Tokenized(5);
    life->End(absl::OkStatus());
    life->End(absl::InternalError("late"));
  }
  Receive(Transport::kGrpc)->End(absl::ResourceExhaustedError("full"));
  Receive(Transport::kHttp)->End(FieldError("n", "no"));
  EXPECT_EQ(notes_.heard,
            (std::vector<std::string>{"received /v1/x", "accepted m-1", "tokenized 5",
                                      "ended m 200", "received /v1/x", "ended  RESOURCE_EXHAUSTED",
                                      "received /v1/x", "ended  400"}));
}

TEST_F(RequestLifeTest, OneThatNobodyEndsIsAClientThatLeft) {
  Receive(Transport::kHttp).reset();
  EXPECT_EQ(notes_.heard.back(), "ended  499");
  EXPECT_EQ(Sample("pingti_router_client_disconnects_total"), 1);
}

TEST_F(RequestLifeTest, TheModelsNameIsCut) {
  const auto life = Receive(Transport::kHttp);
  life->SetModel(std::string(10'000'000, 'm'));
  EXPECT_LT(life->info().model.size(), 140u);
}

TEST_F(RequestLifeTest, ModelsBeyondTheFirstFewShareTheirSeries) {
  const auto ask = [&](const std::string& model) {
    const auto life = Receive(Transport::kHttp);
    life->Accepted(model, model);
    life->Tokenized(1);
    life->Queued({clock_.Now(), 0});
    life->End(absl::OkStatus());
  };
  for (size_t i = 0; i < ModelLabels::kMost; ++i) ask(Concat("m", i));
  for (int i = 0; i < 1000; ++i) ask(Concat("adapter-", i));
  ask("m0");
  EXPECT_EQ(Sample("pingti_router_prompt_tokens_total{model=\"m0\"}"), 2);
  EXPECT_EQ(Sample("pingti_router_prompt_tokens_total{model=\"m255\"}"), 1);
  EXPECT_EQ(Sample("pingti_router_prompt_tokens_total{model=\"other\"}"), 1000);
  EXPECT_EQ(Sample("pingti_router_queued_requests{model=\"other\"}"), 0);
  EXPECT_EQ(Sample("pingti_router_requests_total{code=\"200\",endpoint=\"/v1/x\",model=\"other\"}"),
            1000);
  EXPECT_EQ(registry_.Serialize().find("adapter-"), std::string::npos);
}

TEST_F(RequestLifeTest, MetricsCountWhatHappened) {
  const auto life = Receive(Transport::kHttp);
  life->Accepted("alias", "m");
  EXPECT_EQ(Sample("pingti_router_requests_in_flight"), 1);
  life->Tokenized(7);
  EXPECT_EQ(Sample("pingti_router_prompt_tokens_total{model=\"m\"}"), 0);  // not admitted yet
  const TimePoint queued = clock_.Now();
  life->Queued({queued, 0});
  life->Queued({queued, 1});
  EXPECT_EQ(Sample("pingti_router_queued_requests{model=\"m\"}"), 2);
  clock_.Advance(milliseconds(20));
  life->Placed({clock_.Now(), 0, "worker:9001", queued});
  EXPECT_EQ(Sample("pingti_router_queued_requests{model=\"m\"}"), 1);
  clock_.Advance(milliseconds(30));
  const TimePoint first = clock_.Now();
  life->Tokens({first, 0, 1, std::nullopt});
  clock_.Advance(milliseconds(40));
  life->Tokens({clock_.Now(), 0, 2, first});
  life->Resumed({clock_.Now(), 0, 3, /*from_prompt=*/false, absl::UnavailableError("lost")});
  life->Resumed({clock_.Now(), 0, 0, /*from_prompt=*/true, absl::UnavailableError("lost")});
  life->End(absl::OkStatus(), {.prompt_tokens = 7, .completion_tokens = 3});
  EXPECT_EQ(Sample("pingti_router_queued_requests{model=\"m\"}"), 0);  // the second never left it
  EXPECT_EQ(Sample("pingti_router_prompt_tokens_total{model=\"m\"}"), 7);
  EXPECT_EQ(Sample("pingti_router_output_tokens_total{model=\"m\"}"), 3);
  EXPECT_EQ(Sample("pingti_router_resumed_sequences_total"), 1);
  EXPECT_EQ(Sample("pingti_router_restarted_searches_total"), 1);
  EXPECT_EQ(Sample("pingti_router_requests_in_flight"), 0);
  EXPECT_NEAR(Sample("pingti_router_queue_time_seconds_sum{model=\"m\"}"), 0.02, 1e-6);
  EXPECT_NEAR(Sample("pingti_router_time_to_first_token_seconds_sum{model=\"m\"}"), 0.05, 1e-6);
  EXPECT_NEAR(Sample("pingti_router_inter_token_latency_seconds_sum{model=\"m\"}"), 0.02, 1e-6);
  EXPECT_EQ(Sample("pingti_router_requests_total{code=\"200\",endpoint=\"/v1/x\",model=\"alias\"}"),
            1);
}

TEST_F(RequestLifeTest, AFirstTokenMeetsTheObjectiveOfItsClassOrMissesIt) {
  const auto answer = [&](milliseconds objective, milliseconds wait) {
    const auto life = Receive(Transport::kHttp);
    life->SetTenant("key", "chat");
    life->Accepted("m", "m");
    life->SetFirstTokenObjective(objective);
    clock_.Advance(wait);
    life->Tokens({clock_.Now(), 0, 1, std::nullopt});
    clock_.Advance(seconds(9));
    life->Tokens({clock_.Now(), 1, 1, std::nullopt});  // another choice's first
  };
  answer(milliseconds(100), milliseconds(100));
  answer(milliseconds(100), milliseconds(101));
  answer(milliseconds(100), milliseconds(102));
  answer(milliseconds(0), milliseconds(1));  // a class without one
  const std::string name = "pingti_router_class_first_tokens_total";
  EXPECT_EQ(Sample(name + R"({objective="met",tenant_class="chat"})"), 1);
  EXPECT_EQ(Sample(name + R"({objective="missed",tenant_class="chat"})"), 2);
}

TEST_F(RequestLifeTest, NamesOfModelsThatDoNotExistStayOutOfTheLabels) {
  const auto life = Receive(Transport::kHttp);
  life->SetModel("made-up");
  life->End(absl::NotFoundError("no such model"));
  EXPECT_EQ(Sample("pingti_router_requests_total{code=\"404\",endpoint=\"/v1/x\",model=\"\"}"), 1);
  EXPECT_EQ(registry_.Serialize().find("made-up"), std::string::npos);
}

TEST(RateLimitTest, LetsSoManyThroughEachSecondAndCountsTheRest) {
  testing::FakeClock clock;
  RateLimit limit(2);
  const auto take = [&] { return limit.Take(clock.Now()); };
  EXPECT_TRUE(take());
  EXPECT_TRUE(take());
  EXPECT_FALSE(take());
  EXPECT_FALSE(take());
  clock.Advance(seconds(1));
  EXPECT_TRUE(take());
  EXPECT_EQ(limit.TakeSkipped(), 2);
  EXPECT_EQ(limit.TakeSkipped(), 0);
}

}  // namespace
}  // namespace pingti::router
