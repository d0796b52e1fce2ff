// See answer_sinks.h.
#include "router/http/answer_sinks.h"

#include <utility>

#include "common/base/strings.h"
#include "common/net/sse.h"
#include "router/admission/quota_headers.h"
#include "router/api/api_error.h"

namespace pingti::router {

void AddIds(const AnswerIds& ids, const ErrorShape& shape, net::HttpResponse* response) {
  response->headers.emplace_back(shape.request_id_header, ids.request_id);
  if (!ids.trace_parent.empty()) response->headers.emplace_back("traceparent", ids.trace_parent);
}

net::HttpResponse ErrorResponse(const absl::Status& status, const ErrorShape& shape,
                                const AnswerIds& ids) {
  net::HttpResponse response;
  response.status = ToHttpError(status).status;
  response.body = shape.body(status, ids.request_id);
  AddIds(ids, shape, &response);
  const int retry_after = RetryAfterSeconds(status);
  if (retry_after > 0) response.headers.emplace_back("retry-after", Concat(retry_after));
  if (response.status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
  return response;
}

namespace {

// The x-ratelimit-* headers, as OpenAI's API has them.
void AddQuota(const AnswerContext& context, net::HttpResponse* response) {
  for (auto& header : QuotaHeaders(context.admission->QuotaOf(context.tenant))) {
    response->headers.push_back(std::move(header));
  }
}

net::HttpResponse ErrorAnswer(const AnswerContext& context, const absl::Status& status) {
  net::HttpResponse response = ErrorResponse(status, *context.errors, context.ids);
  AddQuota(context, &response);
  return response;
}

void AddHeaders(const AnswerContext& context, net::HttpResponse* response) {
  AddIds(context.ids, *context.errors, response);
  AddQuota(context, response);
  if (context.ignored_fields.empty()) return;
  response->headers.emplace_back("x-pingti-ignored", context.ignored_fields);
}

}  // namespace

BodySink::BodySink(AnswerContext context, size_t num_choices)
    : context_(std::move(context)), choices_(num_choices) {}

bool BodySink::OnDelta(ChoiceDelta delta) {
  choices_[delta.index].Append(std::move(delta));
  return true;
}

void BodySink::OnDone(const UsageCounts& usage) {
  net::HttpResponse response;
  response.body = context_.writer->Whole(choices_, usage);
  AddHeaders(context_, &response);
  context_.responder->Send(std::move(response));
}

void BodySink::OnError(const absl::Status& status) {
  context_.responder->Send(ErrorAnswer(context_, status));
}

namespace {

// Of an event with a token or a few, so that its text moves no more often than once.
constexpr size_t kEventBytes = 512;

}  // namespace

net::HttpResponse EventSink::Head() const {
  net::HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.emplace_back("cache-control", "no-cache");
  head.headers.emplace_back("x-accel-buffering", "no");  // nginx would hold events back
  AddHeaders(context_, &head);
  return head;
}

bool EventSink::Write(std::string_view events) {
  if (std::exchange(started_, true)) return context_.responder->Write(events);
  context_.responder->StartStream(Head(), std::string(net::kSseFiller), events);
  return true;
}

void EventSink::End(std::string_view events) {
  if (!std::exchange(started_, true)) {
    context_.responder->StartStream(Head(), std::string(net::kSseFiller));
  }
  context_.responder->EndStream(events);
}

bool EventSink::OnDelta(ChoiceDelta delta) {
  std::string events;
  events.reserve(kEventBytes);
  context_.writer->Delta(delta, &events);
  return Write(events);
}

void EventSink::OnDone(const UsageCounts& usage) {
  std::string events;
  context_.writer->Last(usage, &events);
  End(events);
}

void EventSink::OnError(const absl::Status& status) {
  if (!started_) {
    context_.responder->Send(ErrorAnswer(context_, status));
    return;
  }
  std::string events;
  context_.writer->Error(status, &events);
  End(events);
}

void EventSink::OnKeepAlive() {
  std::string events;
  context_.writer->KeepAlive(&events);
  Write(events);
}

}  // namespace pingti::router
