// See engine.h.
#include "worker/engine/engine.h"

#include <exception>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

// Steps in a row that may fail before the process is called broken.
constexpr int32_t kMaxFailures = 3;
// A core with work that cannot move looks again after this.
constexpr std::chrono::milliseconds kStuckPause{5};

}  // namespace

Engine::Engine(Model* model, const Clock* clock, const EngineOptions& options,
               EngineObserver* observer)
    : model_(model),
      clock_(clock),
      step_deadline_(options.step_deadline),
      core_(model, clock, options, observer),
      limits_(core_.limits()) {
  Beat();
  if (options.vocabulary != nullptr) {
    grammars_ = std::make_unique<GrammarCompiler>(options.vocabulary, clock);
  }
  thread_ = std::thread([this] { Run(); });
}

Engine::~Engine() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    posted_.NotifyAll();
  }
  thread_.join();
}

SessionId Engine::OpenSession(std::unique_ptr<SessionSink> sink) {
  const SessionId id = next_session_.fetch_add(1);
  Post(OpenCommand{id, std::move(sink)});
  return id;
}

void Engine::CloseSession(SessionId session) { Post(CloseCommand{session}); }

void Engine::Submit(SessionId session, std::vector<Request> requests, std::function<void()> taken) {
  Post(SubmitCommand{session, std::move(requests), std::move(taken)});
}

void Engine::Cancel(SessionId session, std::vector<uint64_t> sequence_ids,
                    std::function<void()> taken) {
  Post(CancelCommand{session, std::move(sequence_ids), std::move(taken)});
}

void Engine::SetAdapter(SessionId session, uint64_t sequence_id,
                        absl::StatusOr<AdapterPtr> adapter) {
  Post(AdapterCommand{session, sequence_id, std::move(adapter)});
}

void Engine::GiveBackAll() { Post(GiveBackCommand{}); }

absl::Status Engine::Healthy() const {
  if (threw_.load(std::memory_order_acquire)) {
    return absl::InternalError("an engine step threw an exception");
  }
  {
    MutexLock lock(&mutex_);
    if (!device_.ok()) return device_;
  }
  PINGTI_RETURN_IF_ERROR(model_->Health());
  const int32_t failures = failures_.load(std::memory_order_acquire);
  if (failures >= kMaxFailures) {
    return absl::InternalError(Concat("the last ", failures, " engine steps failed"));
  }
  if (idle()) return absl::OkStatus();
  const auto since = clock_->Now().time_since_epoch() -
                     std::chrono::nanoseconds(last_progress_ns_.load(std::memory_order_acquire));
  if (since <= step_deadline_) return absl::OkStatus();
  const std::string unfinished = model_->Unfinished();
  return absl::InternalError(
      Concat("no engine step ended for ",
             std::chrono::duration_cast<std::chrono::milliseconds>(since).count(),
             " ms: expected one within ", step_deadline_.count(), " ms",
             unfinished.empty() ? "" : "; unfinished: ", unfinished));
}

void Engine::Post(Command command) {
  MutexLock lock(&mutex_);
  // Work that begins after an idle time starts its own deadline.
  if (pending_.fetch_add(1, std::memory_order_acq_rel) == 0) Beat();
  mailbox_.push_back(std::move(command));
  posted_.NotifyOne();
}

void Engine::Run() {
  std::vector<Command> commands;
  bool was_working = false;
  bool progressed = false;
  while (TakeCommands(!progressed, &commands)) {
    const int64_t executed = static_cast<int64_t>(commands.size());
    for (Command& command : commands) Execute(std::move(command));
    commands.clear();
    progressed = GuardedStep();
    if (threw_.load(std::memory_order_relaxed)) return;  // the state is not to be trusted
    if (progressed) Beat();
    const bool working = core_.has_work();
    pending_.fetch_add((working ? 1 : 0) - (was_working ? 1 : 0) - executed,
                       std::memory_order_acq_rel);
    was_working = working;
  }
}

bool Engine::TakeCommands(bool wait, std::vector<Command>* commands) {
  MutexLock lock(&mutex_);
  while (wait && mailbox_.empty() && !stopping_) {
    if (!core_.has_work()) {
      posted_.Wait(&mutex_);
    } else if (!posted_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kStuckPause)) {
      break;
    }
  }
  if (stopping_) return false;
  std::swap(mailbox_, *commands);
  return true;
}

void Engine::Execute(Command command) {
  if (auto* open = std::get_if<OpenCommand>(&command)) {
    core_.OpenSession(open->session, std::move(open->sink));
  } else if (auto* close = std::get_if<CloseCommand>(&command)) {
    core_.CloseSession(close->session);
  } else if (auto* submit = std::get_if<SubmitCommand>(&command)) {
    for (Request& request : submit->requests) SubmitOne(submit->session, std::move(request));
    if (submit->taken) submit->taken();
  } else if (auto* cancel = std::get_if<CancelCommand>(&command)) {
    core_.Cancel(cancel->session, cancel->sequence_ids);
    if (cancel->taken) cancel->taken();
  } else if (auto* grammar = std::get_if<GrammarCommand>(&command)) {
    core_.SetGrammar(grammar->session, grammar->sequence_id, std::move(grammar->compiled));
  } else if (auto* adapter = std::get_if<AdapterCommand>(&command)) {
    core_.SetAdapter(adapter->session, adapter->sequence_id, std::move(adapter->adapter));
  } else {
    core_.GiveBackAll();
  }
}

void Engine::SubmitOne(SessionId session, Request request) {
  const uint64_t sequence_id = request.sequence_id;
  std::optional<grammar::GrammarSource> source = request.grammar;
  if (!core_.Submit(session, std::move(request))) return;
  grammars_->Compile(*std::move(source),
                     [this, session, sequence_id](GrammarCompiler::Result compiled) {
                       Post(GrammarCommand{session, sequence_id, std::move(compiled)});
                     });
}

bool Engine::GuardedStep() {
  try {
    const bool progressed = core_.Step();
    steps_.store(core_.load().step, std::memory_order_release);
    failures_.store(core_.consecutive_failures(), std::memory_order_release);
    if (!core_.device().ok()) {
      MutexLock lock(&mutex_);
      device_ = core_.device();
    }
    return progressed;
  } catch (const std::exception& e) {
    LogError("engine step threw", {{"what", e.what()}});
    threw_.store(true, std::memory_order_release);
    return false;
  }
}

void Engine::Beat() {
  last_progress_ns_.store(
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock_->Now().time_since_epoch())
          .count(),
      std::memory_order_release);
}

}  // namespace pingti::worker
