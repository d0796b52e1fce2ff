// The engine's thread and its front door: requests come in through a mailbox from any thread,
// outputs leave through each session's sink.
//
// Owns the thread and the core. Its heartbeat is what liveness means: work that makes no progress
// within step_deadline, a step that throws, steps that keep failing, or one that lost the device
// turn Healthy() into an error. Read next: engine_core.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "worker/engine/engine_core.h"
#include "worker/grammar/grammar_compiler.h"

namespace pingti::worker {

// Thread-safe.
class Engine {
 public:
  // See EngineCore for the arguments.
  Engine(Model* model, const Clock* clock, const EngineOptions& options, EngineObserver* observer);
  // Stops after the step in progress and joins; sequences still running are dropped.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  SessionId OpenSession(std::unique_ptr<SessionSink> sink);
  void CloseSession(SessionId session);
  // `taken`, if there is one, is called on the engine thread once the queues have the requests, or
  // the sequences are cancelled: who waits for it before the next call keeps the mailbox small.
  void Submit(SessionId session, std::vector<Request> requests,
              std::function<void()> taken = nullptr);
  void Cancel(SessionId session, std::vector<uint64_t> sequence_ids,
              std::function<void()> taken = nullptr);
  // The adapter that a request waits for, see Request::adapter_id, or why it cannot be had.
  // REQUIRES: called after the request's Submit. Sequences that ended meanwhile are fine.
  void SetAdapter(SessionId session, uint64_t sequence_id, absl::StatusOr<AdapterPtr> adapter);
  // Ends every sequence with kPreempted.
  void GiveBackAll();

  // Whether any sequence is queued or running, or a command is on its way.
  bool idle() const { return pending_.load(std::memory_order_acquire) == 0; }
  uint64_t steps() const { return steps_.load(std::memory_order_acquire); }
  const RequestLimits& limits() const { return limits_; }

  // Errors: DataLoss, with the device's own words, once the device is lost; Internal, saying what
  // stands still and for how long.
  absl::Status Healthy() const;

 private:
  struct OpenCommand {
    SessionId session;
    std::unique_ptr<SessionSink> sink;
  };
  struct CloseCommand {
    SessionId session;
  };
  struct SubmitCommand {
    SessionId session;
    std::vector<Request> requests;
    std::function<void()> taken;
  };
  struct CancelCommand {
    SessionId session;
    std::vector<uint64_t> sequence_ids;
    std::function<void()> taken;
  };
  struct GrammarCommand {
    SessionId session;
    uint64_t sequence_id;
    GrammarCompiler::Result compiled;
  };
  struct AdapterCommand {
    SessionId session;
    uint64_t sequence_id;
    absl::StatusOr<AdapterPtr> adapter;
  };
  struct GiveBackCommand {};
  using Command = std::variant<OpenCommand, CloseCommand, SubmitCommand, CancelCommand,
                               GrammarCommand, AdapterCommand, GiveBackCommand>;

  void Post(Command command);
  void Run();
  // Moves the mailbox's content to `commands`, waiting for some if `wait`. False: stop.
  bool TakeCommands(bool wait, std::vector<Command>* commands);
  void Execute(Command command);
  void SubmitOne(SessionId session, Request request);
  bool GuardedStep();
  void Beat();

  Model* const model_;  // this class only asks who is unfinished
  const Clock* const clock_;
  const std::chrono::milliseconds step_deadline_;
  EngineCore core_;  // engine thread only
  const RequestLimits limits_;

  mutable Mutex mutex_;
  CondVar posted_;
  std::vector<Command> mailbox_ PINGTI_GUARDED_BY(mutex_);
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  absl::Status device_ PINGTI_GUARDED_BY(mutex_);  // the core's

  std::atomic<uint64_t> next_session_{1};
  std::atomic<uint64_t> steps_{0};
  // Commands posted and not executed, plus 1 while the core has work.
  std::atomic<int64_t> pending_{0};
  std::atomic<int64_t> last_progress_ns_{0};
  std::atomic<int32_t> failures_{0};
  std::atomic<bool> threw_{false};
  std::thread thread_;
  // Null: no constrained decoding. Goes first: its thread posts to the mailbox.
  std::unique_ptr<GrammarCompiler> grammars_;
};

}  // namespace pingti::worker
