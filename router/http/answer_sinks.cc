// See answer_sinks.h.
#include "router/http/answer_sinks.h"

#include <utility>

#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {

net::HttpResponse ErrorResponse(const absl::Status& status, const ErrorShape& shape,
                                std::string_view request_id) {
  net::HttpResponse response;
  response.status = ToHttpError(status).status;
  response.body = shape.body(status, request_id);
  response.headers.emplace_back(shape.request_id_header, request_id);
  const int retry_after = RetryAfterSeconds(status);
  if (retry_after > 0) response.headers.emplace_back("retry-after", Concat(retry_after));
  if (response.status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
  return response;
}

BodySink::BodySink(AnswerContext context, size_t num_choices)
    : context_(std::move(context)), choices_(num_choices) {}

bool BodySink::OnDelta(ChoiceDelta delta) {
  choices_[delta.index].Append(std::move(delta));
  return true;
}

void BodySink::OnDone(const UsageCounts& usage) {
  net::HttpResponse response;
  response.body = context_.writer->Whole(choices_, usage);
  response.headers.emplace_back(context_.errors->request_id_header, context_.request_id);
  context_.ended(response.status, usage);
  context_.responder->Send(std::move(response));
}

void BodySink::OnError(const absl::Status& status) {
  context_.ended(ToHttpError(status).status, {});
  context_.responder->Send(ErrorResponse(status, *context_.errors, context_.request_id));
}

void EventSink::StartIfNeeded() {
  if (std::exchange(started_, true)) return;
  net::HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.emplace_back("cache-control", "no-cache");
  head.headers.emplace_back("x-accel-buffering", "no");  // nginx would hold events back
  head.headers.emplace_back(context_.errors->request_id_header, context_.request_id);
  context_.responder->StartStream(std::move(head));
}

bool EventSink::OnDelta(ChoiceDelta delta) {
  StartIfNeeded();
  std::string events;
  context_.writer->Delta(delta, &events);
  return context_.responder->Write(std::move(events));
}

void EventSink::OnDone(const UsageCounts& usage) {
  StartIfNeeded();
  std::string events;
  context_.writer->Last(usage, &events);
  context_.ended(200, usage);
  context_.responder->Write(std::move(events));
  context_.responder->EndStream();
}

void EventSink::OnError(const absl::Status& status) {
  const int http_status = ToHttpError(status).status;
  context_.ended(http_status, {});
  if (!started_) {
    context_.responder->Send(ErrorResponse(status, *context_.errors, context_.request_id));
    return;
  }
  std::string events;
  context_.writer->Error(status, &events);
  context_.responder->Write(std::move(events));
  context_.responder->EndStream();
}

void EventSink::OnKeepAlive() {
  StartIfNeeded();
  std::string events;
  context_.writer->KeepAlive(&events);
  context_.responder->Write(std::move(events));
}

}  // namespace pingti::router
