// See grpc_call.h.
#include "router/grpc/grpc_call.h"

#include <google/protobuf/message.h>

#include "common/net/wire_check.h"

namespace pingti::router {
namespace {

// Messages that may wait for a client that does not read, beside one more; then its call is
// cancelled.
constexpr size_t kMaxWaitingBytes = 4u << 20;

}  // namespace

bool GrpcAnswer::Write(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes = net::Serialize(message);
  MutexLock lock(&mutex_);
  if (call_ == nullptr || finishing_) return false;
  if (waiting_bytes_ > kMaxWaitingBytes) {
    call_->Cut();
    return false;
  }
  waiting_bytes_ += bytes.Length();
  waiting_.push_back(std::move(bytes));
  Advance();
  return true;
}

void GrpcAnswer::Finish(grpc::Status status, const Trailers& trailers) {
  MutexLock lock(&mutex_);
  if (finishing_) return;
  if (call_ != nullptr) {
    for (const auto& [name, value] : trailers) call_->context()->AddTrailingMetadata(name, value);
  }
  if (!status.ok()) Clear();
  final_ = std::move(status);
  finishing_ = true;
  Advance();
}

void GrpcAnswer::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  current_.Clear();
  if (!ok) Clear();
  Advance();
}

void GrpcAnswer::Detach() {
  MutexLock lock(&mutex_);
  call_ = nullptr;
  Clear();
}

void GrpcAnswer::Clear() {
  waiting_.clear();
  waiting_bytes_ = 0;
}

void GrpcAnswer::Advance() {
  if (call_ == nullptr || writing_ || finished_) return;
  if (!waiting_.empty()) {
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= current_.Length();
    writing_ = true;
    call_->StartWrite(&current_);
  } else if (finishing_) {
    finished_ = true;
    call_->Finish(final_);
  }
}

void GrpcCall::Read(std::function<void(const absl::Status&)> on_request) {
  on_request_ = std::move(on_request);
  turns_->Enter(this, context_->peer());
}

void GrpcCall::OnOverdue() {
  // Ends the read, too.
  answer_->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED,
                   "the request's message took too long to arrive, and others wait"});
}

void GrpcCall::OnReadDone(bool ok) {
  turns_->Leave(this);
  absl::Status status;
  if (!ok) {
    status = context_->IsCancelled()
                 ? absl::CancelledError("the client is gone")
                 : absl::ResourceExhaustedError(
                       "the request's message is missing, too large, or took too long to arrive");
  }
  on_request_(status);
}

void GrpcCall::OnCancel() {
  client_->OnGone();
  // No read was started that could fail.
  if (turns_->Leave(this)) on_request_(absl::CancelledError("the client is gone"));
}

void GrpcCall::FreeRequest() {
  request_.Clear();
  lease_.Release();
}

void GrpcCall::OnDone() {
  answer_->Detach();
  delete this;
}

}  // namespace pingti::router
