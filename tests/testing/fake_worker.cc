// See fake_worker.h. What a test calls; the service is in fake_worker_service.cc.
#include "tests/testing/fake_worker.h"

#include <utility>

#include "tests/testing/fake_worker_service.h"

namespace pingti::testing {

using worker::v1::Finish;
using worker::v1::SessionResponse;

std::vector<uint32_t> ByteTokens(std::string_view text) {
  std::vector<uint32_t> ids;
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

FakeWorker::FakeWorker(FakeWorkerOptions options)
    : service_(std::make_unique<Service>(std::move(options))) {}
FakeWorker::~FakeWorker() = default;

std::string FakeWorker::address() const { return "127.0.0.1:" + std::to_string(port()); }
uint16_t FakeWorker::port() const { return static_cast<uint16_t>(service_->port_); }

void FakeWorker::HoldSteps() {
  std::lock_guard lock(service_->mutex_);
  service_->held_ = true;
}
void FakeWorker::AllowSteps(int count) {
  std::lock_guard lock(service_->mutex_);
  service_->allowed_steps_ += count;
  service_->changed_.notify_all();
}
void FakeWorker::ReleaseSteps() {
  std::lock_guard lock(service_->mutex_);
  service_->held_ = false;
  service_->changed_.notify_all();
}
void FakeWorker::Kill() { service_->Kill(); }
void FakeWorker::Stall() {
  std::lock_guard lock(service_->mutex_);
  service_->stalled_ = true;
}
void FakeWorker::Drain() {
  std::lock_guard lock(service_->mutex_);
  service_->draining_ = true;
  for (Service::Stream* stream : service_->streams_) {
    SessionResponse response;
    response.mutable_draining()->set_deadline_ms(1000);
    stream->Send(std::move(response));
  }
}
void FakeWorker::GiveBack() {
  std::lock_guard lock(service_->mutex_);
  for (Service::Stream* stream : service_->streams_) {
    SessionResponse response;
    for (const auto& [id, running] : stream->running) {
      worker::v1::SequenceOutput* output = response.mutable_step_output()->add_outputs();
      *output = running.held;
      output->set_sequence_id(id);
      output->mutable_finish()->set_reason(Finish::REASON_PREEMPTED);
    }
    stream->running.clear();
    stream->Send(std::move(response));
  }
}
void FakeWorker::RefuseNext(int count, Finish finish) {
  std::lock_guard lock(service_->mutex_);
  service_->refuse_ = count;
  service_->refusal_ = std::move(finish);
}

std::vector<worker::v1::Sequence> FakeWorker::Submitted() const {
  std::lock_guard lock(service_->mutex_);
  return service_->submitted_;
}
size_t FakeWorker::num_submitted() const {
  std::lock_guard lock(service_->mutex_);
  return service_->submitted_.size();
}
size_t FakeWorker::num_cancelled() const {
  std::lock_guard lock(service_->mutex_);
  return service_->num_cancelled_;
}
size_t FakeWorker::num_running() const {
  std::lock_guard lock(service_->mutex_);
  size_t count = 0;
  for (const Service::Stream* stream : service_->streams_) count += stream->running.size();
  return count;
}
size_t FakeWorker::num_sessions() const {
  std::lock_guard lock(service_->mutex_);
  return service_->streams_.size();
}
uint64_t FakeWorker::num_tokens_sent() const {
  std::lock_guard lock(service_->mutex_);
  return service_->tokens_sent_;
}
size_t FakeWorker::num_batches() const {
  std::lock_guard lock(service_->mutex_);
  return service_->num_batches_;
}

}  // namespace pingti::testing
