// See inference_grpc.h.
#include "router/grpc/inference_grpc.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/v1/inference.grpc.pb.h"
#include "router/api/api_error.h"
#include "router/api/client_ids.h"
#include "router/grpc/convert.h"
#include "router/grpc/stream_answer.h"

namespace pingti::router {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), StatusText(status)};
}

std::string_view Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

class InferenceGrpc final : public v1::Inference::CallbackService {
 public:
  InferenceGrpc(InferenceService* service, const ApiKeys* keys) : service_(service), keys_(keys) {}

  grpc::ServerWriteReactor<v1::ChatResponse>* Chat(grpc::CallbackServerContext* context,
                                                   const v1::ChatRequest* request) override {
    return Generate<v1::ChatResponse>(context, *request, "pingti.v1.Inference/Chat", "chatcmpl-");
  }
  grpc::ServerWriteReactor<v1::CompleteResponse>* Complete(
      grpc::CallbackServerContext* context, const v1::CompleteRequest* request) override {
    return Generate<v1::CompleteResponse>(context, *request, "pingti.v1.Inference/Complete",
                                          "cmpl-");
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* response) override {
    return Answer(context, "pingti.v1.Inference/ListModels", 0, [=, this]() -> absl::Status {
      for (const ModelStatus& status : service_->Models()) {
        v1::Model* model = response->add_models();
        model->set_id(status.model->id);
        model->set_created_unix_s(status.model->created_unix_s);
        model->set_owned_by(status.model->owned_by);
        model->set_max_context_tokens(status.model->max_context_tokens);
        model->set_ready_workers(status.ready_workers);
      }
      return absl::OkStatus();
    });
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    return Answer(context, "pingti.v1.Inference/Tokenize", request->ByteSizeLong(),
                  [=, this] { return TokenizeNow(*request, response); });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override {
    const auto run = [=, this]() -> absl::Status {
      PINGTI_ASSIGN_OR_RETURN(*response->mutable_text(),
                              service_->Detokenize(request->model(), {request->token_ids().begin(),
                                                                      request->token_ids().end()}));
      return absl::OkStatus();
    };
    return Answer(context, "pingti.v1.Inference/Detokenize", request->ByteSizeLong(), run);
  }

 private:
  absl::Status TokenizeNow(const v1::TokenizeRequest& request, v1::TokenizeResponse* response) {
    PINGTI_ASSIGN_OR_RETURN(const GenerationRequest prompt, FromProto(request));
    PINGTI_ASSIGN_OR_RETURN(const InferenceService::TokenizedPrompt tokenized,
                            service_->Tokenize(prompt, request.add_special_tokens()));
    response->mutable_token_ids()->Assign(tokenized.ids.begin(), tokenized.ids.end());
    response->set_max_context_tokens(tokenized.max_context_tokens);
    return absl::OkStatus();
  }

  // `proto` and `context` live until the reactor is done.
  template <typename Response, typename Request>
  StreamReactor<Response>* Generate(grpc::CallbackServerContext* context, const Request& proto,
                                    std::string_view endpoint, std::string_view id_prefix) {
    auto* reactor = new StreamReactor<Response>(context);  // deletes itself in OnDone
    const std::string answer_id = RandomId(id_prefix, service_->context().entropy);
    std::shared_ptr<RequestLife> life = Received(context, endpoint, answer_id);
    const absl::StatusOr<std::string> tenant = Authenticate(*context);
    absl::Status refused = tenant.status();
    if (tenant.ok()) {
      life->SetTenant(*tenant);
      const bool taken = service_->RunPrepared(
          proto.ByteSizeLong(), [=, this, &proto] { Start(context, proto, reactor, life); });
      if (!taken) refused = PoolFull();
    }
    if (!refused.ok()) Refuse(refused, reactor, life.get());
    return reactor;
  }

  template <typename Response>
  static void Refuse(const absl::Status& status, StreamReactor<Response>* reactor,
                     RequestLife* life) {
    life->End(status);
    reactor->Finish(ToGrpc(status));
  }

  std::shared_ptr<RequestLife> Received(grpc::CallbackServerContext* context,
                                        std::string_view endpoint, const std::string& answer_id) {
    ClientIds ids =
        ReadClientIds(Metadata(*context, "x-request-id"), Metadata(*context, "traceparent"));
    if (ids.request_id.empty()) ids.request_id = answer_id;
    context->AddInitialMetadata("x-request-id", ids.request_id);
    if (!ids.trace_parent.empty()) context->AddInitialMetadata("traceparent", ids.trace_parent);
    return service_->Received({.transport = Transport::kGrpc,
                               .endpoint = endpoint,
                               .id = std::move(ids.request_id),
                               .answer_id = answer_id,
                               .trace_parent = std::move(ids.trace_parent)});
  }

  template <typename Response, typename Request>
  void Start(grpc::CallbackServerContext* context, const Request& proto,
             StreamReactor<Response>* reactor, const std::shared_ptr<RequestLife>& life) {
    const std::shared_ptr<ClientWatch> client = reactor->client();
    absl::StatusOr<GenerationRequest> request = absl::CancelledError("the client is gone");
    if (!client->gone()) request = Prepare(*context, proto, life->info());
    if (!request.ok()) return Refuse(request.status(), reactor, life.get());
    Response head;
    head.set_id(request->id);
    head.set_model(request->model);
    head.set_created_unix_s(request->created_unix_s);
    auto sink =
        std::make_shared<StreamSink<Response>>(reactor, std::move(head), request->num_choices());
    reactor->SetSink(sink);
    const std::shared_ptr<Generation> generation =
        service_->Start(*std::move(request), life, std::move(sink));
    if (generation != nullptr) client->OnStarted(generation);
  }

  template <typename Request>
  absl::StatusOr<GenerationRequest> Prepare(const grpc::CallbackServerContext& context,
                                            const Request& proto, const RequestInfo& info) {
    PINGTI_ASSIGN_OR_RETURN(GenerationRequest request, FromProto(proto));
    request.id = info.answer_id;
    request.tenant = info.tenant;
    const GenerationContext& generation = service_->context();
    request.created_unix_s = std::chrono::duration_cast<std::chrono::seconds>(
                                 generation.clock->WallNow().time_since_epoch())
                                 .count();
    // A call without a deadline has one at the end of time; a day is as good and cannot overflow.
    const auto left = std::min<system_clock::duration>(context.deadline() - system_clock::now(),
                                                       std::chrono::hours(24));
    request.deadline =
        generation.clock->Now() + std::chrono::duration_cast<steady_clock::duration>(left);
    return request;
  }

  absl::StatusOr<std::string> Authenticate(const grpc::CallbackServerContext& context) const {
    return keys_->Authenticate(Metadata(context, "authorization"));
  }

  // The answer to a call that does not start a generation, and has a wrong key.
  void RefuseKey(const absl::Status& status, grpc::CallbackServerContext* context,
                 std::string_view endpoint, grpc::ServerUnaryReactor* reactor) {
    Received(context, endpoint, RandomId("req-", service_->context().entropy))->End(status);
    reactor->Finish(ToGrpc(status));
  }

  // Runs `run` here or on the pool, by the request's size; not at all once the client is gone.
  // Request and response live until Finish.
  template <typename Run>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, std::string_view endpoint,
                                   size_t bytes, const Run& run) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::StatusOr<std::string> tenant = Authenticate(*context);
    if (!tenant.ok()) {
      RefuseKey(tenant.status(), context, endpoint, reactor);
      return reactor;
    }
    const bool taken = service_->RunPrepared(bytes, [context, reactor, run] {
      reactor->Finish(
          ToGrpc(context->IsCancelled() ? absl::CancelledError("the client is gone") : run()));
    });
    if (!taken) reactor->Finish(ToGrpc(PoolFull()));
    return reactor;
  }

  InferenceService* const service_;
  const ApiKeys* const keys_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceGrpc(InferenceService* service, const ApiKeys* keys) {
  return std::make_unique<InferenceGrpc>(service, keys);
}

std::string InferenceServiceName() { return v1::Inference::service_full_name(); }

}  // namespace pingti::router
