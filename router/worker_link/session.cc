// See session.h. Order of what goes up: hello, cancels, credit, submits.
#include "router/worker_link/session.h"

#include <algorithm>
#include <utility>

#include "common/base/strings.h"
#include "router/worker_link/wire.h"

namespace pingti::router {
namespace {

constexpr uint32_t kProtocolVersion = 1;
constexpr uint32_t kOutputCredit = 256;
constexpr uint32_t kCreditGrant = 64;  // given back in lots of this many StepOutputs
// What an envelope gathers before the next one begins: large enough that headers do not count,
// small enough that others' cancels and credit do not wait for long.
constexpr size_t kEnvelopeBytes = 4u << 20;

}  // namespace

Session::Session(LinkId link, worker::v1::Worker::Stub* stub, WorkerInfo card_info,
                 int max_message_bytes, WorkerEvents* events, const Clock* clock)
    : link_(link),
      max_message_bytes_(max_message_bytes),
      stub_(stub),
      events_(events),
      clock_(clock),
      card_info_(std::move(card_info)) {
  Touch();
}

void Session::Touch() {
  last_message_.store(clock_->Now().time_since_epoch().count(), std::memory_order_relaxed);
}

void Session::Start(const std::string& router_id) {
  router_id_ = router_id;
  stub_->async()->Session(&context_, this);
  StartRead(&incoming_);
  // The hold lets Submit and Cancel start writes from outside gRPC's callbacks; Close drops it.
  AddHold();
  {
    MutexLock lock(&mutex_);
    WriteIfIdle();
  }
  StartCall();
}

void Session::Submit(std::vector<Sequence> sequences) {
  std::vector<worker::v1::Sequence> messages;
  messages.reserve(sequences.size());
  for (const Sequence& sequence : sequences) messages.push_back(ToWire(sequence));
  MutexLock lock(&mutex_);
  if (closed_) return;
  for (worker::v1::Sequence& message : messages) submits_.push_back(std::move(message));
  WriteIfIdle();
}

void Session::Cancel(uint64_t sequence_id) {
  MutexLock lock(&mutex_);
  if (closed_) return;
  // Not sent yet: nothing to cancel there, and the cancel would overtake it.
  const size_t unsent = std::erase_if(submits_, [sequence_id](const worker::v1::Sequence& waiting) {
    return waiting.sequence_id() == sequence_id;
  });
  if (unsent > 0) return;
  cancels_.push_back(sequence_id);
  WriteIfIdle();
}

void Session::Abort(const absl::Status& why) {
  {
    MutexLock lock(&mutex_);
    if (result_.ok()) result_ = why;
  }
  context_.TryCancel();
}

bool Session::BuildNextWrite() {
  outgoing_.Clear();
  if (hello_pending_) {
    hello_pending_ = false;
    worker::v1::Hello* hello = outgoing_.mutable_hello();
    hello->set_protocol_version(kProtocolVersion);
    hello->set_router_id(router_id_);
    hello->set_initial_output_credit(kOutputCredit);
    hello->set_max_message_bytes(static_cast<uint32_t>(max_message_bytes_));
    return true;
  }
  if (!cancels_.empty()) {
    outgoing_.mutable_cancel()->mutable_sequence_ids()->Assign(cancels_.begin(), cancels_.end());
    cancels_.clear();
    return true;
  }
  if (credit_to_give_ > 0) {
    outgoing_.mutable_output_credit()->set_steps(std::exchange(credit_to_give_, 0));
    return true;
  }
  if (submits_.empty()) return false;
  worker::v1::SubmitBatch* batch = outgoing_.mutable_submit();
  const size_t most = std::min(kEnvelopeBytes, static_cast<size_t>(max_message_bytes_));
  constexpr size_t kFramingBytes = 16;  // tag and length of a sequence, and of the batch once
  size_t bytes = kFramingBytes;
  size_t taken = 0;
  while (taken < submits_.size()) {
    bytes += submits_[taken].ByteSizeLong() + kFramingBytes;
    if (taken > 0 && bytes > most) break;
    *batch->add_sequences() = std::move(submits_[taken++]);
  }
  submits_.erase(submits_.begin(), submits_.begin() + static_cast<ptrdiff_t>(taken));
  return true;
}

void Session::WriteIfIdle() {
  // StartWrite under the lock: it only starts the operation, its callback never runs inside it, and
  // Close cannot then drop the hold between the decision and the call.
  if (closed_ || write_in_flight_ || !BuildNextWrite()) return;
  write_in_flight_ = true;
  StartWrite(&outgoing_);
}

void Session::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mutex_);
    write_in_flight_ = false;
    if (ok) WriteIfIdle();
  }
  if (!ok) Close();
}

void Session::OnReadDone(bool ok) {
  if (!ok) {
    Close();
    return;
  }
  Touch();
  HandleMessage();
  StartRead(&incoming_);
}

void Session::HandleMessage() {
  using Response = worker::v1::SessionResponse;
  if (!ready() && incoming_.message_case() != Response::kWelcome) return;
  switch (incoming_.message_case()) {
    case Response::kWelcome:
      HandleWelcome();
      break;
    case Response::kStepOutput:
      events_->OnStepOutput(link_, FromWire(incoming_.mutable_step_output()));
      CountStepOutput();
      break;
    case Response::kSubmitCredit:
      events_->OnSubmitCredit(link_, FromWire(incoming_.submit_credit()));
      break;
    case Response::kLoadReport:
      events_->OnLoadReport(link_, FromWire(incoming_.load_report()));
      break;
    case Response::kDraining:
      events_->OnDraining(link_);
      break;
    case Response::kKvEvents:
      events_->OnKvEvents(link_, FromWire(incoming_.kv_events()));
      break;
    case Response::MESSAGE_NOT_SET:  // a newer worker's message; worker.proto: safe to ignore
      break;
  }
}

void Session::HandleWelcome() {
  if (ready()) return;
  const worker::v1::Welcome& welcome = incoming_.welcome();
  if (welcome.protocol_version() != kProtocolVersion) {
    Abort(absl::FailedPreconditionError(Concat("worker speaks protocol version ",
                                               welcome.protocol_version(), ", expected ",
                                               kProtocolVersion)));
    return;
  }
  WorkerInfo info;
  {
    MutexLock lock(&mutex_);
    info = card_info_;
  }
  if (welcome.model_fingerprint() != info.model->fingerprint) {
    Abort(absl::AbortedError("the worker's model changed between its card and its Welcome"));
    return;
  }
  info.worker_id = welcome.worker_id();
  info.incarnation = welcome.incarnation();
  info.credit_sequences = welcome.initial_credit().max_waiting_sequences();
  info.credit_tokens = welcome.initial_credit().max_waiting_tokens();
  ready_.store(true, std::memory_order_release);
  events_->OnReady(link_, info);
}

void Session::CountStepOutput() {
  if (++outputs_read_ < kCreditGrant) return;
  MutexLock lock(&mutex_);
  credit_to_give_ += std::exchange(outputs_read_, 0);
  WriteIfIdle();
}

void Session::Close() {
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    closed_ = true;
  }
  context_.TryCancel();  // whichever direction still lives ends too
  RemoveHold();
}

void Session::OnDone(const grpc::Status& status) {
  Close();
  MutexLock lock(&mutex_);
  if (result_.ok()) {
    result_ = status.ok() ? absl::UnavailableError("the worker ended the session")
                          : absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                                         status.error_message());
  }
  done_ = true;
  done_changed_.NotifyAll();
}

bool Session::WaitDone(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(&mutex_);
  while (!done_) {
    if (!done_changed_.WaitUntil(&mutex_, deadline)) break;
  }
  return done_;
}

absl::Status Session::result() {
  MutexLock lock(&mutex_);
  return result_;
}

}  // namespace pingti::router
