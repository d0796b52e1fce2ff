// See outbox.h.
#include "worker/server/outbox.h"

#include <algorithm>
#include <utility>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "worker/server/convert.h"
#include "worker/server/split_output.h"

namespace pingti::worker {
namespace {

constexpr size_t kMaxPendingEvents = 1u << 16;
// Around a message's outputs or events.
constexpr size_t kMessageBytes = 64;
constexpr size_t kEventBytes = 40;

void FillCredit(const SubmitCredit& credit, v1::SubmitCredit* message) {
  message->set_max_waiting_sequences(credit.max_waiting_sequences);
  message->set_max_waiting_tokens(credit.max_waiting_tokens);
}

void FillAdapters(const std::vector<AdapterInfo>& adapters, v1::AdapterList* message) {
  for (const AdapterInfo& adapter : adapters) {
    v1::Adapter* entry = message->add_adapters();
    entry->set_id(adapter.id);
    entry->set_name(adapter.name);
    entry->set_path(adapter.path);
  }
}

}  // namespace

void Outbox::Open(const WorkerIdentity& identity, SubmitCredit credit, uint32_t output_credit,
                  size_t max_message_bytes) {
  MutexLock lock(&mutex_);
  open_ = true;
  welcome_ = identity;
  credit_ = credit;
  credit_changed_ = false;
  unlimited_ = output_credit == 0;
  output_credit_ = output_credit;
  max_message_bytes_ = max_message_bytes;
}

void Outbox::AddOutputCredit(uint32_t steps) {
  MutexLock lock(&mutex_);
  output_credit_ += steps;
}

TimePoint Outbox::AddOutputs(uint64_t step, std::span<SequenceOutput> outputs, TimePoint now) {
  MutexLock lock(&mutex_);
  step_ = step;
  for (SequenceOutput& output : outputs) {
    if (!held_.Hold(&output, now)) Merge(std::move(output));
  }
  return outputs_.empty() ? held_.due() : now;
}

TimePoint Outbox::ReleaseHeld(TimePoint now) {
  MutexLock lock(&mutex_);
  for (SequenceOutput& output : held_.TakeDue(now)) Merge(std::move(output));
  return held_.due();
}

void Outbox::Merge(SequenceOutput&& output) {
  // Steps list their sequences in the same order, so the match is nearly always the next one.
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const size_t place = (merge_hint_ + i) % outputs_.size();
    SequenceOutput& pending = outputs_[place];
    if (pending.sequence_id != output.sequence_id || pending.sample_index != output.sample_index ||
        pending.finish) {
      continue;
    }
    Join(std::move(output), &pending);
    merge_hint_ = place + 1;
    return;
  }
  outputs_.push_back(std::move(output));
  merge_hint_ = outputs_.size();
}

std::vector<SequenceOutput> Outbox::TakeOutputs() {
  size_t left = max_message_bytes_ - std::min(max_message_bytes_, kMessageBytes);
  std::vector<SequenceOutput> taken;
  size_t whole = 0;
  for (; whole < outputs_.size(); ++whole) {
    const size_t bytes = BytesOnTheWire(outputs_[whole]);
    if (bytes > left) break;
    left -= bytes;
    taken.push_back(std::move(outputs_[whole]));
  }
  if (whole == 0) {
    taken.emplace_back();
    if (SplitOff(&outputs_[0], left, &taken[0])) whole = 1;
  }
  outputs_.erase(outputs_.begin(), outputs_.begin() + static_cast<ptrdiff_t>(whole));
  merge_hint_ = 0;
  return taken;
}

std::vector<CacheEvent> Outbox::TakeEvents() {
  const size_t count =
      std::min(events_.size(), std::max<size_t>(1, max_message_bytes_ / kEventBytes));
  const auto end = events_.begin() + static_cast<ptrdiff_t>(count);
  std::vector<CacheEvent> taken(events_.begin(), end);
  events_.erase(events_.begin(), end);
  return taken;
}

void Outbox::AddCacheEvents(std::span<const CacheEvent> events) {
  MutexLock lock(&mutex_);
  if (!open_) return;
  if (events_.size() + events.size() > kMaxPendingEvents) {
    events_.clear();
    events_lost_ = true;
    return;
  }
  events_.insert(events_.end(), events.begin(), events.end());
}

void Outbox::SetAccepted(uint64_t highest_sequence_id) {
  MutexLock lock(&mutex_);
  accepted_ = highest_sequence_id;
}

void Outbox::SetLoad(const LoadSnapshot& load) {
  MutexLock lock(&mutex_);
  load_ = load;
}

void Outbox::SetCredit(SubmitCredit credit) {
  MutexLock lock(&mutex_);
  credit_changed_ = credit_changed_ || !(credit == credit_);
  credit_ = credit;
}

void Outbox::SetDraining(uint32_t deadline_ms) {
  MutexLock lock(&mutex_);
  draining_ = deadline_ms;
}

void Outbox::SetAdapters(std::vector<AdapterInfo> adapters) {
  MutexLock lock(&mutex_);
  adapters_ = std::move(adapters);
}

bool Outbox::Take(v1::SessionResponse* response) {
  std::vector<SequenceOutput> outputs;
  std::vector<CacheEvent> events;
  {
    MutexLock lock(&mutex_);
    if (!open_) return false;
    if (welcome_) {
      v1::Welcome* welcome = response->mutable_welcome();
      welcome->set_protocol_version(kProtocolVersion);
      welcome->set_worker_id(welcome_->worker_id);
      welcome->set_incarnation(welcome_->incarnation);
      welcome->set_model_fingerprint(welcome_->model_fingerprint);
      for (const std::string& feature : welcome_->features) welcome->add_features(feature);
      FillCredit(credit_, welcome->mutable_initial_credit());
      welcome->set_max_message_bytes(welcome_->max_message_bytes);
      welcome_.reset();
      if (adapters_) FillAdapters(*adapters_, welcome->mutable_adapters());
      adapters_.reset();
      return true;
    }
    if (adapters_) {
      FillAdapters(*adapters_, response->mutable_adapters());
      adapters_.reset();
      return true;
    }
    if (draining_) {
      response->mutable_draining()->set_deadline_ms(*draining_);
      draining_.reset();
      return true;
    }
    if (credit_changed_) {
      FillCredit(credit_, response->mutable_submit_credit());
      credit_changed_ = false;
      return true;
    }
    if (!outputs_.empty() && (unlimited_ || output_credit_ > 0)) {
      if (!unlimited_) --output_credit_;
      response->mutable_step_output()->set_step(step_);
      outputs = TakeOutputs();
    } else if (!events_.empty() || events_lost_) {
      v1::KvEvents* message = response->mutable_kv_events();
      if (std::exchange(events_lost_, false)) message->add_events()->mutable_cleared();
      events = TakeEvents();
    } else if (load_) {
      ToProto(*load_, accepted_, response->mutable_load_report());
      load_.reset();
      return true;
    } else {
      return false;
    }
  }
  // Outside the lock: the engine may want to add meanwhile.
  if (response->has_kv_events()) {
    v1::KvEvents* message = response->mutable_kv_events();
    message->set_first_event_id(next_event_id_);
    ToProto(events, message);
    next_event_id_ += static_cast<uint64_t>(message->events_size());
  }
  for (SequenceOutput& output : outputs) {
    ToProto(std::move(output), response->mutable_step_output()->add_outputs());
  }
  return true;
}

size_t Outbox::num_outputs() const {
  MutexLock lock(&mutex_);
  return outputs_.size();
}

bool Outbox::drained() const {
  MutexLock lock(&mutex_);
  return !open_ || (!welcome_ && !draining_ && outputs_.empty() && held_.due() == TimePoint::max());
}

}  // namespace pingti::worker
