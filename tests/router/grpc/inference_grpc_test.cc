// pingti.v1.Inference through a whole router and a fake worker.
#include "router/grpc/inference_grpc.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "common/net/grpc_server.h"
#include "proto/pingti/v1/inference.grpc.pb.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

using std::chrono::milliseconds;

class InferenceGrpcTest : public ::testing::Test {
 protected:
  void Start(FakeWorkerOptions options = {}, const std::string& keys = "") {
    worker_ = std::make_unique<FakeWorker>(std::move(options));
    InProcessRouterOptions router;
    router.workers = {worker_->address()};
    router_ = std::make_unique<InProcessRouter>(std::move(router));
    ASSERT_TRUE(router_->WaitReady(1));
    keys_ = *router::ApiKeys::Parse(keys);
    service_ = router::MakeInferenceGrpc(&router_->service(), &keys_, &bodies_, &turns_);
    server_ = *net::GrpcServer::Start({}, {{}, service_.get()});
    stub_ = v1::Inference::NewStub(grpc::CreateChannel(
        "127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()));
  }

  static v1::ChatRequest Request() {
    v1::ChatRequest request;
    request.set_model("fake");
    v1::Message* message = request.add_messages();
    message->set_role("user");
    message->set_content("hi");
    return request;
  }

  grpc::Status Chat(const v1::ChatRequest& request, grpc::ClientContext* context,
                    std::vector<v1::ChatResponse>* responses) {
    const auto reader = stub_->Chat(context, request);
    v1::ChatResponse response;
    while (reader->Read(&response)) responses->push_back(response);
    return reader->Finish();
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
  router::ApiKeys keys_;
  MemoryBudget bodies_{64u << 20};
  router::ReadTurns turns_{{}, RealClock()};
  std::unique_ptr<grpc::CallbackGenericService> service_;
  std::unique_ptr<net::GrpcServer> server_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

TEST_F(InferenceGrpcTest, ChatStreamsTheAnswer) {
  Start();
  grpc::ClientContext context;
  std::vector<v1::ChatResponse> responses;
  const grpc::Status status = Chat(Request(), &context, &responses);
  ASSERT_TRUE(status.ok()) << status.error_message();
  std::string text;
  std::string finish;
  for (const v1::ChatResponse& response : responses) {
    for (const v1::ChatDelta& delta : response.deltas()) {
      text += delta.content();
      finish += delta.finish_reason();
    }
  }
  EXPECT_EQ(text, "Hello from the fake worker.");
  EXPECT_EQ(finish, "stop");
  EXPECT_GT(responses.size(), 20u);
  EXPECT_EQ(responses.front().deltas(0).role(), "assistant");
  EXPECT_EQ(responses.back().usage().completion_tokens(), 28u);
}

TEST_F(InferenceGrpcTest, CompleteTakesTextAndTokens) {
  Start();
  for (const bool as_tokens : {false, true}) {
    v1::CompleteRequest request;
    request.set_model("fake");
    if (as_tokens) {
      request.mutable_token_ids()->add_ids('a');
    } else {
      request.set_text("a");
    }
    request.mutable_params()->set_max_tokens(5);
    grpc::ClientContext context;
    const auto reader = stub_->Complete(&context, request);
    std::string text;
    v1::CompleteResponse response;
    while (reader->Read(&response)) {
      for (const v1::CompleteDelta& delta : response.deltas()) text += delta.text();
    }
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(text, "Hello");
    EXPECT_EQ(worker_->Submitted().back().prompt_token_ids_size(), 1);
  }
}

TEST_F(InferenceGrpcTest, ADeadlineEndsTheAnswerAndTheSequence) {
  Start();
  worker_->HoldSteps();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(1000));
  std::vector<v1::ChatResponse> responses;
  EXPECT_EQ(Chat(Request(), &context, &responses).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(WaitFor([&] { return worker_->num_cancelled() == 1; }));
}

TEST_F(InferenceGrpcTest, ACancelledCallCancelsTheSequence) {
  Start();
  worker_->HoldSteps();
  worker_->AllowSteps(3);
  grpc::ClientContext context;
  const auto reader = stub_->Chat(&context, Request());
  v1::ChatResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitFor([&] { return worker_->num_cancelled() == 1; }));
  EXPECT_TRUE(WaitFor([&] { return router_->service().num_running() == 0; }));
}

TEST_F(InferenceGrpcTest, AClientThatDoesNotReadIsCutOffByTheBytesThatWait) {
  FakeWorkerOptions worker;
  worker.max_context_tokens = 1u << 20;
  worker.tokens_per_step = 256;  // a message each: a bound on their number would come much later
  worker.answer = [](const worker::v1::Sequence& sequence) {
    const bool is_long = sequence.stop().max_tokens() == 900'000;
    return ByteTokens(std::string(is_long ? 900'000 : 2, 'x'));
  };
  Start(worker);
  worker_->HoldSteps();
  v1::ChatRequest request = Request();
  request.mutable_params()->set_max_tokens(900'000);
  request.mutable_params()->set_logprobs(true);
  // With a window that does not grow, or gRPC reads megabytes that nobody asked for.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  const auto stub = v1::Inference::NewStub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto reader = stub->Chat(&context, request);
  ASSERT_TRUE(WaitFor([&] { return worker_->num_running() == 1; }));
  // The worker steps slowly, so that it cannot be done before the router has seen what waits, and
  // goes on until the other client has its answer, whenever that client's sequence comes.
  const auto serves = [&] {
    std::future<bool> served = std::async(std::launch::async, [&] {
      grpc::ClientContext other;
      std::vector<v1::ChatResponse> responses;
      return Chat(Request(), &other, &responses).ok();
    });
    EXPECT_TRUE(WaitFor([&] {
      worker_->AllowSteps(32);
      return served.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    }));
    return served.get();
  };
  ASSERT_TRUE(WaitFor([&] { return !serves() || worker_->num_cancelled() == 1; }));
  EXPECT_EQ(worker_->num_cancelled(), 1u);
  worker_->ReleaseSteps();
  EXPECT_TRUE(serves());
  EXPECT_TRUE(WaitFor([&] { return router_->service().num_running() == 0; }));
  v1::ChatResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(InferenceGrpcTest, NumbersAreCheckedBeforeAnythingIsAllocatedByThem) {
  Start();
  const auto refuse_chat = [&](const std::function<void(v1::ChatRequest*)>& change) {
    v1::ChatRequest request = Request();
    change(&request);
    grpc::ClientContext context;
    std::vector<v1::ChatResponse> responses;
    const grpc::Status status = Chat(request, &context, &responses);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  const auto refuse = [&](const std::function<void(v1::GenerationParams*)>& change) {
    return refuse_chat([&](v1::ChatRequest* request) { change(request->mutable_params()); });
  };
  EXPECT_NE(refuse([](auto* p) { p->set_n(4'294'967'295u); }).find("'n'"), std::string::npos);
  EXPECT_NE(refuse([](auto* p) { p->add_stop(std::string(1'000'000, 'x')); }).find("'stop'"),
            std::string::npos);
  EXPECT_NE(refuse([](auto* p) {
              for (int i = 0; i < 100'000; ++i) p->add_stop_token_ids(7);
            }).find("'stop_token_ids'"),
            std::string::npos);
  EXPECT_NE(refuse([](auto* p) {
              for (uint32_t i = 0; i < 2'000; ++i) (*p->mutable_logit_bias())[i] = 1;
            }).find("'logit_bias'"),
            std::string::npos);
  EXPECT_EQ(refuse_chat([](v1::ChatRequest* request) {
              for (int i = 0; i < 20'000; ++i) request->add_messages();
            }),
            "messages: 'messages' has 20001 messages, expected at most 16384");
  EXPECT_EQ(refuse_chat([](v1::ChatRequest* request) {
              for (int i = 0; i < 20'000; ++i) request->mutable_messages(0)->add_tool_calls();
            }),
            "messages: 'messages' has 20000 tool calls, expected at most 16384");
  EXPECT_EQ(refuse_chat([](v1::ChatRequest* request) {
              for (int i = 0; i < 2'000; ++i) request->add_tools();
            }),
            "tools: 'tools' has 2000 tools, expected at most 1024");
  for (const int32_t priority : {1'000'001, -1'000'001, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(refuse([priority](auto* p) { p->set_priority(priority); }),
              Concat("priority: 'priority' is ", priority, ", expected -1000000 to 1000000"));
  }
  EXPECT_EQ(refuse_chat([](v1::ChatRequest* request) { request->add_tools(); }),
            "tools[0].name: expected a name");
  EXPECT_EQ(worker_->num_submitted(), 0u);
}

TEST_F(InferenceGrpcTest, AMessageOfManyEmptyPartsIsNotParsed) {
  Start();
  v1::ChatRequest request = Request();
  for (int i = 0; i < 1'000'000; ++i) request.add_messages();
  grpc::ClientContext context;
  std::vector<v1::ChatResponse> responses;
  const grpc::Status status = Chat(request, &context, &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("too many values, at pingti.v1.ChatRequest.messages"),
            std::string::npos)
      << status.error_message();
}

TEST_F(InferenceGrpcTest, BytesThatAreNoRequestAreRefused) {
  Start();
  grpc::GenericStub stub(grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                                             grpc::InsecureChannelCredentials()));
  const auto call = [&](const std::string& method, const std::string& bytes) {
    grpc::ClientContext context;
    grpc::ByteBuffer response;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::CompletionQueue queue;
    const auto reader = stub.PrepareUnaryCall(&context, method, request, &queue);
    reader->StartCall();
    grpc::Status status;
    reader->Finish(&response, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    return status;
  };
  const grpc::Status garbage = call("/pingti.v1.Inference/Tokenize", "\xff\xff\xff");
  EXPECT_EQ(garbage.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(garbage.error_message(), "the bytes are no pingti.v1.TokenizeRequest");
  const grpc::Status unknown = call("/pingti.v1.Inference/Nothing", "");
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(unknown.error_message(), "unknown method 'pingti.v1.Inference/Nothing'");
  EXPECT_TRUE(call("/pingti.v1.Inference/ListModels", "").ok());
}

TEST_F(InferenceGrpcTest, ACompressedMessageIsRefused) {
  Start();
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::ChatRequest request = Request();
  request.mutable_messages(0)->set_content(std::string(100'000, ' '));
  std::vector<v1::ChatResponse> responses;
  EXPECT_EQ(Chat(request, &context, &responses).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(InferenceGrpcTest, RequestsShareTheBudgetOfBodies) {
  Start();
  v1::ChatRequest request = Request();
  request.mutable_messages(0)->set_content(std::string(100'000, ' '));
  MemoryBudget::Lease others(&bodies_);
  ASSERT_TRUE(others.GrowTo((64u << 20) - 300'000));
  grpc::ClientContext refused;
  std::vector<v1::ChatResponse> responses;
  const grpc::Status status = Chat(request, &refused, &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "too many bytes of requests are being worked on");
  grpc::ClientContext small;
  EXPECT_TRUE(Chat(Request(), &small, &responses).ok());
  others.Release();
  EXPECT_TRUE(WaitFor([&] { return bodies_.used() == 0; }));
}

TEST_F(InferenceGrpcTest, TheClientsIdsAreEchoed) {
  Start();
  grpc::ClientContext context;
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  context.AddMetadata("x-request-id", "order-17");
  context.AddMetadata("traceparent", parent);
  std::vector<v1::ChatResponse> responses;
  ASSERT_TRUE(Chat(Request(), &context, &responses).ok());
  const auto& metadata = context.GetServerInitialMetadata();
  EXPECT_EQ(metadata.find("x-request-id")->second, "order-17");
  EXPECT_EQ(metadata.find("traceparent")->second, parent);
}

TEST_F(InferenceGrpcTest, ALongRequestIsPreparedOnThePoolAndAnswered) {
  Start();
  v1::ChatRequest request = Request();
  // More than is prepared on the spot, and unknown to a worker: the text alone is too long.
  request.mutable_messages(0)->set_content(std::string(1'000'000, ' '));
  grpc::ClientContext context;
  std::vector<v1::ChatResponse> responses;
  const grpc::Status status = Chat(request, &context, &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("maximum context length"), std::string::npos);
}

TEST_F(InferenceGrpcTest, ABadFieldIsNamed) {
  Start();
  const auto refuse = [&](const v1::ChatRequest& request) {
    grpc::ClientContext context;
    std::vector<v1::ChatResponse> responses;
    return Chat(request, &context, &responses);
  };
  v1::ChatRequest request = Request();
  request.set_model("gpt-9");
  EXPECT_EQ(refuse(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request = Request();
  request.clear_messages();
  EXPECT_EQ(refuse(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refuse(request).error_message().find("messages"), std::string::npos);
  request = Request();
  request.mutable_params()->set_temperature(9);
  EXPECT_NE(refuse(request).error_message().find("temperature"), std::string::npos);
  request = Request();
  request.mutable_params()->mutable_response_format()->set_json_object(true);
  EXPECT_NE(refuse(request).error_message().find("response_format"), std::string::npos);
  request.mutable_params()->mutable_response_format()->set_json_object(false);
  EXPECT_TRUE(refuse(request).ok());  // it asks for nothing
  request = Request();
  request.mutable_params()->set_num_beams(4);
  EXPECT_NE(refuse(request).error_message().find("num_beams"), std::string::npos);
  request = Request();
  request.mutable_params()->set_n(0);
  EXPECT_NE(refuse(request).error_message().find("n:"), std::string::npos);
  request = Request();
  request.mutable_params()->set_num_beams(0);
  EXPECT_NE(refuse(request).error_message().find("'num_beams' is 0"), std::string::npos);
  request.mutable_params()->set_num_beams(1);
  EXPECT_TRUE(refuse(request).ok());
  request.mutable_params()->set_best_of(0);
  EXPECT_NE(refuse(request).error_message().find("'best_of' is 0"), std::string::npos);
  request.mutable_params()->set_best_of(1);
  EXPECT_TRUE(refuse(request).ok());
}

TEST_F(InferenceGrpcTest, ModelsTokensAndText) {
  Start();
  v1::ListModelsResponse models;
  grpc::ClientContext list;
  ASSERT_TRUE(stub_->ListModels(&list, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).ready_workers(), 1u);
  v1::TokenizeRequest tokenize;
  tokenize.set_model("fake");
  tokenize.set_text("añ");
  v1::TokenizeResponse tokens;
  grpc::ClientContext to_tokens;
  ASSERT_TRUE(stub_->Tokenize(&to_tokens, tokenize, &tokens).ok());
  EXPECT_EQ(tokens.token_ids_size(), 3);
  v1::DetokenizeRequest detokenize;
  detokenize.set_model("fake");
  detokenize.mutable_token_ids()->CopyFrom(tokens.token_ids());
  v1::DetokenizeResponse text;
  grpc::ClientContext to_text;
  ASSERT_TRUE(stub_->Detokenize(&to_text, detokenize, &text).ok());
  EXPECT_EQ(text.text(), "añ");
}

TEST_F(InferenceGrpcTest, KeysAreAskedForWhenThereAreAny) {
  Start({}, "secret");
  grpc::ClientContext without;
  std::vector<v1::ChatResponse> responses;
  EXPECT_EQ(Chat(Request(), &without, &responses).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  grpc::ClientContext with;
  with.AddMetadata("authorization", "Bearer secret");
  EXPECT_TRUE(Chat(Request(), &with, &responses).ok());
}

TEST_F(InferenceGrpcTest, TheTrailersTellWhatAKeyHasLeftAndWhenToComeBack) {
  const std::string keys = Concat("keys:\n- name: small\n  sha256: ", ToHex(Sha256("s")),
                                  "\n  requests_per_minute: 2\n");
  Start({}, keys);
  router_->admission().SetTenants(keys_.tenants());
  const auto trailers = [&](grpc::StatusCode expected) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer s");
    std::vector<v1::ChatResponse> responses;
    EXPECT_EQ(Chat(Request(), &context, &responses).error_code(), expected);
    std::map<std::string, std::string> found;
    for (const auto& [name, value] : context.GetServerTrailingMetadata()) {
      found.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
    }
    return found;
  };
  auto first = trailers(grpc::StatusCode::OK);
  EXPECT_EQ(first["x-ratelimit-limit-requests"], "2");
  EXPECT_EQ(first["x-ratelimit-remaining-requests"], "1");
  EXPECT_FALSE(first.contains("x-ratelimit-limit-tokens"));
  EXPECT_FALSE(first.contains("retry-after"));
  EXPECT_EQ(trailers(grpc::StatusCode::OK)["x-ratelimit-remaining-requests"], "0");
  auto refused = trailers(grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused["x-ratelimit-remaining-requests"], "0");
  EXPECT_GT(std::stoi(refused["retry-after"]), 0);
}

TEST_F(InferenceGrpcTest, TakesTheHttpApisFurtherFields) {
  Start();
  v1::ChatRequest request = Request();
  request.set_extra_body_json(
      R"({"max_completion_tokens":3,"store":true,"metadata":{"a":"b"},"logit_bias":null})");
  grpc::ClientContext context;
  std::vector<v1::ChatResponse> responses;
  const grpc::Status status = Chat(request, &context, &responses);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(responses.back().usage().completion_tokens(), 3u);
  const auto& metadata = context.GetServerInitialMetadata();
  ASSERT_TRUE(metadata.contains("x-pingti-ignored"));
  EXPECT_EQ(metadata.find("x-pingti-ignored")->second, "metadata, store");
}

TEST_F(InferenceGrpcTest, RefusesWhatHasNoPlaceAmongFurtherFields) {
  Start();
  struct Bad {
    const char* json;
    const char* message;
  };
  for (const Bad& bad : {Bad{"{", "parse the JSON"}, Bad{"[]", "an object"},
                         Bad{R"({"model":"m"})", "extra_body_json: 'model'"},
                         Bad{R"({"stream":true})", "extra_body_json: 'stream'"},
                         Bad{R"({"messages":[]})", "extra_body_json: 'messages' is set"},
                         Bad{R"({"max_tokens":1})", "extra_body_json: 'max_tokens' is set"},
                         Bad{R"({"audio":{"a":1}})", "audio: "},
                         Bad{R"({"nonsense":1})", "nonsense: "}, Bad{R"({"n":1000})", "n: "}}) {
    v1::ChatRequest request = Request();
    request.mutable_params()->set_max_tokens(2);
    request.set_extra_body_json(bad.json);
    grpc::ClientContext context;
    std::vector<v1::ChatResponse> responses;
    const grpc::Status status = Chat(request, &context, &responses);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.json;
    EXPECT_NE(status.error_message().find(bad.message), std::string::npos)
        << bad.json << ": " << status.error_message();
  }
}

TEST_F(InferenceGrpcTest, ACompletionTakesFurtherFieldsWithoutTheHttpApisDefaults) {
  Start();
  v1::CompleteRequest request;
  request.set_model("fake");
  request.set_text("hi");
  request.set_extra_body_json(R"({"user":"u","best_of":1,"request_id":"r"})");
  grpc::ClientContext context;
  const auto reader = stub_->Complete(&context, request);
  v1::CompleteResponse response;
  std::string text;
  while (reader->Read(&response)) {
    for (const v1::CompleteDelta& delta : response.deltas()) text += delta.text();
  }
  const grpc::Status status = reader->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(text, "Hello from the fake worker.");  // more than 16 tokens
  EXPECT_EQ(context.GetServerInitialMetadata().find("x-pingti-ignored")->second, "request_id");
}

}  // namespace
}  // namespace pingti::testing
