// One client request from arrival to its last byte. The state machine of the router:
//
//   request:  new -> preparing (template, tokens) -> running -> done
//   choice:   queued (waits in the dispatcher) -> placed (at a worker) -> finished
//             placed -> queued again when the worker is lost, drains, or hands the sequence back;
//             the tokens so far go along as generated_token_ids, the failed session is excluded
//
// Every change is an event in the request's mailbox: prepared, placed, output, lost, queue timeout,
// cancel, tick. They come from HTTP, gRPC, pool and ticker threads and are handled one at a time,
// on whichever of these threads is inside. An event of an attempt that is over is ignored, so a
// late output of a lost worker can never be delivered twice. Read next: choice_stream.h (tokens to
// text), dispatcher.h (where sequences go), generation_beams.cc (searches, which restart).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/random_id.h"
#include "router/admission/admission.h"
#include "router/api/request.h"
#include "router/observer/request_life.h"
#include "router/pipeline/choice_stream.h"
#include "router/pipeline/dispatcher.h"
#include "router/pipeline/drawn_answers.h"
#include "router/pipeline/generation_options.h"  // IWYU pragma: export
#include "router/pipeline/mailbox.h"
#include "router/pipeline/prompt.h"
#include "router/pipeline/task_pool.h"

namespace pingti::router {

// What every request uses; all outlive the requests.
struct GenerationContext {
  GenerationOptions options;
  Dispatcher* dispatcher;
  AdmissionController* admission;
  TaskPool* pool;
  const Clock* clock;
  EntropySource* entropy;
  std::vector<RequestWatcher*> watchers{};
};

// Thread-safe. Shared by the transport, the dispatcher's jobs and the workers' books.
class Generation final : public std::enable_shared_from_this<Generation> {
 public:
  // `life` is that of a request which was accepted and not ended.
  Generation(const GenerationContext* context, GenerationRequest request,
             std::shared_ptr<const ServedModel> model, std::shared_ptr<ResponseSink> sink,
             std::shared_ptr<RequestLife> life);

  // REQUIRES: runs on the task pool where the request is longer than `inline_bytes`.
  void Start();
  // The client is gone or the router stops: sequences are cancelled at their workers. The sink
  // hears `why`.
  void Cancel(absl::Status why);
  // Keep-alives, deadlines and what stream_interval has held back. Call every 100 ms or so.
  void Tick();
  bool done() const { return done_.load(std::memory_order_acquire); }

 private:
  class Attempt;

  struct Prepared {
    absl::StatusOr<PreparedPrompts> prompts;
  };
  struct Placed {
    size_t choice;
    uint64_t attempt;
    SequencePlace place;
  };
  struct Output {
    size_t choice;
    uint64_t attempt;
    SequenceOutput output;
  };
  struct Lost {
    size_t choice;
    uint64_t attempt;
    absl::Status why;
    bool queue_timeout;
  };
  struct Displaced {
    absl::Status why;
  };
  struct Cancelled {
    absl::Status why;
  };
  struct Ticked {};
  using Event = std::variant<Prepared, Placed, Output, Lost, Displaced, Cancelled, Ticked>;

  struct Choice {
    enum class State { kQueued, kPlaced, kFinished };
    State state = State::kQueued;
    size_t prompt = 0;
    uint64_t seed = 0;
    uint64_t attempt = 0;  // names the current one; 0: none
    int failures = 0;      // since the last token
    int hand_backs = 0;    // orderly ones since the last token
    uint64_t job_id = 0;
    WorkerKey worker = 0;
    uint64_t sequence_id = 0;
    bool worker_holds = false;  // its tokens, for stream_interval: they go on as they come
    std::vector<WorkerKey> excluded;
    std::vector<uint32_t> generated;
    std::vector<TokenScores> prompt_scores;  // of this attempt, until they are echoed
    uint32_t cached_prompt_tokens = 0;
    uint32_t counted_tokens = 0;  // of the answer, for the turns of its line
    bool started = false;         // its first output came
    bool echoed = false;
    std::vector<SequenceOutput> beams;  // of this attempt: each answer as far as it has come
    std::chrono::steady_clock::time_point queued_at;
    std::chrono::steady_clock::time_point last_token;
    std::unique_ptr<ChoiceStream> stream;
    ChoiceDelta held{};  // not sent yet
    std::chrono::steady_clock::time_point sent_at = std::chrono::steady_clock::time_point::min();
  };

  void Deliver(Event&& event);
  void Handle(Prepared&& event);
  void Handle(Placed&& event);
  void Handle(Output&& event);
  void Handle(Lost&& event);
  void Handle(Displaced&& event);
  void Handle(Cancelled&& event);
  void Handle(Ticked&& event);

  // All choices together, as the key's tokens per minute count them until they are known.
  uint64_t ExpectedAnswerTokens() const;
  // Gives the place up; the tokens so far count.
  void ReturnTicket();
  void MakeChoices();
  ChoiceStream::Options StreamOptions() const;
  void SubmitChoice(size_t index);
  Sequence MakeSequence(const Choice& choice) const;
  // What the choice's next worker must hold: all of it where the client said how much, else one
  // token more than there is.
  uint32_t ContextTokens(const Choice& choice) const;
  // For how long the worker may hold tokens back.
  std::chrono::milliseconds OutputInterval(const Choice& choice) const;
  SamplingParams MakeSampling(const Choice& choice) const;
  BeamParams MakeBeams() const;
  StopCriteria MakeStop(const Choice& choice) const;
  // The client's limit, or what the context leaves where that is less; 0: the context's end.
  uint32_t MaxTokens(const Choice& choice) const;
  void Echo(Choice* choice, ChoiceDelta* delta);
  // The client asked for no tokens but the prompt's own logprobs.
  bool scores_only() const { return request_.params.max_tokens == 0u; }
  enum class After { kGoOn, kAnswerOver, kThoughtOver };
  // Adds an output's tokens, up to one that ends the answer or has used up the budget of a thought.
  After PushTokens(Choice* choice, const SequenceOutput& output, ChoiceDelta* delta);
  bool HasThoughtEnough(const Choice& choice) const;
  // Closes the thought in the model's name and goes on behind it. REQUIRES: at no worker.
  void EndThought(size_t index, ChoiceDelta delta);
  // An output of the search that the choice stands for, with those behind it of the same prompt.
  void TakeBeams(size_t first, SequenceOutput output);
  // All answers of that search are there.
  void FinishBeams(size_t first);
  void CountBeams(Choice* choice, const std::vector<SequenceOutput>& answers);
  // Ends a choice whose prompt alone was asked for; `at_end`: the worker is done with it.
  void FinishScored(Choice* choice, bool at_end, ChoiceDelta delta);
  void RecordTokens(size_t index, size_t num_tokens);
  // Tells the queue how long the answer is by now, now and then and `at_end`.
  void CountAnswer(Choice* choice, bool at_end);
  void FinishChoice(Choice* choice, FinishReason reason, ChoiceDelta* delta);
  // What to do when a worker ended the sequence without finishing it.
  void HandleAbnormalEnd(size_t index, const Finish& finish);
  // The worker's context is full, and another's is larger: goes on there. False: nowhere.
  bool GoOnAtLargerWorker(size_t index, ChoiceDelta* delta);
  // Sends a choice that is at no worker any more to another one. `orderly`: the worker drains, and
  // said so.
  void Resume(size_t index, bool orderly, const absl::Status& why);
  // Holds the delta back where the last one was sent a moment ago and the choice goes on.
  void Send(ChoiceDelta delta);
  // False: the client is gone, and the request with it.
  bool SendNow(ChoiceDelta delta);
  // What has been held back for stream_interval.
  void SendHeld();
  // Sends the best of what was drawn. False: the client is gone.
  bool SendDrawn();
  void CompleteIfFinished();
  void CancelAtWorkers();
  void Fail(const absl::Status& status);
  bool IsCurrent(size_t choice, uint64_t attempt) const;
  std::chrono::steady_clock::time_point Deadline() const;

  const GenerationContext* const context_;
  GenerationRequest request_;
  const std::shared_ptr<const ServedModel> model_;
  const std::shared_ptr<ResponseSink> sink_;
  const std::shared_ptr<RequestLife> life_;
  const std::chrono::steady_clock::time_point arrived_;
  std::atomic<bool> done_{false};
  // When the client last got a byte, as a steady_clock count; read by Tick outside the mailbox.
  std::atomic<int64_t> last_sent_;
  std::atomic<bool> holds_{false};  // some choice has a delta held back
  Mailbox<Event> mailbox_;

  // Inside the mailbox only.
  std::chrono::steady_clock::time_point now_;  // when the event came that is being handled
  PreparedPrompts prompts_;
  std::optional<text::StopStrings> stops_;  // compiled once for all choices
  std::unique_ptr<AdmissionController::Ticket> ticket_;
  std::vector<Choice> choices_;
  std::unique_ptr<DrawnAnswers> drawn_;  // null: answers go to the client as they come
  size_t unfinished_ = 0;
  uint64_t next_attempt_ = 1;
};

}  // namespace pingti::router
