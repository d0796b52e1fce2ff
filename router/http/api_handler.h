// The HTTP API: routes, authentication, and the two ways an answer goes out (one body, or events).
//
// Everything here runs on the HTTP server's I/O threads and returns at once; answers are written
// from whichever thread moves the request on (see pipeline/generation.h). Read next:
// answer_sinks.h.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/net/http_server.h"
#include "router/admission/api_keys.h"
#include "router/http/answer_sinks.h"
#include "router/pipeline/inference_service.h"

namespace pingti::router {

// Thread-safe.
class ApiHandler {
 public:
  // Both must outlive this and every answer it started.
  ApiHandler(InferenceService* service, const ApiKeys* keys) : service_(service), keys_(keys) {}

  // For HttpServerOptions::refuse: who has no key, or asks for what there is not, sends no body.
  std::optional<net::HttpResponse> Refuse(const net::HttpRequest& head) const;

  void Handle(net::HttpRequest request, std::shared_ptr<net::HttpResponder> responder);

  // For HttpServerOptions::protocol_error: OpenAI's error shape for what never gets here.
  static net::HttpResponse ProtocolError(int status, std::string_view reason);

 private:
  struct Endpoint;
  struct Exchange;
  using ExchangePtr = std::shared_ptr<Exchange>;

  static const Endpoint* FindEndpoint(std::string_view path_without_version);

  void Route(const ExchangePtr& exchange);
  // The client's ids, or new ones.
  AnswerIds IdsOf(const net::HttpRequest& request) const;
  std::shared_ptr<RequestLife> Received(const Endpoint& endpoint, const AnswerIds& ids) const;
  absl::StatusOr<Tenant> Authenticate(const net::HttpRequest& request) const;
  // Runs `task` here or on the pool, by the body's size; not at all once the client is gone.
  void RunPrepared(const ExchangePtr& exchange, std::function<void()> task);
  void StartGeneration(const ExchangePtr& exchange);
  void ShowHealth(const ExchangePtr& exchange);
  void ListModels(const ExchangePtr& exchange);
  void ShowModel(const ExchangePtr& exchange);
  void LoadAdapter(const ExchangePtr& exchange);
  void UnloadAdapter(const ExchangePtr& exchange);
  void ChangeAdapter(const ExchangePtr& exchange, bool load);
  absl::StatusOr<std::string> CountTokensNow(std::string_view body);
  absl::StatusOr<std::string> TokenizeNow(std::string_view body);
  absl::StatusOr<std::string> DetokenizeNow(std::string_view body);
  // Runs `answer` here or on the pool, by the body's size, and sends what it gives.
  void AnswerWith(const ExchangePtr& exchange,
                  absl::StatusOr<std::string> (ApiHandler::*answer)(std::string_view body));

  InferenceService* const service_;
  const ApiKeys* const keys_;
};

}  // namespace pingti::router
