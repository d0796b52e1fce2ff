// See api_handler.h.
#include "router/http/api_handler.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/http/answer_sinks.h"
#include "router/openai/parse.h"
#include "router/pipeline/request_log.h"

namespace pingti::router {

using std::chrono::steady_clock;

// Brings the end of a connection and the generation it has to cancel together, whichever comes
// first.
class ApiHandler::CloseWatch {
 public:
  void OnClose() {
    std::shared_ptr<Generation> generation;
    {
      MutexLock lock(&mutex_);
      closed_ = true;
      generation = generation_.lock();
    }
    if (generation != nullptr) Cancel(generation.get());
  }
  void OnStarted(const std::shared_ptr<Generation>& generation) {
    {
      MutexLock lock(&mutex_);
      generation_ = generation;
      if (!closed_) return;
    }
    Cancel(generation.get());
  }

 private:
  static void Cancel(Generation* generation) {
    generation->Cancel(absl::CancelledError("the client is gone"));
  }

  Mutex mutex_;
  bool closed_ PINGTI_GUARDED_BY(mutex_) = false;
  // Weak: the generation owns the connection's responder, which owns this.
  std::weak_ptr<Generation> generation_ PINGTI_GUARDED_BY(mutex_);
};

// One request and its answer.
struct ApiHandler::Exchange {
  net::HttpRequest request;
  std::shared_ptr<net::HttpResponder> responder;
  std::string endpoint;  // the path's known form, for metrics: "/v1/chat/completions"
  std::string id;
  std::string tenant;
  steady_clock::time_point arrived;
  std::shared_ptr<CloseWatch> close_watch;  // shared with the connection

  void SendError(const absl::Status& status) { responder->Send(ErrorResponse(status, id)); }
};

namespace {

constexpr std::string_view kModelsPrefix = "/models/";

struct Endpoint {
  std::string_view path;
  std::string_view method;
};
constexpr std::array<Endpoint, 5> kEndpoints = {{{"/chat/completions", "POST"},
                                                 {"/completions", "POST"},
                                                 {"/models", "GET"},
                                                 {"/tokenize", "POST"},
                                                 {"/detokenize", "POST"}}};

}  // namespace

net::HttpResponse ApiHandler::ProtocolError(int status, std::string_view reason) {
  net::HttpResponse response;
  response.status = status;
  response.body =
      WriteError(reason, status >= 500 ? "server_error" : "invalid_request_error", "", "");
  return response;
}

void ApiHandler::Handle(net::HttpRequest request, std::shared_ptr<net::HttpResponder> responder) {
  auto exchange = std::make_shared<Exchange>();
  exchange->request = std::move(request);
  exchange->responder = std::move(responder);
  exchange->id = RandomId("req-", service_->context().entropy);
  exchange->arrived = service_->context().clock->Now();
  Route(exchange);
}

void ApiHandler::Route(const ExchangePtr& exchange) {
  std::string_view path = exchange->request.path;
  if (path.starts_with("/v1/")) path.remove_prefix(3);
  const bool one_model = path.starts_with(kModelsPrefix) && path.size() > kModelsPrefix.size();
  const Endpoint* endpoint = nullptr;
  for (const Endpoint& known : kEndpoints) {
    if (path == known.path || (one_model && known.path == "/models")) endpoint = &known;
  }
  if (endpoint == nullptr) {
    exchange->SendError(ApiError(
        absl::StatusCode::kNotFound,
        Concat("Unknown request URL: ", exchange->request.method, " ", exchange->request.path), "",
        "unknown_url"));
    return;
  }
  if (exchange->request.method != endpoint->method) {
    net::HttpResponse response = ProtocolError(
        405, Concat("Not allowed to ", exchange->request.method, " on ", exchange->request.path));
    response.headers.emplace_back("allow", std::string(endpoint->method));
    exchange->responder->Send(std::move(response));
    return;
  }
  exchange->endpoint = Concat("/v1", endpoint->path);
  absl::StatusOr<std::string> tenant =
      keys_->Authenticate(exchange->request.Header("authorization"));
  if (!tenant.ok()) return exchange->SendError(tenant.status());
  exchange->tenant = *std::move(tenant);
  if (one_model) return ShowModel(exchange, path.substr(kModelsPrefix.size()));
  if (endpoint->path == "/models") return ListModels(exchange);
  if (endpoint->path == "/tokenize") return AnswerWith(exchange, &ApiHandler::TokenizeNow);
  if (endpoint->path == "/detokenize") return AnswerWith(exchange, &ApiHandler::DetokenizeNow);
  Generate(exchange, endpoint->path == "/completions" ? GenerationRequest::Kind::kCompletion
                                                      : GenerationRequest::Kind::kChat);
}

void ApiHandler::Generate(const ExchangePtr& exchange, GenerationRequest::Kind kind) {
  exchange->close_watch = std::make_shared<CloseWatch>();
  exchange->responder->OnClose([watch = exchange->close_watch] { watch->OnClose(); });
  const bool taken = service_->RunPrepared(
      exchange->request.body.size(), [this, exchange, kind] { StartGeneration(exchange, kind); });
  if (!taken) exchange->SendError(PoolFull());
}

void ApiHandler::StartGeneration(const ExchangePtr& exchange, GenerationRequest::Kind kind) {
  const GenerationContext& context = service_->context();
  const bool chat = kind == GenerationRequest::Kind::kChat;
  absl::StatusOr<ParsedRequest> parsed = chat ? ParseChatRequest(exchange->request.body)
                                              : ParseCompletionRequest(exchange->request.body);
  std::string().swap(exchange->request.body);
  if (!parsed.ok()) {
    RecordRequest(*service_,
                  {exchange->endpoint, "", exchange->id,
                   Concat(ToHttpError(parsed.status()).status), exchange->arrived},
                  {});
    return exchange->SendError(parsed.status());
  }
  GenerationRequest& request = parsed->request;
  request.id = RandomId(chat ? "chatcmpl-" : "cmpl-", context.entropy);
  exchange->id = request.id;
  request.tenant = exchange->tenant;
  request.created_unix_s =
      std::chrono::duration_cast<std::chrono::seconds>(context.clock->WallNow().time_since_epoch())
          .count();
  AnswerHead head{kind, request.id, request.model, request.created_unix_s, request.params.logprobs};
  AnswerEnded ended = [this, endpoint = exchange->endpoint, model = request.model, id = request.id,
                       arrived = exchange->arrived](int status, const UsageCounts& usage) {
    RecordRequest(*service_, {endpoint, model, id, Concat(status), arrived}, usage);
  };
  std::shared_ptr<ResponseSink> sink;
  const size_t choices = request.num_choices();
  if (parsed->stream) {
    sink = std::make_shared<EventSink>(std::move(head), choices, parsed->include_usage,
                                       exchange->responder, std::move(ended));
  } else {
    sink =
        std::make_shared<BodySink>(std::move(head), choices, exchange->responder, std::move(ended));
  }
  absl::StatusOr<std::shared_ptr<Generation>> generation =
      service_->Start(std::move(request), sink);
  if (!generation.ok()) return sink->OnError(generation.status());
  exchange->close_watch->OnStarted(*generation);
}

void ApiHandler::ListModels(const ExchangePtr& exchange) {
  std::vector<ModelEntry> entries;
  for (const ModelStatus& status : service_->Models()) {
    const ServedModel& model = *status.model;
    const bool listed = std::any_of(entries.begin(), entries.end(),
                                    [&](const ModelEntry& entry) { return entry.id == model.id; });
    if (listed) continue;  // a second build of the same model
    entries.push_back({model.id, model.created_unix_s, model.owned_by, model.max_context_tokens});
    for (const std::string& alias : model.aliases) {
      entries.push_back({alias, model.created_unix_s, model.owned_by, model.max_context_tokens});
    }
  }
  net::HttpResponse response;
  response.body = WriteModels(entries);
  exchange->responder->Send(std::move(response));
}

void ApiHandler::ShowModel(const ExchangePtr& exchange, std::string_view id) {
  const absl::StatusOr<std::shared_ptr<const ServedModel>> model = service_->FindModel(id);
  if (!model.ok()) return exchange->SendError(model.status());
  net::HttpResponse response;
  response.body = WriteModel({std::string(id), (*model)->created_unix_s, (*model)->owned_by,
                              (*model)->max_context_tokens});
  exchange->responder->Send(std::move(response));
}

void ApiHandler::AnswerWith(const ExchangePtr& exchange,
                            absl::StatusOr<std::string> (ApiHandler::*answer)(std::string_view)) {
  const bool taken = service_->RunPrepared(exchange->request.body.size(), [=, this] {
    absl::StatusOr<std::string> body = (this->*answer)(exchange->request.body);
    if (!body.ok()) return exchange->SendError(body.status());
    net::HttpResponse response;
    response.body = *std::move(body);
    exchange->responder->Send(std::move(response));
  });
  if (!taken) exchange->SendError(PoolFull());
}

absl::StatusOr<std::string> ApiHandler::TokenizeNow(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(const ParsedTokenize parsed, ParseTokenizeRequest(body));
  PINGTI_ASSIGN_OR_RETURN(const std::shared_ptr<const ServedModel> model,
                          service_->FindModel(parsed.request.model));
  std::string text;
  bool add_special_tokens = parsed.add_special_tokens;
  if (parsed.request.kind == GenerationRequest::Kind::kChat) {
    PINGTI_ASSIGN_OR_RETURN(
        text, RenderChat(*model, parsed.request, service_->context().clock->WallNow()));
    add_special_tokens = false;
  } else {
    text = std::get<std::string>(parsed.request.prompts.front());
  }
  PINGTI_ASSIGN_OR_RETURN(const std::vector<uint32_t> ids,
                          TokenizeText(*model, text, add_special_tokens));
  return WriteTokens(ids, model->max_context_tokens);
}

absl::StatusOr<std::string> ApiHandler::DetokenizeNow(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(const ParsedDetokenize parsed, ParseDetokenizeRequest(body));
  PINGTI_ASSIGN_OR_RETURN(const std::shared_ptr<const ServedModel> model,
                          service_->FindModel(parsed.model));
  PINGTI_ASSIGN_OR_RETURN(const std::string text, DetokenizeIds(*model, parsed.tokens));
  return WriteText(text);
}

}  // namespace pingti::router
