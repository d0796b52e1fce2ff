// See inference_grpc.h.
#include "router/grpc/inference_grpc.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/v1/inference.grpc.pb.h"
#include "router/api/api_error.h"
#include "router/grpc/convert.h"
#include "router/grpc/stream_answer.h"
#include "router/pipeline/request_log.h"

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

std::string CodeName(const absl::Status& status) { return absl::StatusCodeToString(status.code()); }

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
    return Answer(context, [&]() -> absl::Status {
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
    return AnswerOnPool(context, request->ByteSizeLong(),
                        [=, this] { return TokenizeNow(*request, response); });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override {
    return AnswerOnPool(context, request->ByteSizeLong(), [=, this]() -> absl::Status {
      PINGTI_ASSIGN_OR_RETURN(*response->mutable_text(),
                              service_->Detokenize(request->model(), {request->token_ids().begin(),
                                                                      request->token_ids().end()}));
      return absl::OkStatus();
    });
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

  template <typename Response, typename Request>
  StreamReactor<Response>* Generate(grpc::CallbackServerContext* context, const Request& proto,
                                    std::string_view endpoint, std::string_view id_prefix) {
    auto* reactor = new StreamReactor<Response>();  // deletes itself in OnDone
    const steady_clock::time_point arrived = service_->context().clock->Now();
    const std::string id = RandomId(id_prefix, service_->context().entropy);
    const auto ended = [this, endpoint, id, arrived, model = proto.model()](
                           const absl::Status& status, const UsageCounts& usage) {
      RecordRequest(*service_, {endpoint, model, id, CodeName(status), arrived}, usage);
    };
    absl::StatusOr<GenerationRequest> request = Prepare(context, proto, id);
    if (!request.ok()) {
      ended(request.status(), {});
      reactor->Finish(ToGrpc(request.status()));
      return reactor;
    }
    Response head;
    head.set_id(id);
    head.set_model(request->model);
    head.set_created_unix_s(request->created_unix_s);
    auto sink = std::make_shared<StreamSink<Response>>(reactor, std::move(head),
                                                       request->num_choices(), ended);
    reactor->SetSink(sink);
    absl::StatusOr<std::shared_ptr<Generation>> generation =
        service_->Start(*std::move(request), sink);
    if (generation.ok()) {
      reactor->SetGeneration(*generation);
    } else {
      sink->OnError(generation.status());
    }
    return reactor;
  }

  template <typename Request>
  absl::StatusOr<GenerationRequest> Prepare(grpc::CallbackServerContext* context,
                                            const Request& proto, const std::string& id) {
    PINGTI_ASSIGN_OR_RETURN(std::string tenant,
                            keys_->Authenticate(Metadata(*context, "authorization")));
    PINGTI_ASSIGN_OR_RETURN(GenerationRequest request, FromProto(proto));
    request.id = id;
    request.tenant = std::move(tenant);
    const GenerationContext& generation = service_->context();
    request.created_unix_s = std::chrono::duration_cast<std::chrono::seconds>(
                                 generation.clock->WallNow().time_since_epoch())
                                 .count();
    // A call without a deadline has one at the end of time; a day is as good and cannot overflow.
    const auto left = std::min<system_clock::duration>(context->deadline() - system_clock::now(),
                                                       std::chrono::hours(24));
    request.deadline =
        generation.clock->Now() + std::chrono::duration_cast<steady_clock::duration>(left);
    return request;
  }

  template <typename Run>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const Run& run) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::StatusOr<std::string> tenant =
        keys_->Authenticate(Metadata(*context, "authorization"));
    reactor->Finish(ToGrpc(tenant.ok() ? run() : tenant.status()));
    return reactor;
  }

  // Request and response live until Finish.
  template <typename Run>
  grpc::ServerUnaryReactor* AnswerOnPool(grpc::CallbackServerContext* context, size_t bytes,
                                         const Run& run) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::StatusOr<std::string> tenant =
        keys_->Authenticate(Metadata(*context, "authorization"));
    if (!tenant.ok()) {
      reactor->Finish(ToGrpc(tenant.status()));
    } else if (!service_->RunPrepared(bytes, [reactor, run] { reactor->Finish(ToGrpc(run())); })) {
      reactor->Finish(ToGrpc(PoolFull()));
    }
    return reactor;
  }

  InferenceService* const service_;
  const ApiKeys* const keys_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceGrpc(InferenceService* service, const ApiKeys* keys) {
  return std::make_unique<InferenceGrpc>(service, keys);
}

}  // namespace pingti::router
