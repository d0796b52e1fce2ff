// See session.h. Order of what goes up: hello, cancels, credit, submits.
#include "router/worker_link/session.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "common/base/strings.h"
#include "common/net/wire_check.h"
#include "router/worker_link/wire.h"

namespace pingti::router {
namespace {

constexpr uint32_t kProtocolVersion = 1;
constexpr uint32_t kOutputCredit = 256;
constexpr uint32_t kCreditGrant = 64;  // given back in lots of this many StepOutputs
// What an envelope gathers before the next one begins: large enough that headers do not count,
// small enough that others' cancels and credit do not wait for long.
constexpr size_t kEnvelopeBytes = 4u << 20;
constexpr size_t kFramingBytes = 16;  // tag and length of a sequence, and of the batch once
// Of one message up: fewer than worker.proto allows.
constexpr size_t kMaxSequences = 1'024;
constexpr size_t kMaxCancels = 16'384;
// Cancels that may wait for a worker that does not read.
constexpr size_t kMaxWaitingCancels = 1u << 18;

}  // namespace

Session::Session(LinkId link, std::shared_ptr<grpc::Channel> channel, WorkerInfo card_info,
                 int max_message_bytes, WorkerEvents* events, const Clock* clock)
    : link_(link),
      max_message_bytes_(max_message_bytes),
      channel_(std::move(channel)),
      events_(events),
      clock_(clock),
      card_info_(std::move(card_info)),
      most_sent_(static_cast<size_t>(max_message_bytes)) {
  Touch();
}

void Session::Touch() {
  last_message_.store(clock_->Now().time_since_epoch().count(), std::memory_order_relaxed);
}

void Session::Start(const std::string& router_id) {
  router_id_ = router_id;
  grpc::GenericStub(channel_).PrepareBidiStreamingCall(
      &context_, "/pingti.worker.v1.Worker/Session", grpc::StubOptions(), this);
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
  std::vector<uint64_t> too_large;
  size_t most = 0;
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    most = most_sent_;
    for (worker::v1::Sequence& message : messages) {
      if (message.ByteSizeLong() + 2 * kFramingBytes > most) {
        too_large.push_back(message.sequence_id());
      } else {
        submits_.push_back(std::move(message));
      }
    }
    WriteIfIdle();
  }
  if (!too_large.empty()) RejectTooLarge(too_large, most);
}

void Session::RejectTooLarge(const std::vector<uint64_t>& sequence_ids, size_t most) {
  StepOutput step;
  for (const uint64_t id : sequence_ids) {
    SequenceOutput output;
    output.sequence_id = id;
    output.finish = Finish{
        Finish::Reason::kRejected, static_cast<uint32_t>(absl::StatusCode::kInvalidArgument),
        Concat("the request is larger than a message to a worker may be: ", "expected at most ",
               most, " bytes")};
    step.outputs.push_back(std::move(output));
  }
  events_->OnStepOutput(link_, std::move(step));
}

void Session::Cancel(uint64_t sequence_id) {
  MutexLock lock(&mutex_);
  if (closed_) return;
  // Not sent yet: nothing to cancel there, and the cancel would overtake it.
  const size_t unsent = std::erase_if(submits_, [sequence_id](const worker::v1::Sequence& waiting) {
    return waiting.sequence_id() == sequence_id;
  });
  if (unsent > 0) return;
  if (cancels_.size() >= kMaxWaitingCancels) {
    if (result_.ok()) {
      result_ = absl::ResourceExhaustedError(
          Concat(cancels_.size(), " cancels wait for the worker to read them"));
    }
    return context_.TryCancel();
  }
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
  request_.Clear();
  if (hello_pending_) {
    hello_pending_ = false;
    worker::v1::Hello* hello = request_.mutable_hello();
    hello->set_protocol_version(kProtocolVersion);
    hello->set_router_id(router_id_);
    hello->set_initial_output_credit(kOutputCredit);
    hello->set_max_message_bytes(static_cast<uint32_t>(max_message_bytes_));
    return true;
  }
  if (!cancels_.empty()) {
    const auto end =
        cancels_.begin() + static_cast<ptrdiff_t>(std::min(cancels_.size(), kMaxCancels));
    request_.mutable_cancel()->mutable_sequence_ids()->Assign(cancels_.begin(), end);
    cancels_.erase(cancels_.begin(), end);
    return true;
  }
  if (credit_to_give_ > 0) {
    request_.mutable_output_credit()->set_steps(std::exchange(credit_to_give_, 0));
    return true;
  }
  if (submits_.empty()) return false;
  worker::v1::SubmitBatch* batch = request_.mutable_submit();
  const size_t most = std::min(kEnvelopeBytes, most_sent_);
  size_t bytes = kFramingBytes;
  size_t taken = 0;
  while (taken < std::min(submits_.size(), kMaxSequences)) {
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
  outgoing_ = net::Serialize(request_);
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
  auto* const response =
      google::protobuf::Arena::CreateMessage<worker::v1::SessionResponse>(&arena_);
  const absl::Status parsed = net::ParseChecked(&incoming_, response);
  incoming_.Clear();
  if (parsed.ok()) {
    HandleMessage(response);
  } else {
    Abort(absl::DataLossError(Concat("the worker's message: ", std::string(parsed.message()))));
  }
  arena_.Reset();
  StartRead(&incoming_);
}

void Session::HandleMessage(worker::v1::SessionResponse* response) {
  using Response = worker::v1::SessionResponse;
  const Response::MessageCase kind = response->message_case();
  if (kind != Response::MESSAGE_NOT_SET && ready() == (kind == Response::kWelcome)) {
    return Abort(absl::FailedPreconditionError(
        ready()
            ? "the worker sent a second Welcome"
            : Concat("the worker sent message ", static_cast<int>(kind), " before its Welcome")));
  }
  switch (kind) {
    case Response::kWelcome:
      HandleWelcome(response->welcome());
      break;
    case Response::kStepOutput:
      events_->OnStepOutput(link_, FromWire(response->mutable_step_output()));
      CountStepOutput();
      break;
    case Response::kSubmitCredit:
      events_->OnSubmitCredit(link_, FromWire(response->submit_credit()));
      break;
    case Response::kLoadReport:
      events_->OnLoadReport(link_, FromWire(response->load_report()));
      break;
    case Response::kDraining:
      events_->OnDraining(link_);
      break;
    case Response::kAdapters:
      events_->OnAdapters(link_, AdapterModels(response->adapters()));
      break;
    case Response::kKvEvents:
      events_->OnKvEvents(link_, FromWire(response->kv_events()));
      break;
    case Response::MESSAGE_NOT_SET:  // a newer worker's message; worker.proto: safe to ignore
      break;
  }
}

void Session::HandleWelcome(const worker::v1::Welcome& welcome) {
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
  if (welcome.max_message_bytes() > 0) {
    MutexLock lock(&mutex_);
    most_sent_ = std::min<size_t>(most_sent_, welcome.max_message_bytes());
  }
  info.adapters = AdapterModels(welcome.adapters());
  info.holds_outputs = std::find(welcome.features().begin(), welcome.features().end(),
                                 "output_interval") != welcome.features().end();
  ready_.store(true, std::memory_order_release);
  events_->OnReady(link_, info);
}

std::vector<std::shared_ptr<const ServedModel>> Session::AdapterModels(
    const worker::v1::AdapterList& list) {
  std::shared_ptr<const ServedModel> base;
  {
    MutexLock lock(&mutex_);
    base = card_info_.model;
  }
  std::vector<std::shared_ptr<const ServedModel>> models;
  for (const AdapterInfo& adapter : FromWire(list)) models.push_back(WithAdapter(*base, adapter));
  return models;
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
