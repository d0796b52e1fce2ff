// See api_handler.h.
#include "router/http/api_handler.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/anthropic/messages_call.h"
#include "router/anthropic/parse.h"
#include "router/anthropic/writer.h"
#include "router/api/api_error.h"
#include "router/api/client_ids.h"
#include "router/api/client_network.h"
#include "router/http/answer_sinks.h"
#include "router/openai/chat_call.h"
#include "router/openai/parse.h"
#include "router/openai/write.h"
#include "router/pipeline/client_watch.h"
#include "router/responses/responses_call.h"

namespace pingti::router {

// One row of the route table. Exactly one of `parse`, `show` and `answer` is set.
struct ApiHandler::Endpoint {
  std::string_view path;  // every path is also served without its "/v1"
  std::string_view method;
  const ErrorShape* errors;
  CallParser parse = nullptr;  // starts a generation
  std::string_view id_prefix{};
  void (ApiHandler::*show)(const ExchangePtr& exchange) = nullptr;
  // Runs here or on the pool, by the body's size.
  absl::StatusOr<std::string> (ApiHandler::*answer)(std::string_view body) = nullptr;
  bool is_open = false;  // needs no key
};

// One request and its answer.
struct ApiHandler::Exchange {
  net::HttpRequest request;
  std::shared_ptr<net::HttpResponder> responder;
  const Endpoint* endpoint = nullptr;
  AnswerIds ids;
  double weight = 1;           // of the client's turns
  bool has_client_id = false;  // ids.request_id is the client's own
  std::shared_ptr<ClientWatch> client = std::make_shared<ClientWatch>();  // for its connection
  std::shared_ptr<RequestLife> life;  // of what starts a generation

  const ErrorShape& errors() const {
    return endpoint == nullptr ? kOpenAiErrors : *endpoint->errors;
  }
  void SendError(const absl::Status& status) {
    if (life != nullptr) life->End(status);
    responder->Send(ErrorResponse(status, errors(), ids));
  }
};

namespace {

constexpr std::string_view kModelsPrefix = "/models/";

// Every path is served with and without it.
std::string_view WithoutVersion(std::string_view path) {
  if (path.starts_with("/v1/")) path.remove_prefix(3);
  return path;
}

// A request's, which may have a slash behind it.
std::string_view PathOf(const net::HttpRequest& request) {
  std::string_view path = WithoutVersion(request.path);
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

// Why a body is not read; empty: it is. A page of another origin can make a browser send a body of
// any type but JSON without asking first.
std::string_view UnreadableBody(const net::HttpRequest& head) {
  const std::string_view coding = head.Header("content-encoding");
  if (!coding.empty() && coding != "identity") return "The body must not be compressed";
  if (head.method != "POST") return "";
  const bool is_json = head.Header("content-type").starts_with("application/json");
  if (head.Header("origin").empty() || is_json) return "";
  return "A browser's body must have the type application/json";
}

absl::Status UnknownUrl(const net::HttpRequest& request) {
  return ApiError(absl::StatusCode::kNotFound,
                  Concat("Unknown request URL: ", request.method, " ", request.path), "",
                  "unknown_url");
}

}  // namespace

const ApiHandler::Endpoint* ApiHandler::FindEndpoint(std::string_view path) {
  using H = ApiHandler;
  static const Endpoint kEndpoints[] = {
      {"/v1/chat/completions", "POST", &kOpenAiErrors, &ParseChatCall, "chatcmpl-"},
      {"/v1/completions", "POST", &kOpenAiErrors, &ParseCompletionCall, "cmpl-"},
      {"/v1/responses", "POST", &kResponsesErrors, &ParseResponsesCall, "resp_"},
      {"/v1/messages", "POST", &kAnthropicErrors, &ParseMessagesCall, "msg_"},
      {"/v1/messages/count_tokens", "POST", &kAnthropicErrors, nullptr, "", nullptr,
       &H::CountTokensNow},
      {"/v1/models", "GET", &kOpenAiErrors, nullptr, "", &H::ListModels},
      {"/v1/models/", "GET", &kOpenAiErrors, nullptr, "", &H::ShowModel},
      {"/v1/tokenize", "POST", &kOpenAiErrors, nullptr, "", nullptr, &H::TokenizeNow},
      {"/v1/detokenize", "POST", &kOpenAiErrors, nullptr, "", nullptr, &H::DetokenizeNow},
      {"/v1/load_lora_adapter", "POST", &kOpenAiErrors, nullptr, "", &H::LoadAdapter},
      {"/v1/unload_lora_adapter", "POST", &kOpenAiErrors, nullptr, "", &H::UnloadAdapter},
      {"/health", "GET", &kOpenAiErrors, nullptr, "", &H::ShowHealth, nullptr, true},
  };
  const bool one_model = path.starts_with(kModelsPrefix) && path.size() > kModelsPrefix.size();
  for (const Endpoint& known : kEndpoints) {
    const std::string_view known_path = WithoutVersion(known.path);
    if (known_path == kModelsPrefix ? one_model : known_path == path) return &known;
  }
  return nullptr;
}

net::HttpResponse ApiHandler::ProtocolError(int status, std::string_view reason) {
  net::HttpResponse response;
  response.status = status;
  response.body =
      WriteError(reason, status >= 500 ? "server_error" : "invalid_request_error", "", "");
  return response;
}

std::optional<net::HttpResponse> ApiHandler::Refuse(const net::HttpRequest& head) const {
  if (head.method == "GET" || head.method == "HEAD") return std::nullopt;  // no body to wait for
  const Endpoint* endpoint = FindEndpoint(PathOf(head));
  const AnswerIds ids = IdsOf(head);
  if (endpoint == nullptr) return ErrorResponse(UnknownUrl(head), kOpenAiErrors, ids);
  const std::string_view unreadable = UnreadableBody(head);
  if (!unreadable.empty()) return ProtocolError(415, unreadable);
  const absl::StatusOr<Tenant> tenant = Authenticate(head);
  if (tenant.ok()) return std::nullopt;
  Received(*endpoint, ids)->End(tenant.status());
  return ErrorResponse(tenant.status(), *endpoint->errors, ids);
}

AnswerIds ApiHandler::IdsOf(const net::HttpRequest& request) const {
  ClientIds ids = ReadClientIds(request.Header("x-request-id"), request.Header("traceparent"));
  return {ids.request_id.empty() ? RandomId("req-", service_->context().entropy)
                                 : std::move(ids.request_id),
          std::move(ids.trace_parent)};
}

std::shared_ptr<RequestLife> ApiHandler::Received(const Endpoint& endpoint,
                                                  const AnswerIds& ids) const {
  return service_->Received({.transport = Transport::kHttp,
                             .endpoint = endpoint.path,
                             .id = ids.request_id,
                             .trace_parent = ids.trace_parent});
}

void ApiHandler::Handle(net::HttpRequest request, std::shared_ptr<net::HttpResponder> responder) {
  auto exchange = std::make_shared<Exchange>();
  exchange->ids = IdsOf(request);
  exchange->has_client_id = exchange->ids.request_id == request.Header("x-request-id");
  exchange->request = std::move(request);
  exchange->responder = std::move(responder);
  exchange->responder->OnClose([client = exchange->client] { client->OnGone(); });
  Route(exchange);
}

void ApiHandler::Route(const ExchangePtr& exchange) {
  const net::HttpRequest& request = exchange->request;
  const Endpoint* endpoint = FindEndpoint(PathOf(request));
  if (endpoint == nullptr) {
    exchange->SendError(UnknownUrl(request));
    return;
  }
  const bool is_get = endpoint->method == "GET";
  // The server leaves the body of an answer to HEAD out.
  if (request.method != endpoint->method && !(is_get && request.method == "HEAD")) {
    net::HttpResponse response =
        ProtocolError(405, Concat("Not allowed to ", request.method, " on ", request.path));
    response.headers.emplace_back("allow", is_get ? "GET, HEAD" : std::string(endpoint->method));
    exchange->responder->Send(std::move(response));
    return;
  }
  exchange->endpoint = endpoint;
  const std::string_view unreadable = UnreadableBody(request);
  if (!unreadable.empty()) {
    exchange->responder->Send(ProtocolError(415, unreadable));
    return;
  }
  if (endpoint->is_open) return (this->*endpoint->show)(exchange);
  absl::StatusOr<Tenant> tenant = Authenticate(request);
  if (!tenant.ok() || endpoint->parse != nullptr) {
    exchange->life = Received(*endpoint, exchange->ids);
  }
  if (!tenant.ok()) return exchange->SendError(tenant.status());
  if (endpoint->show != nullptr) return (this->*endpoint->show)(exchange);
  if (endpoint->answer != nullptr) return AnswerWith(exchange, endpoint->answer);
  exchange->life->SetTenant(tenant->name, tenant->tenant_class);
  exchange->weight = tenant->weight;
  RunPrepared(exchange, [this, exchange] { StartGeneration(exchange); });
}

absl::StatusOr<Tenant> ApiHandler::Authenticate(const net::HttpRequest& request) const {
  const std::string_view authorization = request.Header("authorization");
  if (!authorization.empty()) return keys_->Authenticate(authorization);
  for (const char* name : {"x-api-key", "api-key"}) {  // as Anthropic's and as Azure's clients do
    const std::string_view key = request.Header(name);
    if (!key.empty()) return keys_->Authenticate(Concat("Bearer ", key));
  }
  return keys_->Authenticate("");
}

void ApiHandler::RunPrepared(const ExchangePtr& exchange, std::function<void()> task) {
  const bool taken =
      service_->RunPrepared(exchange->request.body.size(), [exchange, task = std::move(task)] {
        if (!exchange->client->gone()) task();
      });
  if (!taken) exchange->SendError(PoolFull());
}

void ApiHandler::StartGeneration(const ExchangePtr& exchange) {
  const GenerationContext& context = service_->context();
  const Endpoint& endpoint = *exchange->endpoint;
  const std::string id = RandomId(endpoint.id_prefix, context.entropy);
  const int64_t created =
      std::chrono::duration_cast<std::chrono::seconds>(context.clock->WallNow().time_since_epoch())
          .count();
  absl::StatusOr<ParsedCall> call = endpoint.parse(
      {exchange->request.body, exchange->request.Header("anthropic-version"), id, created,
       [this](std::string_view name) { return service_->AnswerName(name); }});
  std::string().swap(exchange->request.body);
  // Held until the text was taken over or refused.
  const std::shared_ptr<MemoryBudget::Lease> lease = std::move(exchange->request.body_lease);
  if (!call.ok()) return exchange->SendError(call.status());
  RequestLife& life = *exchange->life;
  if (!exchange->has_client_id) exchange->ids.request_id = id;
  life.SetAnswerId(exchange->ids.request_id, id);
  GenerationRequest& request = call->request;
  request.tenant = life.info().tenant;
  request.weight = exchange->weight;
  request.network = ClientNetwork(exchange->request.remote_address);
  request.stream = call->stream;
  AnswerContext answer{exchange->ids,           endpoint.errors,     call->ignored.Header(),
                       std::move(call->writer), exchange->responder, context.admission,
                       request.tenant};
  std::shared_ptr<ResponseSink> sink;
  if (call->stream) {
    sink = std::make_shared<EventSink>(std::move(answer));
  } else {
    sink = std::make_shared<BodySink>(std::move(answer), request.num_choices());
  }
  service_->Start(std::move(request), exchange->life, std::move(sink), exchange->client);
}

// For those who look at the port they send requests to; the admin port says more.
void ApiHandler::ShowHealth(const ExchangePtr& exchange) {
  net::HttpResponse response;
  response.body = "{\"status\":\"ok\"}";
  exchange->responder->Send(std::move(response));
}

void ApiHandler::ListModels(const ExchangePtr& exchange) {
  std::vector<ModelEntry> entries;
  const auto is_listed = [&](std::string_view id) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const ModelEntry& entry) { return entry.id == id; });
  };
  for (const ModelStatus& status : service_->Models()) {
    const ServedModel& model = *status.model;
    if (is_listed(model.id)) continue;  // a second build of the same model
    entries.push_back(
        {model.id, model.created_unix_s, model.owned_by, model.max_context_tokens, model.parent});
    for (const std::string& alias : model.aliases) {
      if (is_listed(alias)) continue;
      entries.push_back({alias, model.created_unix_s, model.owned_by, model.max_context_tokens});
    }
  }
  // What the settings name is listed whether or not a worker serves it now.
  const std::shared_ptr<const ModelTable> named = service_->model_names().table();
  for (const std::string& id : named->models) {
    if (!is_listed(id)) entries.push_back({.id = id});
  }
  for (const auto& [alias, id] : named->aliases) {
    if (is_listed(alias)) continue;
    const auto model = std::find_if(entries.begin(), entries.end(),
                                    [&](const ModelEntry& entry) { return entry.id == id; });
    ModelEntry entry = model == entries.end() ? ModelEntry{} : *model;
    entry.id = alias;
    entries.push_back(std::move(entry));
  }
  net::HttpResponse response;
  response.body = WriteModels(entries);
  exchange->responder->Send(std::move(response));
}

void ApiHandler::ShowModel(const ExchangePtr& exchange) {
  const std::string_view id = PathOf(exchange->request).substr(kModelsPrefix.size());
  const absl::StatusOr<std::shared_ptr<const ServedModel>> model = service_->FindModel(id);
  if (!model.ok()) return exchange->SendError(model.status());
  net::HttpResponse response;
  response.body = WriteModel({std::string(id), (*model)->created_unix_s, (*model)->owned_by,
                              (*model)->max_context_tokens, (*model)->parent});
  exchange->responder->Send(std::move(response));
}

void ApiHandler::LoadAdapter(const ExchangePtr& exchange) { ChangeAdapter(exchange, true); }

void ApiHandler::UnloadAdapter(const ExchangePtr& exchange) { ChangeAdapter(exchange, false); }

void ApiHandler::ChangeAdapter(const ExchangePtr& exchange, bool load) {
  const absl::StatusOr<ParsedAdapterChange> parsed =
      ParseAdapterChange(exchange->request.body, load);
  if (!parsed.ok()) return exchange->SendError(parsed.status());
  const AdapterChange change{load, parsed->name, parsed->path};
  const absl::Status asked = service_->Change(
      change, parsed->model, [exchange, change](const std::vector<AdapterChangeResult>& results) {
        const absl::Status status = ChangeStatus(change, results);
        if (!status.ok()) return exchange->SendError(status);
        std::vector<std::pair<std::string, bool>> workers;
        for (const AdapterChangeResult& result : results) {
          workers.emplace_back(result.worker, result.status.ok());
        }
        net::HttpResponse response;
        response.body = WriteAdapterChange(change.name, change.load, workers);
        exchange->responder->Send(std::move(response));
      });
  if (!asked.ok()) exchange->SendError(asked);
}

void ApiHandler::AnswerWith(const ExchangePtr& exchange,
                            absl::StatusOr<std::string> (ApiHandler::*answer)(std::string_view)) {
  RunPrepared(exchange, [=, this] {
    absl::StatusOr<std::string> body = (this->*answer)(exchange->request.body);
    if (!body.ok()) return exchange->SendError(body.status());
    net::HttpResponse response;
    response.body = *std::move(body);
    exchange->responder->Send(std::move(response));
  });
}

absl::StatusOr<std::string> ApiHandler::TokenizeNow(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(const ParsedTokenize parsed, ParseTokenizeRequest(body));
  PINGTI_ASSIGN_OR_RETURN(const InferenceService::TokenizedPrompt prompt,
                          service_->Tokenize(parsed.request, parsed.add_special_tokens));
  return WriteTokens(prompt.ids, prompt.max_context_tokens);
}

absl::StatusOr<std::string> ApiHandler::CountTokensNow(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(const ParsedRequest parsed, ParseCountTokensRequest(body));
  PINGTI_ASSIGN_OR_RETURN(const InferenceService::TokenizedPrompt prompt,
                          service_->Tokenize(parsed.request, /*add_special_tokens=*/false));
  return WriteTokenCount(prompt.ids.size());
}

absl::StatusOr<std::string> ApiHandler::DetokenizeNow(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(const ParsedDetokenize parsed, ParseDetokenizeRequest(body));
  PINGTI_ASSIGN_OR_RETURN(const std::string text,
                          service_->Detokenize(parsed.model, parsed.tokens));
  return WriteText(text);
}

}  // namespace pingti::router
