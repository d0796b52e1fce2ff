// See session_stream.h.
#include "worker/server/session_stream.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/base/strings.h"
#include "common/net/wire_check.h"
#include "worker/server/convert.h"

namespace pingti::worker {
namespace {

// Of one message, as worker.proto says.
constexpr int kMaxSequences = 4'096;
constexpr int kMaxCancels = 65'536;
// Outputs that may wait for a router. Sequences that run or wait here are fewer; the rest are
// refusals that it does not read.
constexpr size_t kMaxOutputs = 16'384;

// The engine's end of an outbox.
class OutboxSink : public SessionSink {
 public:
  OutboxSink(std::shared_ptr<Outbox> outbox, SessionHub* hub)
      : outbox_(std::move(outbox)), hub_(hub) {}

  void OnStep(uint64_t step, std::span<SequenceOutput> outputs) override {
    hub_->RingAt(outbox_->AddOutputs(step, outputs, std::chrono::steady_clock::now()));
  }
  void OnAccepted(uint64_t highest_sequence_id) override {
    outbox_->SetAccepted(highest_sequence_id);
  }

 private:
  const std::shared_ptr<Outbox> outbox_;
  SessionHub* const hub_;
};

}  // namespace

SessionStream::SessionStream(Engine* engine, SessionHub* hub, AdapterStore* adapters,
                             AdapterChanges* changes, const Clock* clock)
    : engine_(engine),
      hub_(hub),
      adapters_(adapters),
      changes_(changes),
      clock_(clock),
      outbox_(std::make_shared<Outbox>()) {}

void SessionStream::Begin() {
  {
    MutexLock lock(&mutex_);
    self_ = shared_from_this();
  }
  StartRead(&incoming_);
}

void SessionStream::OnReadDone(bool ok) {
  if (!ok) {
    CloseSession();
    End(grpc::Status::OK);
    return;
  }
  {
    MutexLock lock(&mutex_);
    holds_ = 1;
  }
  const absl::Status parsed = net::ParseChecked(&incoming_, &request_);
  incoming_.Clear();
  if (parsed.ok()) {
    HandleMessage();
  } else {
    Refuse(parsed);
  }
  bool ending;
  {
    MutexLock lock(&mutex_);
    ending = ending_;
  }
  if (ending) {
    CloseSession();
    return;
  }
  DropHold();
  ReadOn();
}

std::function<void()> SessionStream::HoldUntilTaken() {
  MutexLock lock(&mutex_);
  ++holds_;
  return [self = shared_from_this()] {
    self->DropHold();
    self->hub_->Ring();
  };
}

void SessionStream::DropHold() {
  MutexLock lock(&mutex_);
  if (--holds_ == 0) read_on_ = true;
}

void SessionStream::ReadOn() {
  // Under the lock: no read may be started once the stream is finished. Its callback never runs
  // inside the call.
  MutexLock lock(&mutex_);
  if (!read_on_ || ending_) return;
  read_on_ = false;
  StartRead(&incoming_);
}

void SessionStream::Refuse(const absl::Status& why) {
  LogWarning("a session broke the protocol",
             {{"session", session_}, {"error", std::string(why.message())}});
  End({static_cast<grpc::StatusCode>(why.code()), std::string(why.message())});
}

void SessionStream::HandleMessage() {
  if (session_ == 0 && request_.message_case() != v1::SessionRequest::kHello) {
    End({grpc::StatusCode::FAILED_PRECONDITION, "the first message of a session must be hello"});
    return;
  }
  switch (request_.message_case()) {
    case v1::SessionRequest::kHello:
      HandleHello(request_.hello());
      break;
    case v1::SessionRequest::kSubmit:
      HandleSubmit(request_.submit());
      break;
    case v1::SessionRequest::kCancel:
      HandleCancel(request_.cancel());
      break;
    case v1::SessionRequest::kOutputCredit:
      outbox_->AddOutputCredit(request_.output_credit().steps());
      Flush();
      break;
    case v1::SessionRequest::MESSAGE_NOT_SET:
      LogWarning("a session message of an unknown kind was ignored");
      break;
  }
}

void SessionStream::HandleHello(const v1::Hello& hello) {
  if (session_ != 0) {
    End({grpc::StatusCode::FAILED_PRECONDITION, "hello came twice"});
    return;
  }
  if (hello.protocol_version() != kProtocolVersion) {
    End({grpc::StatusCode::FAILED_PRECONDITION,
         Concat("protocol_version is ", hello.protocol_version(), ": this worker speaks ",
                kProtocolVersion)});
    return;
  }
  if (hub_->draining()) {
    End({grpc::StatusCode::UNAVAILABLE, "this worker is draining"});
    return;
  }
  session_ = engine_->OpenSession(std::make_unique<OutboxSink>(outbox_, hub_));
  LogInfo("session opened", {{"router_id", hello.router_id()}, {"session", session_}});
  hub_->Add(shared_from_this(), outbox_, hello.initial_output_credit(), hello.max_message_bytes());
}

void SessionStream::HandleSubmit(const v1::SubmitBatch& batch) {
  if (batch.sequences_size() > kMaxSequences) {
    return Refuse(absl::InvalidArgumentError(Concat(
        "submit has ", batch.sequences_size(), " sequences: expected at most ", kMaxSequences)));
  }
  if (outbox_->num_outputs() > kMaxOutputs) {
    return Refuse(absl::ResourceExhaustedError(
        Concat("outputs of ", outbox_->num_outputs(),
               " sequences wait for output_credit: expected the router to give some")));
  }
  if (hub_->draining()) return RefuseWhileDraining(batch);
  std::vector<Request> requests;
  requests.reserve(batch.sequences_size());
  const TimePoint now = clock_->Now();
  for (const v1::Sequence& sequence : batch.sequences()) {
    requests.push_back(MakeRequest(sequence, now));
  }
  std::vector<std::pair<uint64_t, std::string>> to_fetch;  // sequence and adapter
  for (const Request& request : requests) {
    if (!request.adapter_id.empty()) to_fetch.emplace_back(request.sequence_id, request.adapter_id);
  }
  engine_->Submit(session_, std::move(requests), HoldUntilTaken());
  for (const auto& [sequence_id, adapter_id] : to_fetch) {
    changes_->Fetch(adapter_id, [engine = engine_, session = session_, sequence_id = sequence_id](
                                    const absl::StatusOr<AdapterPtr>& fetched) {
      engine->SetAdapter(session, sequence_id, fetched);
    });
  }
}

Request SessionStream::MakeRequest(const v1::Sequence& sequence, TimePoint now) const {
  Request request = FromProto(sequence, now);
  if (sequence.adapter().empty()) return request;
  if (adapters_ != nullptr) request.adapter = adapters_->Find(sequence.adapter());
  if (request.adapter != nullptr) return request;
  if (adapters_ != nullptr && adapters_->Has(sequence.adapter())) {
    request.adapter_id = sequence.adapter();
  } else {
    request.unsupported = absl::UnavailableError(
        Concat("adapter '", sequence.adapter(), "' is not loaded at this worker"));
  }
  return request;
}

void SessionStream::HandleCancel(const v1::Cancel& cancel) {
  if (cancel.sequence_ids_size() > kMaxCancels) {
    return Refuse(absl::InvalidArgumentError(
        Concat("cancel has ", cancel.sequence_ids_size(), " ids: expected at most ", kMaxCancels)));
  }
  engine_->Cancel(session_, {cancel.sequence_ids().begin(), cancel.sequence_ids().end()},
                  HoldUntilTaken());
}

void SessionStream::RefuseWhileDraining(const v1::SubmitBatch& batch) {
  std::vector<SequenceOutput> outputs;
  for (const v1::Sequence& sequence : batch.sequences()) {
    const uint32_t num_samples = std::max(1u, sequence.sampling().n());
    for (uint32_t i = 0; i < num_samples && i < 1024; ++i) {
      SequenceOutput output;
      output.sequence_id = sequence.sequence_id();
      output.sample_index = static_cast<int32_t>(i);
      output.finish.emplace();
      output.finish->reason = FinishReason::kPreempted;
      outputs.push_back(std::move(output));
    }
  }
  outbox_->AddOutputs(engine_->steps(), outputs, std::chrono::steady_clock::now());
  Flush();
}

void SessionStream::Flush() {
  ReadOn();
  {
    MutexLock lock(&mutex_);
    flush_again_ = true;
    if (write_in_flight_ || ending_) return;
    write_in_flight_ = true;
  }
  WriteNext();
}

void SessionStream::WriteNext() {
  while (true) {
    {
      MutexLock lock(&mutex_);
      flush_again_ = false;
    }
    response_.Clear();
    if (outbox_->Take(&response_)) {
      outgoing_ = net::Serialize(response_);
      StartWrite(&outgoing_);
      return;
    }
    MutexLock lock(&mutex_);
    // What came after Take looked must not wait for the next bell.
    if (flush_again_ && !ending_) continue;
    write_in_flight_ = false;
    if (end_when_flushed_ && outbox_->drained() && !ending_) {
      ending_ = true;
      end_status_ = grpc::Status(grpc::StatusCode::UNAVAILABLE, "this worker was drained");
    }
    break;
  }
  FinishIfIdle();
}

void SessionStream::OnWriteDone(bool ok) {
  bool go_on;
  {
    MutexLock lock(&mutex_);
    // A failed write is followed by a failed read, which ends the stream.
    go_on = ok && !ending_;
    if (!go_on) write_in_flight_ = false;
  }
  if (go_on) {
    WriteNext();
  } else {
    FinishIfIdle();
  }
}

void SessionStream::End(grpc::Status status) {
  {
    MutexLock lock(&mutex_);
    if (!ending_) {
      ending_ = true;
      end_status_ = std::move(status);
    }
  }
  FinishIfIdle();
}

void SessionStream::FinishIfIdle() {
  grpc::Status status;
  {
    MutexLock lock(&mutex_);
    if (!ending_ || write_in_flight_ || finished_) return;
    finished_ = true;
    status = end_status_;
  }
  Finish(std::move(status));
}

void SessionStream::EndWhenFlushed() {
  {
    MutexLock lock(&mutex_);
    end_when_flushed_ = true;
  }
  Flush();
}

void SessionStream::OnCancel() { End(grpc::Status::CANCELLED); }

void SessionStream::CloseSession() {
  if (session_ == 0) return;
  engine_->CloseSession(std::exchange(session_, 0));
}

void SessionStream::OnDone() {
  CloseSession();
  hub_->Remove(this);
  std::shared_ptr<SessionStream> self;  // dies last
  MutexLock lock(&mutex_);
  self = std::move(self_);
}

}  // namespace pingti::worker
