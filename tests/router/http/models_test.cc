// Models that the router's own settings name, as an HTTP client sees them.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

class ConfiguredModels : public ::testing::Test {
 protected:
  // With one worker, of the model "fake".
  void Start(InProcessRouterOptions options = {}) {
    FakeWorkerOptions worker;
    worker.answer = [](const worker::v1::Sequence&) { return ByteTokens("yes"); };
    worker_ = std::make_unique<FakeWorker>(worker);
    options.models = {"fake", "absent"};
    options.model_aliases = {"deepseek-reasoner=fake", "deepseek-chat=away"};
    router_ = std::make_unique<InProcessRouter>(std::move(options));
  }
  void BringWorker() { router_->registry().SetAddresses({worker_->address()}); }

  net::HttpResponse Ask(const std::string& model) {
    return router_->Post("/v1/completions",
                         Concat(R"({"prompt":"hello","max_tokens":3,"model":")", model, R"("})"));
  }
  static std::string CodeOf(const net::HttpResponse& response) {
    const boost::json::object error = boost::json::parse(response.body).at("error").as_object();
    const boost::json::value& code = error.at("code");
    return code.is_string() ? std::string(code.as_string().c_str()) : "";
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(ConfiguredModels, AreUnavailableRatherThanUnknown) {
  Start();
  BringWorker();
  ASSERT_TRUE(router_->WaitReady(1));
  for (const char* model : {"absent", "deepseek-chat", "away"}) {
    const net::HttpResponse response = Ask(model);
    EXPECT_EQ(response.status, 503) << model << response.body;
    EXPECT_EQ(CodeOf(response), "no_worker");
    bool retry_after = false;
    for (const auto& [name, value] : response.headers) retry_after |= name == "retry-after";
    EXPECT_TRUE(retry_after) << model;
    EXPECT_EQ(router_->Get(Concat("/v1/models/", model)).status, 503);
  }
  EXPECT_EQ(Ask("unheard-of").status, 404);
  EXPECT_EQ(Ask("fake").status, 200);
}

TEST_F(ConfiguredModels, AnAnswerSaysWhatAnAliasMeans) {
  Start();
  BringWorker();
  ASSERT_TRUE(router_->WaitReady(1));
  for (const char* name : {"deepseek-reasoner", "fake-alias", "fake"}) {
    const net::HttpResponse response = Ask(name);
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(boost::json::parse(response.body).at("model"), "fake") << name;
  }
}

TEST_F(ConfiguredModels, AreListedWithTheirAliases) {
  Start();
  BringWorker();
  ASSERT_TRUE(router_->WaitReady(1));
  std::string ids;
  const boost::json::value body = boost::json::parse(router_->Get("/v1/models").body);
  for (const boost::json::value& model : body.at("data").as_array()) {
    ids += Concat(ids.empty() ? "" : " ", model.at("id").as_string().c_str());
    const bool is_served = model.as_object().contains("max_model_len");
    const std::string id = model.at("id").as_string().c_str();
    EXPECT_EQ(is_served, id != "absent" && id != "deepseek-chat") << id;
  }
  EXPECT_EQ(ids, "fake fake-alias absent deepseek-chat deepseek-reasoner");
}

// The models of cards are built once and shared, but for their names.
TEST_F(ConfiguredModels, WorkersOfOneCheckpointKeepTheirOwnIds) {
  Start();
  FakeWorkerOptions options;
  options.model_id = "absent";
  options.answer = [](const worker::v1::Sequence&) { return ByteTokens("no"); };
  FakeWorker other(options);
  router_->registry().SetAddresses({worker_->address(), other.address()});
  ASSERT_TRUE(router_->WaitReady(2));
  for (const char* model : {"fake", "absent"}) {
    const net::HttpResponse response = Ask(model);
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(boost::json::parse(response.body).at("model"), model);
  }
  int listed = 0;
  const boost::json::value body = boost::json::parse(router_->Get("/v1/models").body);
  for (const boost::json::value& model : body.at("data").as_array()) {
    const std::string_view id = model.at("id").as_string().c_str();
    if (id == "fake" || id == "absent") listed += model.as_object().contains("max_model_len");
  }
  EXPECT_EQ(listed, 2);
}

TEST_F(ConfiguredModels, ARequestMayWaitForTheFirstWorker) {
  InProcessRouterOptions options;
  options.generation.model_wait = std::chrono::minutes(5);
  Start(std::move(options));
  auto answer = std::async(std::launch::async, [this] { return Ask("deepseek-reasoner"); });
  // Unknown models do not wait; by then the other request is most likely waiting.
  EXPECT_EQ(Ask("unheard-of").status, 503) << "no worker is known";
  BringWorker();
  const net::HttpResponse response = answer.get();
  EXPECT_EQ(response.status, 200) << response.body;
}

TEST_F(ConfiguredModels, WaitingHasAnEnd) {
  InProcessRouterOptions options;
  options.generation.model_wait = std::chrono::milliseconds(50);
  Start(std::move(options));
  EXPECT_EQ(Ask("fake").status, 503);
}

TEST_F(ConfiguredModels, WhatWaitsIsToldWhenTheRouterStops) {
  InProcessRouterOptions options;
  options.generation.model_wait = std::chrono::minutes(5);
  Start(std::move(options));
  auto answer = std::async(std::launch::async, [this] { return Ask("fake"); });
  // Either it waits by now, or it comes while nothing else does: it is told in both cases.
  while (answer.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
    router_->service().CancelAll(absl::UnavailableError("the router stops"));
  }
  EXPECT_EQ(answer.get().status, 503);
}

}  // namespace
}  // namespace pingti::testing
