// A real worker server on a fake model, spoken to over gRPC as a router does.
#include "worker/server/worker_server.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "common/net/http_client.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/source_dir.h"
#include "tests/worker/server/session_client.h"
#include "worker/server/admin_page.h"
#include "worker/server/model_card.h"

namespace pingti::worker {
namespace {

ServedCard MakeCard() {
  ServedCard served;
  served.card.set_model_id("fake");
  served.card.set_fingerprint("fake-print");
  served.card.set_max_context_tokens(512);
  served.card.mutable_tokenizer()->set_sha256("abc");
  served.assets["abc"] = std::string((2 << 20) + 17, 'x');
  return served;
}

class WorkerServerTest : public ::testing::Test {
 protected:
  void Start(std::function<void(WorkerServerOptions*)> change = nullptr) {
    ASSERT_TRUE(model.Allocate(256, 4, 64, 8).ok());
    WorkerServerOptions options;
    options.engine.budget = {64, 8};
    options.engine.num_kv_blocks = 256;
    options.engine.kv_block_tokens = 4;
    options.engine.max_context_tokens = 512;
    options.engine.eos_token_ids = {2};
    options.report_interval = std::chrono::milliseconds(20);
    if (change) change(&options);
    auto started =
        WorkerServer::Start(&model, MakeCard(), RealClock(), &registry, admin.get(), options);
    ASSERT_TRUE(started.ok()) << started.status();
    server = std::move(started).value();
  }
  int Get(const std::string& path) {
    net::HttpClient client;
    const auto response = client.Send({.method = "GET",
                                       .url = Concat("http://127.0.0.1:", admin->port(), path),
                                       .headers = {},
                                       .body = ""});
    return response.ok() ? response->status : 0;
  }

  testing::FakeModel model;
  metrics::Registry registry;
  const std::unique_ptr<AdminPage> admin = *AdminPage::Start({}, &registry);
  std::unique_ptr<WorkerServer> server;
};

TEST_F(WorkerServerTest, ItsAdminPageIsHealthyAndNotReadyUntilItServes) {
  EXPECT_EQ(Get("/healthz"), 200);
  EXPECT_EQ(Get("/readyz"), 503);
  Start();
  EXPECT_EQ(Get("/readyz"), 200);
  EXPECT_EQ(Get("/metrics"), 200);
  EXPECT_NE(registry.Serialize().find("pingti_worker_kv_blocks{model=\"fake\"} 256"),
            std::string::npos);
  server = nullptr;
  EXPECT_EQ(Get("/readyz"), 503);
}

TEST_F(WorkerServerTest, ServesTheCardAndItsAssets) {
  Start();
  Client client(server->port());
  grpc::ClientContext context;
  v1::ModelCard card;
  ASSERT_TRUE(client.stub()->GetModelCard(&context, {}, &card).ok());
  EXPECT_EQ(card.model_id(), "fake");
  v1::GetModelAssetRequest request;
  request.set_sha256("abc");
  grpc::ClientContext asset_context;
  auto reader = client.stub()->GetModelAsset(&asset_context, request);
  v1::AssetChunk chunk;
  std::string bytes;
  int num_chunks = 0;
  while (reader->Read(&chunk)) {
    EXPECT_LE(chunk.data().size(), 1u << 20);
    bytes += chunk.data();
    ++num_chunks;
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(bytes, MakeCard().assets["abc"]);
  EXPECT_EQ(num_chunks, 3);
  request.set_sha256("none");
  grpc::ClientContext missing_context;
  auto missing = client.stub()->GetModelAsset(&missing_context, request);
  EXPECT_FALSE(missing->Read(&chunk));
  EXPECT_EQ(missing->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(WorkerServerTest, OneStreamCarriesManySequences) {
  Start();
  Client client(server->port());
  client.Hello();
  for (uint64_t id = 1; id <= 12; ++id) client.Submit(id, {3, 4, static_cast<uint32_t>(id)}, 10);
  ASSERT_TRUE(client.ReadUntilFinished(12));
  for (uint64_t id = 1; id <= 12; ++id) {
    EXPECT_EQ(client.tokens_[id].size(), 10u);
    EXPECT_EQ(client.finishes_[id].reason(), v1::Finish::REASON_MAX_TOKENS);
    EXPECT_EQ(client.finishes_[id].usage().output_tokens(), 10u);
  }
  EXPECT_LT(client.num_step_outputs_, 100) << "one message a step for all, not one a token";
}

TEST_F(WorkerServerTest, WithAnOutputIntervalFewMessagesCarryTheSameTokens) {
  Start();
  std::map<uint32_t, std::map<uint64_t, std::vector<uint32_t>>> tokens;
  for (const uint32_t interval_ms : {0u, 1'000u}) {
    Client client(server->port());
    client.Hello();
    for (uint64_t id = 1; id <= 4; ++id) {
      client.Submit(id, {3, 4, static_cast<uint32_t>(id)}, 100, interval_ms);
    }
    ASSERT_TRUE(client.ReadUntilFinished(4));
    for (auto& [id, finish] : client.finishes_) EXPECT_EQ(finish.usage().output_tokens(), 100u);
    if (interval_ms > 0) {
      // Of each a first and a last one, and what was due while they ran.
      EXPECT_LT(client.num_step_outputs_, 50);
    }
    tokens[interval_ms] = client.tokens_;
  }
  EXPECT_EQ(tokens[0], tokens[1'000]);
}

TEST_F(WorkerServerTest, LoadReportsComeWithoutBeingAskedFor) {
  Start();
  Client client(server->port());
  client.Hello();
  client.Submit(9, {3, 4}, 3);
  int reports = 0;
  EXPECT_TRUE(client.ReadUntil([&](const v1::SessionResponse& response) {
    reports += response.has_load_report() ? 1 : 0;
    return reports >= 3 && response.load_report().includes_sequence_id() == 9;
  }));
}

TEST_F(WorkerServerTest, ARouterWithoutCreditGetsMergedOutputsLater) {
  Start();
  Client client(server->port());
  client.Hello(1);
  client.Submit(1, {3, 4}, 50);
  ASSERT_TRUE(client.ReadUntil([&](const auto&) { return client.num_step_outputs_ == 1; }));
  client.Submit(2, {3, 4}, 60);
  // The engine goes on meanwhile: load reports still flow and say so.
  ASSERT_TRUE(client.ReadUntil([](const v1::SessionResponse& response) {
    return response.load_report().includes_sequence_id() == 2 &&
           response.load_report().step() > 60 && response.load_report().running_sequences() == 0;
  }));
  EXPECT_EQ(client.num_step_outputs_, 1);
  v1::SessionRequest credit;
  credit.mutable_output_credit()->set_steps(1);
  client.stream()->Write(credit);
  ASSERT_TRUE(client.ReadUntilFinished(2));
  EXPECT_EQ(client.num_step_outputs_, 2) << "sixty steps in one message";
  EXPECT_EQ(client.tokens_[1].size(), 50u);
  EXPECT_EQ(client.tokens_[2].size(), 60u);
}

TEST_F(WorkerServerTest, BadMessagesEndTheSessionAndBadRequestsOnlyThemselves) {
  Start();
  {
    Client client(server->port());
    client.Hello(0, 99);
    EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  }
  {
    Client client(server->port());
    client.Submit(1, {3}, 1);
    EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  }
  Client client(server->port());
  client.Hello();
  client.Submit(1, {3, 4'000'000'000u}, 1);
  client.Submit(2, {}, 1);
  v1::SessionRequest grammar;
  v1::Sequence* sequence = grammar.mutable_submit()->add_sequences();
  sequence->set_sequence_id(3);
  sequence->add_prompt_token_ids(3);
  sequence->mutable_grammar()->set_regex("a*");
  client.stream()->Write(grammar);
  client.Submit(4, {3, 4}, 5);
  ASSERT_TRUE(client.ReadUntilFinished(4));
  EXPECT_EQ(client.finishes_[1].reason(), v1::Finish::REASON_REJECTED);
  EXPECT_NE(client.finishes_[1].message().find("prompt_token_ids[1]"), std::string::npos);
  EXPECT_EQ(client.finishes_[1].code(), 3u);
  EXPECT_EQ(client.finishes_[2].reason(), v1::Finish::REASON_REJECTED);
  EXPECT_NE(client.finishes_[3].message().find("grammar"), std::string::npos);
  EXPECT_EQ(client.finishes_[4].reason(), v1::Finish::REASON_MAX_TOKENS);
}

// Whatever one router sends, another's sequence gets all of its tokens.
TEST_F(WorkerServerTest, AHostileRouterEndsItsOwnSessionAlone) {
  Start();
  Client other(server->port());
  other.Hello();
  other.Submit(1, {3, 4, 5}, 400);
  const auto end_of = [&](const std::function<void(Client*)>& attack, uint32_t output_credit = 0) {
    Client client(server->port());
    client.Hello(output_credit);
    attack(&client);
    return client.Finish();
  };
  const auto submit = [](int count) {
    return [count](Client* client) {
      v1::SessionRequest request;
      for (int i = 0; i < count; ++i) request.mutable_submit()->add_sequences()->set_sequence_id(i);
      client->stream()->Write(request);
    };
  };
  grpc::Status status = end_of(submit(5'000));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "submit has 5000 sequences: expected at most 4096");

  status = end_of(submit(1'000'000));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("too many values"), std::string::npos);

  status = end_of([](Client* client) {
    v1::SessionRequest request;
    for (int i = 0; i < 70'000; ++i) request.mutable_cancel()->add_sequence_ids(i);
    client->stream()->Write(request);
  });
  EXPECT_EQ(status.error_message(), "cancel has 70000 ids: expected at most 65536");

  // Refusals that it gives no credit for.
  status = end_of(
      [](Client* client) {
        for (uint64_t round = 0;; ++round) {
          v1::SessionRequest request;
          for (uint64_t i = 0; i < 4'000; ++i) {
            request.mutable_submit()->add_sequences()->set_sequence_id(round * 4'000 + i);
          }
          if (!client->stream()->Write(request)) return;
        }
      },
      /*output_credit=*/1);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(status.error_message().find("wait for output_credit"), std::string::npos);

  ASSERT_TRUE(other.ReadUntilFinished(1));
  EXPECT_EQ(other.tokens_[1].size(), 400u);
}

TEST_F(WorkerServerTest, AnAnswerLargerThanAMessageComesInPartsAndTheSessionLives) {
  Start([](WorkerServerOptions* options) { options->max_message_bytes = 4'096; });
  for (const uint32_t routers_limit : {0u, 1'500u}) {
    Client client(server->port());
    v1::SessionRequest hello;
    hello.mutable_hello()->set_protocol_version(1);
    hello.mutable_hello()->set_max_message_bytes(routers_limit);
    client.stream()->Write(hello);
    v1::SessionRequest request;
    v1::Sequence* sequence = request.mutable_submit()->add_sequences();
    sequence->set_sequence_id(1);
    for (int i = 0; i < 400; ++i) sequence->add_prompt_token_ids(3 + i % 50);
    sequence->mutable_stop()->set_max_tokens(2);
    sequence->mutable_stop()->set_ignore_eos(true);
    sequence->mutable_logprobs()->set_enabled(true);
    sequence->mutable_logprobs()->set_prompt(true);
    sequence->mutable_logprobs()->set_top_logprobs(5);
    client.stream()->Write(request);
    const size_t most = routers_limit > 0 ? routers_limit : 4'096;
    int num_scores = 0;
    EXPECT_TRUE(client.ReadUntil([&](const v1::SessionResponse& response) {
      EXPECT_LE(response.ByteSizeLong(), most);
      for (const auto& output : response.step_output().outputs()) {
        num_scores += output.prompt_logprobs_size();
      }
      return client.finishes_.size() == 1;
    }));
    EXPECT_EQ(client.finishes_[1].reason(), v1::Finish::REASON_MAX_TOKENS);
    EXPECT_EQ(client.tokens_[1].size(), 2u);
    EXPECT_EQ(num_scores, 400);
    EXPECT_GT(client.num_step_outputs_, 4);
    client.Submit(2, {3, 4}, 5);
    EXPECT_TRUE(client.ReadUntilFinished(2));
  }
}

TEST_F(WorkerServerTest, CancelEndsOneSequence) {
  Start();
  Client client(server->port());
  client.Hello();
  client.Submit(1, {3, 4}, 500);
  v1::SessionRequest cancel;
  cancel.mutable_cancel()->add_sequence_ids(1);
  client.stream()->Write(cancel);
  ASSERT_TRUE(client.ReadUntilFinished(1));
  // It may have ended first on a slow machine.
  EXPECT_TRUE(client.finishes_[1].reason() == v1::Finish::REASON_CANCELLED ||
              client.tokens_[1].size() == 500u);
}

TEST_F(WorkerServerTest, AVanishedRouterLeavesNothingBehind) {
  Start();
  Client watcher(server->port());
  watcher.Hello();
  {
    Client client(server->port());
    client.Hello();
    for (uint64_t id = 1; id <= 8; ++id) client.Submit(id, {3, 4}, 500);
    ASSERT_TRUE(client.ReadUntil([&](const auto&) { return client.num_step_outputs_ > 0; }));
  }
  EXPECT_TRUE(watcher.ReadUntil([](const v1::SessionResponse& response) {
    return response.has_load_report() && response.load_report().running_sequences() == 0 &&
           response.load_report().waiting_sequences() == 0 &&
           response.load_report().kv_leased_blocks() == 0;
  }));
}

TEST_F(WorkerServerTest, CreditIsSharedAmongRouters) {
  Start();
  Client first(server->port());
  first.Hello();
  uint32_t alone = 0;
  ASSERT_TRUE(first.ReadUntil([&](const v1::SessionResponse& response) {
    alone = response.welcome().initial_credit().max_waiting_sequences();
    return response.has_welcome();
  }));
  EXPECT_GT(alone, 0u);
  Client second(server->port());
  second.Hello();
  EXPECT_TRUE(first.ReadUntil([&](const v1::SessionResponse& response) {
    return response.has_submit_credit() &&
           response.submit_credit().max_waiting_sequences() == alone / 2;
  }));
}

TEST_F(WorkerServerTest, WhatARouterLeavesIsTheOthersAgain) {
  Start();
  Client stays(server->port());
  stays.Hello();
  uint32_t alone = 0;
  ASSERT_TRUE(stays.ReadUntil([&](const v1::SessionResponse& response) {
    alone = response.welcome().initial_credit().max_waiting_sequences();
    return response.has_welcome();
  }));
  const auto has_credit = [&](uint32_t sequences) {
    return stays.ReadUntil([sequences](const v1::SessionResponse& response) {
      return response.has_submit_credit() &&
             response.submit_credit().max_waiting_sequences() == sequences;
    });
  };
  {
    Client leaves(server->port());
    leaves.Hello();
    EXPECT_TRUE(has_credit(alone / 2));
  }
  EXPECT_TRUE(has_credit(alone));
}

TEST_F(WorkerServerTest, RoutersAreToldOfTheAdaptersThatAreThereFromTheStart) {
  AdapterStore adapters([](const Adapter&) { return absl::OkStatus(); });
  const auto loaded = adapters.Load("a", SourcePath("tests/golden/model/tiny_adapters/llama3_qv"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  Start([&](WorkerServerOptions* options) { options->adapters = &adapters; });
  Client client(server->port());
  client.Hello();
  ASSERT_TRUE(client.ReadUntil([&](const v1::SessionResponse& response) {
    if (!response.has_welcome()) return false;
    EXPECT_EQ(response.welcome().adapters().adapters_size(), 1);
    EXPECT_EQ(response.welcome().adapters().adapters(0).name(), "a");
    EXPECT_EQ(response.welcome().adapters().adapters(0).id(), (*loaded)->id);
    return true;
  }));
  EXPECT_NE(registry.Serialize().find("\npingti_worker_adapters 1\n"), std::string::npos);
  server = nullptr;
}

TEST_F(WorkerServerTest, AdminPagesTellHealthAndMetrics) {
  Start();
  EXPECT_EQ(Get("/healthz"), 200);
  EXPECT_EQ(Get("/readyz"), 200);
  EXPECT_EQ(Get("/metrics"), 200);
  EXPECT_NE(registry.Serialize().find("pingti_worker_steps_total 1"), std::string::npos)
      << "ready means one real step";
}

TEST_F(WorkerServerTest, MetricsSayWhatIsLoaded) {
  Start();
  ServedCard card = MakeCard();
  card.card.set_weight_format("int8");
  server->RecordModel(card, "cpu", 2.5);
  const std::string text = registry.Serialize();
  EXPECT_NE(text.find("pingti_worker_model_load_seconds 2.5\n"), std::string::npos) << text;
  const size_t info = text.find("pingti_worker_model_info{");
  ASSERT_NE(info, std::string::npos) << text;
  const std::string line = text.substr(info, text.find('\n', info) - info);
  for (const char* part : {"\"fake\"", "\"int8\"", "\"cpu\"", "} 1"}) {
    EXPECT_NE(line.find(part), std::string::npos) << line;
  }
}

TEST_F(WorkerServerTest, AdaptersStayAsTheyAreUnlessChangesAreAllowed) {
  Start();
  Client client(server->port());
  grpc::ClientContext load;
  v1::Adapter adapter;
  EXPECT_EQ(client.stub()->LoadAdapter(&load, {}, &adapter).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  grpc::ClientContext unload;
  v1::UnloadAdapterResponse unloaded;
  EXPECT_EQ(client.stub()->UnloadAdapter(&unload, {}, &unloaded).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(WorkerServerTest, ADrainedWorkerAnswersNoCallAnyMore) {
  Start();
  server->Drain(std::chrono::milliseconds(0));
  Client client(server->port());
  grpc::ClientContext context;
  v1::ModelCard card;
  EXPECT_EQ(client.stub()->GetModelCard(&context, {}, &card).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(WorkerServerTest, DrainLetsRunningSequencesEnd) {
  Start();
  Client client(server->port());
  client.Hello();
  model.Stall();
  client.Submit(1, {3, 4}, 200);
  model.WaitUntilStalled();
  std::thread drain([&] { server->Drain(std::chrono::seconds(20)); });
  EXPECT_TRUE(client.ReadUntil([](const auto& response) { return response.has_draining(); }));
  model.Release();
  EXPECT_TRUE(client.ReadUntilFinished(1));
  EXPECT_EQ(client.tokens_[1].size(), 200u);
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST_F(WorkerServerTest, DrainGivesBackWhatDoesNotEndInTime) {
  Start();
  Client client(server->port());
  client.Hello();
  client.Submit(1, {3, 4}, 3);
  ASSERT_TRUE(client.ReadUntilFinished(1));
  model.Stall();
  client.Submit(2, {3, 4}, 500);
  model.WaitUntilStalled();
  std::thread drain([&] { server->Drain(std::chrono::milliseconds(50)); });
  ASSERT_TRUE(client.ReadUntil([](const auto& response) { return response.has_draining(); }));
  EXPECT_EQ(Get("/readyz"), 503);
  client.Submit(3, {3, 4}, 5);
  EXPECT_TRUE(client.ReadUntil([&](const auto&) { return client.finishes_.count(3) > 0; }));
  EXPECT_EQ(client.finishes_[3].reason(), v1::Finish::REASON_PREEMPTED);
  model.Release();
  EXPECT_TRUE(client.ReadUntilFinished(3));
  // Either the drain's 50 ms were over, or the machine was fast enough to end it.
  EXPECT_TRUE(client.finishes_[2].reason() == v1::Finish::REASON_PREEMPTED ||
              client.tokens_[2].size() == 500u);
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST_F(WorkerServerTest, WhileItDrainsEverySampleThatIsSentIsGivenBackAndNobodyMayJoin) {
  Start();
  Client client(server->port());
  client.Hello();
  model.Stall();
  client.Submit(1, {3, 4}, 5);
  model.WaitUntilStalled();
  std::thread drain([&] { server->Drain(std::chrono::minutes(5)); });
  EXPECT_TRUE(client.ReadUntil([](const auto& response) { return response.has_draining(); }));
  Client late(server->port());
  late.Hello();
  EXPECT_EQ(late.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  std::map<std::pair<uint64_t, uint32_t>, v1::Finish::Reason> ends;
  const std::map<uint64_t, uint32_t> num_samples = {{2, 0}, {3, 1}, {4, 3}, {5, 5'000}};
  v1::SessionRequest request;
  for (const auto& [id, n] : num_samples) {
    v1::Sequence* sequence = request.mutable_submit()->add_sequences();
    sequence->set_sequence_id(id);
    sequence->mutable_sampling()->set_n(n);
  }
  client.stream()->Write(request);
  // At most 1024 of one sequence.
  const size_t expected = 1 + 1 + 3 + 1024;
  EXPECT_TRUE(client.ReadUntil([&](const v1::SessionResponse& response) {
    for (const v1::SequenceOutput& output : response.step_output().outputs()) {
      EXPECT_TRUE(
          ends.try_emplace({output.sequence_id(), output.sample_index()}, output.finish().reason())
              .second);
    }
    return ends.size() >= expected;
  }));
  EXPECT_EQ(ends.size(), expected);
  for (const auto& [id, n] : num_samples) {
    for (uint32_t i = 0; i < std::clamp(n, 1u, 1024u); ++i) {
      const auto end = ends.find({id, i});
      ASSERT_NE(end, ends.end()) << id << " " << i;
      EXPECT_EQ(end->second, v1::Finish::REASON_PREEMPTED);
    }
  }
  model.Release();
  EXPECT_TRUE(client.ReadUntil([&](const auto&) { return client.finishes_.count(1) > 0; }));
  EXPECT_EQ(client.tokens_[1].size(), 5u);
  drain.join();
}

TEST_F(WorkerServerTest, AStalledEngineTurnsRedAndSaysSo) {
  Mutex mutex;
  CondVar changed;
  bool broken = false;
  Start([&](WorkerServerOptions* options) {
    options->engine.step_deadline = std::chrono::milliseconds(300);
    options->on_broken = [&](const absl::Status& status) {
      EXPECT_FALSE(status.ok());
      MutexLock lock(&mutex);
      broken = true;
      changed.NotifyAll();
    };
  });
  Client client(server->port());
  client.Hello();
  model.Stall();
  client.Submit(1, {3, 4}, 5);
  {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mutex);
    while (!broken && changed.WaitUntil(&mutex, deadline)) {
    }
    EXPECT_TRUE(broken);
  }
  EXPECT_EQ(Get("/healthz"), 503);
  EXPECT_EQ(Get("/readyz"), 503);
  model.Release();
}

TEST_F(WorkerServerTest, ALostDeviceTurnsRedAndGivesSequencesBack) {
  Mutex mutex;
  CondVar changed;
  std::optional<absl::Status> broken;
  Start([&](WorkerServerOptions* options) {
    options->on_broken = [&](const absl::Status& status) {
      MutexLock lock(&mutex);
      broken = status;
      changed.NotifyAll();
    };
  });
  Client client(server->port());
  client.Hello();
  model.Stall();
  for (uint64_t id = 1; id <= 12; ++id) client.Submit(id, {3, 4}, 400);
  model.WaitUntilStalled();
  model.LoseDevice("CUDA error at a kernel");
  model.Release();
  ASSERT_TRUE(client.ReadUntilFinished(12)) << "the session ended without an answer to each";
  for (const auto& [id, finish] : client.finishes_) {
    EXPECT_EQ(finish.reason(), v1::Finish::REASON_PREEMPTED) << id;
    // One that is read once the worker is known to be broken goes back as from a draining one.
    EXPECT_TRUE(finish.message() == "CUDA error at a kernel" ||
                (id > 1 && finish.message().empty()))
        << id << ": " << finish.message();
  }
  {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mutex);
    while (!broken && changed.WaitUntil(&mutex, deadline)) {
    }
    ASSERT_TRUE(broken);
    EXPECT_EQ(*broken, absl::DataLossError("CUDA error at a kernel"));
  }
  EXPECT_EQ(Get("/healthz"), 503);
  EXPECT_EQ(Get("/readyz"), 503);
  // What a router still sends goes back, too.
  client.Submit(13, {3, 4}, 5);
  ASSERT_TRUE(client.ReadUntilFinished(13));
  EXPECT_EQ(client.finishes_[13].reason(), v1::Finish::REASON_PREEMPTED);
}

TEST_F(WorkerServerTest, APortInUseIsAClearError) {
  Start();
  testing::FakeModel other;
  ASSERT_TRUE(other.Allocate(64, 4, 64, 8).ok());
  metrics::Registry other_registry;
  WorkerServerOptions options;
  options.engine.budget = {64, 8};
  options.engine.num_kv_blocks = 64;
  options.engine.kv_block_tokens = 4;
  options.port = server->port();
  const auto other_admin = AdminPage::Start({}, &other_registry);
  const auto second = WorkerServer::Start(&other, MakeCard(), RealClock(), &other_registry,
                                          other_admin->get(), options);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().ToString().find("already in use"), std::string::npos)
      << second.status();
}

// The process can only exit: the engine's thread may never come back.
TEST_F(WorkerServerTest, AFirstStepThatDoesNotEndIsToldBeforeAnythingWaitsForIt) {
  ASSERT_TRUE(model.Allocate(64, 4, 64, 8).ok());
  model.Stall();
  WorkerServerOptions options;
  options.engine.budget = {64, 8};
  options.engine.num_kv_blocks = 64;
  options.engine.kv_block_tokens = 4;
  options.engine.step_deadline = std::chrono::milliseconds(50);
  absl::Status told;
  options.on_broken = [&](const absl::Status& status) {
    told = status;
    model.Release();
  };
  const auto started =
      WorkerServer::Start(&model, MakeCard(), RealClock(), &registry, admin.get(), options);
  EXPECT_FALSE(started.ok());
  EXPECT_EQ(started.status(), told);
}

TEST_F(WorkerServerTest, ADeviceLostInTheFirstStepIsAClearError) {
  ASSERT_TRUE(model.Allocate(64, 4, 64, 8).ok());
  model.LoseDevice("CUDA error at a kernel");
  WorkerServerOptions options;
  options.engine.budget = {64, 8};
  options.engine.num_kv_blocks = 64;
  options.engine.kv_block_tokens = 4;
  const auto started =
      WorkerServer::Start(&model, MakeCard(), RealClock(), &registry, admin.get(), options);
  EXPECT_EQ(started.status(),
            absl::DataLossError("the first engine step failed: CUDA error at a kernel"));
}

TEST_F(WorkerServerTest, AModelThatFailsItsFirstStepDoesNotStart) {
  ASSERT_TRUE(model.Allocate(64, 4, 64, 8).ok());
  model.FailForward(1, "no kernel for this device");
  WorkerServerOptions options;
  options.engine.budget = {64, 8};
  options.engine.num_kv_blocks = 64;
  options.engine.kv_block_tokens = 4;
  const auto started =
      WorkerServer::Start(&model, MakeCard(), RealClock(), &registry, admin.get(), options);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.status().ToString().find("no kernel for this device"), std::string::npos);
}

}  // namespace
}  // namespace pingti::worker
