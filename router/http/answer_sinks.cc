// See answer_sinks.h.
#include "router/http/answer_sinks.h"

#include <utility>

#include "common/base/strings.h"
#include "common/net/sse.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr char kRequestIdHeader[] = "x-request-id";

}  // namespace

net::HttpResponse ErrorResponse(const absl::Status& status, std::string_view request_id) {
  net::HttpResponse response;
  response.status = ToHttpError(status).status;
  response.body = WriteError(status);
  response.headers.emplace_back(kRequestIdHeader, std::string(request_id));
  const int retry_after = RetryAfterSeconds(status);
  if (retry_after > 0) response.headers.emplace_back("retry-after", Concat(retry_after));
  if (response.status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
  return response;
}

BodySink::BodySink(AnswerHead head, size_t num_choices,
                   std::shared_ptr<net::HttpResponder> responder, AnswerEnded ended)
    : head_(std::move(head)),
      responder_(std::move(responder)),
      ended_(std::move(ended)),
      choices_(num_choices) {}

bool BodySink::OnDelta(ChoiceDelta delta) {
  choices_[delta.index].Append(std::move(delta));
  return true;
}

void BodySink::OnDone(const UsageCounts& usage) {
  net::HttpResponse response;
  response.body = WriteAnswer(head_, choices_, usage);
  response.headers.emplace_back(kRequestIdHeader, head_.id);
  ended_(response.status, usage);
  responder_->Send(std::move(response));
}

void BodySink::OnError(const absl::Status& status) {
  ended_(ToHttpError(status).status, {});
  responder_->Send(ErrorResponse(status, head_.id));
}

EventSink::EventSink(AnswerHead head, size_t num_choices, bool include_usage,
                     std::shared_ptr<net::HttpResponder> responder, AnswerEnded ended)
    : request_id_(head.id),
      writer_(head, num_choices, include_usage),
      responder_(std::move(responder)),
      ended_(std::move(ended)) {}

void EventSink::StartIfNeeded() {
  if (std::exchange(started_, true)) return;
  net::HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.emplace_back("cache-control", "no-cache");
  head.headers.emplace_back("x-accel-buffering", "no");  // nginx would hold events back
  head.headers.emplace_back(kRequestIdHeader, request_id_);
  responder_->StartStream(std::move(head));
}

bool EventSink::OnDelta(ChoiceDelta delta) {
  StartIfNeeded();
  std::string events;
  writer_.Delta(delta, &events);
  return responder_->Write(std::move(events));
}

void EventSink::OnDone(const UsageCounts& usage) {
  StartIfNeeded();
  std::string events;
  writer_.Last(usage, &events);
  ended_(200, usage);
  responder_->Write(std::move(events));
  responder_->EndStream();
}

void EventSink::OnError(const absl::Status& status) {
  const int http_status = ToHttpError(status).status;
  ended_(http_status, {});
  if (!started_) {
    responder_->Send(ErrorResponse(status, request_id_));
    return;
  }
  responder_->Write(net::SseData(WriteError(status)));
  responder_->EndStream();
}

void EventSink::OnKeepAlive() {
  StartIfNeeded();
  responder_->Write(net::SseComment("keep-alive"));
}

}  // namespace pingti::router
