// See inference_grpc.h.
#include "router/grpc/inference_grpc.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/net/wire_check.h"
#include "proto/pingti/v1/inference.pb.h"
#include "router/admission/quota_headers.h"
#include "router/api/api_error.h"
#include "router/api/client_ids.h"
#include "router/api/client_network.h"
#include "router/grpc/convert.h"
#include "router/grpc/grpc_call.h"

namespace pingti::router {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

// Of the budget for bodies: the message, its parsed form, and what is made of that.
constexpr size_t kMemoryPerByte = 4;

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), StatusText(status)};
}

std::string_view Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

// What goes with the status of a call that an API key made: what the key has left, and when to
// come back after an error that says so.
GrpcAnswer::Trailers TrailersOf(const AdmissionController& admission, const std::string& tenant,
                                const absl::Status& status) {
  GrpcAnswer::Trailers trailers = QuotaHeaders(admission.QuotaOf(tenant));
  const int retry_after = RetryAfterSeconds(status);
  if (retry_after > 0) trailers.emplace_back("retry-after", Concat(retry_after));
  return trailers;
}

// What a generation writes to.
template <typename Response>
class StreamSink final : public ResponseSink {
 public:
  // `head` is what all messages share; `admission` knows what the key `tenant` has left.
  StreamSink(std::shared_ptr<GrpcAnswer> answer, Response head, size_t num_choices,
             const AdmissionController* admission, std::string tenant)
      : head_(std::move(head)),
        role_sent_(num_choices, false),
        answer_(std::move(answer)),
        admission_(admission),
        tenant_(std::move(tenant)) {}

  bool OnDelta(ChoiceDelta delta) override {
    Response message = head_;
    const bool with_role = !role_sent_[delta.index];
    role_sent_[delta.index] = true;
    ToProto(delta, with_role, message.add_deltas());
    return answer_->Write(message);
  }
  void OnDone(const UsageCounts& usage) override {
    Response message = head_;
    ToProto(usage, message.mutable_usage());
    answer_->Write(message);
    End(absl::OkStatus());
  }
  void OnError(const absl::Status& status) override { End(status); }
  void OnKeepAlive() override {}  // HTTP/2 pings do that

 private:
  void End(const absl::Status& status) {
    answer_->Finish(ToGrpc(status), TrailersOf(*admission_, tenant_, status));
  }

  const Response head_;
  std::vector<bool> role_sent_;
  const std::shared_ptr<GrpcAnswer> answer_;
  const AdmissionController* const admission_;
  const std::string tenant_;
};

class InferenceGrpc final : public grpc::CallbackGenericService {
 public:
  InferenceGrpc(InferenceService* service, const ApiKeys* keys, MemoryBudget* bodies,
                ReadTurns* turns)
      : service_(service), keys_(keys), bodies_(bodies), turns_(turns) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    auto* call = new GrpcCall(context, turns_);  // deletes itself in OnDone
    std::string_view name = context->method();
    if (name.starts_with('/')) name.remove_prefix(1);
    const Method* method = FindMethod(name);
    if (method == nullptr) {
      call->answer()->Finish(
          {grpc::StatusCode::UNIMPLEMENTED, Concat("unknown method '", Shorten(name, 100), "'")});
      return call;
    }
    (this->*method->begin)(*method, call);
    return call;
  }

 private:
  struct Method {
    std::string_view name;  // with its service
    std::string_view id_prefix;
    void (InferenceGrpc::*begin)(const Method& method, GrpcCall* call);
  };

  static const Method* FindMethod(std::string_view name) {
    using G = InferenceGrpc;
    static const Method kMethods[] = {
        {"pingti.v1.Inference/Chat", "chatcmpl-", &G::Generate<v1::ChatRequest, v1::ChatResponse>},
        {"pingti.v1.Inference/Complete", "cmpl-",
         &G::Generate<v1::CompleteRequest, v1::CompleteResponse>},
        {"pingti.v1.Inference/ListModels", "req-",
         &G::Answer<v1::ListModelsRequest, v1::ListModelsResponse>},
        {"pingti.v1.Inference/Tokenize", "req-",
         &G::Answer<v1::TokenizeRequest, v1::TokenizeResponse>},
        {"pingti.v1.Inference/Detokenize", "req-",
         &G::Answer<v1::DetokenizeRequest, v1::DetokenizeResponse>},
    };
    const auto* found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                     [&](const Method& method) { return method.name == name; });
    return found == std::end(kMethods) ? nullptr : found;
  }

  absl::Status Run(const v1::ListModelsRequest&, v1::ListModelsResponse* response) {
    for (const ModelStatus& status : service_->Models()) {
      v1::Model* model = response->add_models();
      model->set_id(status.model->id);
      model->set_created_unix_s(status.model->created_unix_s);
      model->set_owned_by(status.model->owned_by);
      model->set_max_context_tokens(status.model->max_context_tokens);
      model->set_ready_workers(status.ready_workers);
    }
    return absl::OkStatus();
  }
  absl::Status Run(const v1::TokenizeRequest& request, v1::TokenizeResponse* response) {
    IgnoredFields ignored;
    PINGTI_ASSIGN_OR_RETURN(const GenerationRequest prompt, FromProto(request, &ignored));
    PINGTI_ASSIGN_OR_RETURN(const InferenceService::TokenizedPrompt tokenized,
                            service_->Tokenize(prompt, request.add_special_tokens()));
    response->mutable_token_ids()->Assign(tokenized.ids.begin(), tokenized.ids.end());
    response->set_max_context_tokens(tokenized.max_context_tokens);
    return absl::OkStatus();
  }
  absl::Status Run(const v1::DetokenizeRequest& request, v1::DetokenizeResponse* response) {
    PINGTI_ASSIGN_OR_RETURN(*response->mutable_text(),
                            service_->Detokenize(request.model(), {request.token_ids().begin(),
                                                                   request.token_ids().end()}));
    return absl::OkStatus();
  }

  template <typename Request, typename Response>
  void Generate(const Method& method, GrpcCall* call) {
    const std::string answer_id = RandomId(method.id_prefix, service_->context().entropy);
    std::shared_ptr<RequestLife> life = Received(call->context(), method.name, answer_id);
    const absl::StatusOr<Tenant> tenant = Authenticate(*call->context());
    if (!tenant.ok()) return Refuse(tenant.status(), call, life.get());
    life->SetTenant(tenant->name, tenant->tenant_class);
    const double weight = tenant->weight;
    call->Read([=, this](absl::Status status) {
      if (status.ok()) {
        status = RunPrepared(call, [=, this] { Start<Request, Response>(call, life, weight); });
      }
      if (!status.ok()) Refuse(status, call, life.get());
    });
  }

  void Refuse(const absl::Status& status, GrpcCall* call, RequestLife* life) const {
    life->End(status);
    call->answer()->Finish(ToGrpc(status),
                           TrailersOf(*service_->context().admission, life->info().tenant, status));
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

  // Runs `task` here or on the pool, by the request's size. The call lives until its Finish.
  // Errors: ResourceExhausted.
  absl::Status RunPrepared(GrpcCall* call, std::function<void()> task) {
    const size_t bytes = call->request()->Length();
    *call->lease() = MemoryBudget::Lease(bodies_);
    if (!call->lease()->GrowTo(kMemoryPerByte * bytes)) {
      return absl::ResourceExhaustedError("too many bytes of requests are being worked on");
    }
    return service_->RunPrepared(bytes, std::move(task)) ? absl::OkStatus() : PoolFull();
  }

  template <typename Request, typename Response>
  void Start(GrpcCall* call, const std::shared_ptr<RequestLife>& life, double weight) {
    const std::shared_ptr<ClientWatch> client = call->client();
    absl::StatusOr<GenerationRequest> request = absl::CancelledError("the client is gone");
    if (!client->gone()) request = Prepare<Request>(call, life->info());
    if (!request.ok()) return Refuse(request.status(), call, life.get());
    request->weight = weight;
    // Held until the text was taken over or refused; the call may be gone by then.
    const MemoryBudget::Lease lease = std::move(*call->lease());
    call->FreeRequest();
    Response head;
    head.set_id(request->id);
    head.set_model(service_->AnswerName(request->model));
    head.set_created_unix_s(request->created_unix_s);
    auto sink = std::make_shared<StreamSink<Response>>(
        call->answer(), std::move(head), request->num_choices(), service_->context().admission,
        request->tenant);
    service_->Start(*std::move(request), life, std::move(sink), client);
  }

  template <typename Request>
  absl::StatusOr<GenerationRequest> Prepare(GrpcCall* call, const RequestInfo& info) {
    Request proto;
    PINGTI_RETURN_IF_ERROR(net::ParseChecked(call->request(), &proto));
    IgnoredFields ignored;
    PINGTI_ASSIGN_OR_RETURN(GenerationRequest request, FromProto(proto, &ignored));
    const std::string named = ignored.Header();
    if (!named.empty()) call->context()->AddInitialMetadata("x-pingti-ignored", named);
    request.id = info.answer_id;
    request.tenant = info.tenant;
    request.network = NetworkOfPeer(call->context()->peer());
    const GenerationContext& generation = service_->context();
    request.created_unix_s = std::chrono::duration_cast<std::chrono::seconds>(
                                 generation.clock->WallNow().time_since_epoch())
                                 .count();
    // A call without a deadline has one at the end of time; a day is as good and cannot overflow.
    const auto left = std::min<system_clock::duration>(
        call->context()->deadline() - system_clock::now(), std::chrono::hours(24));
    request.deadline =
        generation.clock->Now() + std::chrono::duration_cast<steady_clock::duration>(left);
    return request;
  }

  absl::StatusOr<Tenant> Authenticate(const grpc::CallbackServerContext& context) const {
    return keys_->Authenticate(Metadata(context, "authorization"));
  }

  // A call that starts no generation.
  template <typename Request, typename Response>
  void Answer(const Method& method, GrpcCall* call) {
    const absl::StatusOr<Tenant> tenant = Authenticate(*call->context());
    if (!tenant.ok()) {
      const std::string id = RandomId(method.id_prefix, service_->context().entropy);
      return Refuse(tenant.status(), call, Received(call->context(), method.name, id).get());
    }
    call->Read([=, this](absl::Status status) {
      if (status.ok()) {
        status = RunPrepared(call, [=, this] { AnswerNow<Request, Response>(call); });
      }
      if (!status.ok()) call->answer()->Finish(ToGrpc(status));
    });
  }

  template <typename Request, typename Response>
  void AnswerNow(GrpcCall* call) {
    Request request;
    Response response;
    absl::Status status = absl::CancelledError("the client is gone");
    if (!call->client()->gone()) status = net::ParseChecked(call->request(), &request);
    if (status.ok()) status = Run(request, &response);
    const std::shared_ptr<GrpcAnswer> answer = call->answer();
    if (status.ok()) answer->Write(response);
    answer->Finish(ToGrpc(status));
  }

  InferenceService* const service_;
  const ApiKeys* const keys_;
  MemoryBudget* const bodies_;
  ReadTurns* const turns_;
};

}  // namespace

std::unique_ptr<grpc::CallbackGenericService> MakeInferenceGrpc(InferenceService* service,
                                                                const ApiKeys* keys,
                                                                MemoryBudget* bodies,
                                                                ReadTurns* turns) {
  return std::make_unique<InferenceGrpc>(service, keys, bodies, turns);
}

std::string InferenceServiceName() {
  return v1::ChatRequest::descriptor()->file()->service(0)->full_name();
}

}  // namespace pingti::router
