// Requests with several prompts and choices over two workers, against a naive model: random
// outputs, ends, losses, late words, cancels and time. After each event every client has what the
// model says, every sequence is where it says, and the books of queue, workers and admission agree.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;

constexpr int kMostAttempts = 3;
constexpr milliseconds kKeepAlive{500};
constexpr milliseconds kRequestTimeout{20'000};
constexpr milliseconds kQueueTimeout{3'000};
constexpr uint32_t kMostTokens = 12;

GenerationOptions Options(milliseconds stream_interval) {
  GenerationOptions options;
  options.request_timeout = kRequestTimeout;
  options.queue_timeout = kQueueTimeout;
  options.keep_alive = kKeepAlive;
  options.stream_interval = stream_interval;
  options.max_attempts = kMostAttempts;
  return options;
}

// What one sequence at a worker has come to.
struct SentSequence {
  enum class State { kRuns, kEnded, kLost, kCancelled };
  State state = State::kRuns;
  bool has_said_end = false;  // in the step that is being read
  size_t request = 0;
  size_t choice = 0;
  size_t cancels = 0;  // that the worker must have been sent
};

struct ModelChoice {
  std::string prompt;
  std::string tokens;  // so far
  std::string text;    // of them: without what stands for a stop token
  size_t sent = 0;     // of what may be shown
  std::optional<FinishReason> finish;
  bool started = false;
  bool is_queued = true;
  int failures = 0;
  milliseconds queued_at{0};
  bool holds = false;
  milliseconds sent_at{-1'000'000};
};

struct ModelRequest {
  std::shared_ptr<KeepingSink> sink;
  std::shared_ptr<ClientWatch> client;
  std::vector<std::string> stops;
  std::vector<ModelChoice> choices;
  uint64_t seed = 0;
  uint32_t n = 1;
  uint32_t prompt_tokens = 0;
  bool is_streamed = false;
  milliseconds arrived{0};
  milliseconds last_sent{0};
  int keep_alives = 0;
  bool done = false;
  std::optional<absl::StatusCode> error;
};

// Where the first stop string begins; npos: there is none.
size_t StopIn(const ModelRequest& request, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    for (const std::string& stop : request.stops) {
      if (text.substr(0, end).ends_with(stop)) return end - stop.size();
    }
  }
  return std::string::npos;
}

// How much of a choice's text may be shown: what may begin a stop string waits.
size_t Shown(const ModelRequest& request, const ModelChoice& choice) {
  const size_t stop = StopIn(request, choice.text);
  if (stop != std::string::npos) return stop;
  if (choice.finish.has_value()) return choice.text.size();
  size_t held = 0;
  for (const std::string& one : request.stops) {
    for (size_t length = 1; length < one.size(); ++length) {
      if (choice.text.ends_with(one.substr(0, length))) held = std::max(held, length);
    }
  }
  return choice.text.size() - held;
}

class Scenario {
 public:
  explicit Scenario(uint32_t seed)
      : random_(seed), interval_(Draw(2) * 60), steered_(Options(interval_)) {
    if (Chance(2)) {  // sequences wait for each other
      for (const std::string address : {"a", "b"}) SetCredit(address);
    }
  }

  void Run() {
    for (int i = 0; i < 60 && !::testing::Test::HasFailure(); ++i) {
      Happen();
      Check();
    }
    for (int i = 0; i < 300 && !AllDone() && !::testing::Test::HasFailure(); ++i) {
      EndSomething();
      Check();
    }
    EXPECT_TRUE(AllDone());
  }

 private:
  uint32_t Draw(uint32_t below) { return random_() % below; }
  bool Chance(uint32_t one_in) { return Draw(one_in) == 0; }
  void SetCredit(const std::string& address) {
    few_credit_ = true;
    steered_.registry().OnSubmitCredit(steered_.worker(address).link, {1, 1000});
  }
  bool AllDone() const {
    return std::all_of(requests_.begin(), requests_.end(), [](const auto& r) { return r.done; });
  }

  void Happen() {
    const uint32_t what = Draw(20);
    if (what < 2 && requests_.size() < 4) return Start();
    if (what < 13) return Step(Chance(2) ? "a" : "b");
    if (what < 15) return Pass(milliseconds(Draw(4) == 0 ? Draw(700) : Draw(50)));
    if (what == 15) return SpeakLate();
    if (what == 16 && Chance(3)) return Lose(Chance(2) ? "a" : "b");
    if (what == 17 && Chance(6) && !requests_.empty()) return Leave(Draw(NumRequests()));
    if (what == 18 && Chance(6) && !requests_.empty()) {
      requests_[Draw(NumRequests())].sink->client_is_gone = true;
    }
  }

  uint32_t NumRequests() const { return static_cast<uint32_t>(requests_.size()); }

  void Start() {
    ModelRequest request;
    GenerationRequest sent = SteeredGenerations::Completion({});
    const char* prompts[] = {"p", "qq", "rrr"};
    request.n = 1 + Draw(3);
    request.seed = 1000 * requests_.size();
    request.is_streamed = sent.stream = Chance(2);
    if (Chance(2))
      request.stops =
          Chance(2) ? std::vector<std::string>{"ab"} : std::vector<std::string>{"aab", "bb"};
    for (uint32_t i = 0; i <= Draw(3); ++i) {
      sent.prompts.emplace_back(prompts[i]);
      request.prompt_tokens += i + 1;
      for (uint32_t j = 0; j < request.n; ++j) {
        request.choices.emplace_back();
        request.choices.back().prompt = prompts[i];
        request.choices.back().queued_at = now_;
      }
    }
    sent.id = std::to_string(requests_.size());
    sent.params.n = request.n;
    sent.params.seed = request.seed;
    sent.params.stop = request.stops;
    sent.params.max_tokens = kMostTokens;
    request.arrived = request.last_sent = now_;
    request.sink = steered_.Start(std::move(sent));
    request.client = steered_.client();
    requests_.push_back(std::move(request));
  }

  std::vector<uint64_t> Running(const std::string& address) const {
    std::vector<uint64_t> ids;
    for (const auto& [id, sequence] : sequences_) {
      if (id.first == address && sequence.state == SentSequence::State::kRuns) {
        ids.push_back(id.second);
      }
    }
    return ids;
  }

  // What a worker may say of a sequence next.
  SequenceOutput Output(const std::string& address, uint64_t id, bool is_last) {
    const SentSequence& sequence = sequences_.at({address, id});
    const ModelChoice& choice = requests_[sequence.request].choices[sequence.choice];
    SequenceOutput output;
    output.sequence_id = id;
    const uint32_t left = kMostTokens - static_cast<uint32_t>(choice.tokens.size());
    const uint32_t count = std::min(left, Chance(4) ? 0 : 1 + Draw(3));
    for (uint32_t i = 0; i < count; ++i) output.token_ids.push_back('a' + Draw(3));
    if (count == left) {
      output.finish = Finish{Finish::Reason::kMaxTokens, 0, {}};
    } else if (is_last || Chance(5)) {
      output.finish = End(count);
    }
    return output;
  }

  Finish End(uint32_t num_tokens) {
    using Reason = Finish::Reason;
    const auto code = [](absl::StatusCode status) { return static_cast<uint32_t>(status); };
    switch (Draw(num_tokens == 0 ? 9 : 12)) {
      case 0:
      case 1:
        return {Reason::kPreempted, 0, {}};
      case 2:
        return {Reason::kContextFull, 0, {}};
      case 3:
        return {Reason::kCancelled, 0, {}};
      case 4:
        return {Reason::kRejected, code(absl::StatusCode::kResourceExhausted), "full"};
      case 5:
        return {Reason::kError, code(absl::StatusCode::kAborted), "broken"};
      case 6:
        return {Reason::kError, code(absl::StatusCode::kUnavailable), "broken"};
      case 7:
        if (!Chance(4)) return {Reason::kPreempted, 0, {}};
        return {Reason::kError, code(absl::StatusCode::kInvalidArgument), "wrong"};
      case 8:
        if (!Chance(4)) return {Reason::kPreempted, 0, {}};
        return {Reason::kDeadline, 0, {}};
      default:
        return {Reason::kStopToken, 0, {}};
    }
  }

  // One step of a worker, of some of its sequences.
  void Step(const std::string& address) {
    StepOutput step;
    for (const uint64_t id : Running(address)) {
      if (!Chance(3)) step.outputs.push_back(Output(address, id, false));
    }
    Send(address, std::move(step));
  }

  void Send(const std::string& address, StepOutput step) {
    steered_.registry().OnStepOutput(steered_.worker(address).link, step);
    for (const SequenceOutput& output : step.outputs) {
      sequences_.at({address, output.sequence_id}).has_said_end = output.finish.has_value();
    }
    for (const SequenceOutput& output : step.outputs) {
      Read(&sequences_.at({address, output.sequence_id}), output);
    }
  }

  void Read(SentSequence* sequence, const SequenceOutput& output) {
    ModelRequest& request = requests_[sequence->request];
    ModelChoice& choice = request.choices[sequence->choice];
    if (sequence->state != SentSequence::State::kRuns) return;
    const bool has_tokens = !output.token_ids.empty();
    if (has_tokens) {
      choice.started = true;
      choice.failures = 0;
    }
    const bool ends_with_stop =
        output.finish.has_value() && output.finish->reason == Finish::Reason::kStopToken;
    for (size_t i = 0; i < output.token_ids.size(); ++i) {
      choice.tokens += static_cast<char>(output.token_ids[i]);
      if (ends_with_stop && i + 1 == output.token_ids.size()) break;
      choice.text += static_cast<char>(output.token_ids[i]);
      if (StopIn(request, choice.text) == std::string::npos) continue;
      Over(sequence);
      return FinishChoice(&request, &choice, FinishReason::kStop);
    }
    if (!output.finish.has_value()) return Offer(&request, &choice);
    Over(sequence);
    ReadEnd(&request, &choice, *output.finish);
  }

  void ReadEnd(ModelRequest* request, ModelChoice* choice, const Finish& finish) {
    using Reason = Finish::Reason;
    if (finish.reason == Reason::kStopToken)
      return FinishChoice(request, choice, FinishReason::kStop);
    if (finish.reason == Reason::kMaxTokens)
      return FinishChoice(request, choice, FinishReason::kLength);
    Offer(request, choice);
    if (request->done) return;
    const auto code = static_cast<absl::StatusCode>(finish.code);
    if (finish.reason == Reason::kDeadline)
      return Fail(request, absl::StatusCode::kDeadlineExceeded);
    if (code == absl::StatusCode::kInvalidArgument) return Fail(request, code);
    const bool is_orderly =
        finish.reason == Reason::kPreempted || finish.reason == Reason::kContextFull;
    TryAgain(request, choice, is_orderly);
  }

  // The sequence is not the router's any more, which says so where the worker does not know.
  static void Over(SentSequence* sequence) {
    if (sequence->state != SentSequence::State::kRuns) return;
    sequence->state = SentSequence::State::kEnded;
    if (sequence->has_said_end) return;
    sequence->state = SentSequence::State::kCancelled;
    ++sequence->cancels;
  }

  void TryAgain(ModelRequest* request, ModelChoice* choice, bool is_orderly) {
    choice->failures += is_orderly ? 0 : 1;
    if (choice->failures == kMostAttempts) return Fail(request, absl::StatusCode::kUnavailable);
    choice->is_queued = true;
    choice->queued_at = now_;
  }

  void FinishChoice(ModelRequest* request, ModelChoice* choice, FinishReason reason) {
    choice->finish = reason;
    Deliver(request, choice);
    request->done |= std::all_of(request->choices.begin(), request->choices.end(),
                                 [](const ModelChoice& one) { return one.finish.has_value(); });
  }

  // What may be shown goes to the client, or is held back.
  void Offer(ModelRequest* request, ModelChoice* choice) {
    if (Shown(*request, *choice) == choice->sent) return;
    choice->holds = request->is_streamed && now_ < choice->sent_at + interval_;
    if (!choice->holds) Deliver(request, choice);
  }

  void Deliver(ModelRequest* request, ModelChoice* choice) {
    choice->holds = false;
    choice->sent = Shown(*request, *choice);
    choice->sent_at = request->last_sent = now_;
    if (request->sink->client_is_gone) Fail(request, absl::StatusCode::kCancelled);
  }

  void Fail(ModelRequest* request, absl::StatusCode code) {
    request->done = true;
    request->error = code;
    for (ModelChoice& choice : request->choices) choice.sent = Shown(*request, choice);
    for (auto& [id, sequence] : sequences_) {
      if (&requests_[sequence.request] == request) Over(&sequence);
    }
  }

  // Of a sequence that is over there: the worker is told again, unless it says that it ended.
  void SpeakLate() {
    if (sequences_.empty()) return;
    auto one = std::next(sequences_.begin(), Draw(static_cast<uint32_t>(sequences_.size())));
    if (one->second.state == SentSequence::State::kRuns) return;
    SequenceOutput output;
    output.sequence_id = one->first.second;
    output.token_ids = {'x'};
    if (Chance(2)) output.finish = {Finish::Reason::kStopToken, 0, {}};
    one->second.cancels += output.finish.has_value() ? 0 : 1;
    StepOutput step;
    step.outputs.push_back(std::move(output));
    steered_.registry().OnStepOutput(steered_.worker(one->first.first).link, std::move(step));
  }

  // The worker is lost, and a moment later there again.
  void Lose(const std::string& address) {
    const std::vector<uint64_t> ids = Running(address);
    steered_.Lose(address);
    for (const uint64_t id : ids) sequences_.at({address, id}).state = SentSequence::State::kLost;
    for (const uint64_t id : ids) {
      const SentSequence& sequence = sequences_.at({address, id});
      ModelRequest& request = requests_[sequence.request];
      if (!request.done) TryAgain(&request, &request.choices[sequence.choice], false);
    }
    Absorb();
    steered_.Connect(address);
    if (few_credit_) SetCredit(address);
  }

  void Leave(size_t index) {
    requests_[index].client->OnGone();
    if (!requests_[index].done) Fail(&requests_[index], absl::StatusCode::kCancelled);
  }

  void Pass(milliseconds time) {
    now_ += time;
    steered_.Pass(time);
    for (ModelRequest& request : requests_) {
      if (!request.done) Tick(&request);
    }
    Absorb();
    for (ModelRequest& request : requests_) {
      for (const ModelChoice& choice : request.choices) {
        const bool waits = choice.is_queued && !choice.finish.has_value() && !request.done;
        if (waits && now_ >= choice.queued_at + kQueueTimeout) {
          Fail(&request, absl::StatusCode::kUnavailable);
        }
      }
    }
  }

  void Tick(ModelRequest* request) {
    if (now_ >= request->arrived + kRequestTimeout) {
      return Fail(request, absl::StatusCode::kDeadlineExceeded);
    }
    for (ModelChoice& choice : request->choices) {
      if (choice.holds && now_ >= choice.sent_at + interval_) Deliver(request, &choice);
      if (request->done) return;
    }
    if (now_ - request->last_sent < kKeepAlive) return;
    request->last_sent = now_;
    ++request->keep_alives;
  }

  void EndSomething() {
    const std::string address = Chance(2) ? "a" : "b";
    const std::vector<uint64_t> running = Running(address);
    if (running.empty()) return Pass(milliseconds(200));
    StepOutput step;
    step.outputs.push_back(Output(address, running[0], true));
    Send(address, std::move(step));
  }

  // The sequences that workers were sent since the last time.
  void Absorb() {
    for (const std::string address : {"a", "b"}) {
      const std::vector<Sequence>& submitted = steered_.worker(address).submitted;
      for (size_t& next = absorbed_[address]; next < submitted.size(); ++next) {
        AbsorbOne(address, submitted[next]);
      }
    }
  }

  void AbsorbOne(const std::string& address, const Sequence& sent) {
    const size_t index = std::stoul(sent.request_id);
    ModelRequest& request = requests_.at(index);
    const std::string prompt(sent.prompt_token_ids.begin(), sent.prompt_token_ids.end());
    const std::string so_far(sent.generated_token_ids.begin(), sent.generated_token_ids.end());
    size_t found = request.choices.size();
    for (size_t i = 0; i < request.choices.size(); ++i) {
      const uint64_t seed = request.seed + (i % request.n) * 0x9e3779b97f4a7c15u;
      if (request.choices[i].prompt == prompt && seed == sent.sampling.seed) found = i;
    }
    ASSERT_LT(found, request.choices.size()) << prompt;
    ModelChoice& choice = request.choices[found];
    EXPECT_TRUE(choice.is_queued) << "it runs elsewhere";
    EXPECT_EQ(so_far, choice.tokens);
    EXPECT_EQ(sent.stop.max_tokens, kMostTokens);
    const milliseconds left = request.arrived + kRequestTimeout - choice.queued_at;
    EXPECT_EQ(sent.deadline_ms, std::max<int64_t>(left.count(), 1));
    SentSequence sequence;
    sequence.request = index;
    sequence.choice = found;
    choice.is_queued = false;
    if (request.done) Over(&sequence);
    EXPECT_TRUE(sequences_.insert({{address, sent.sequence_id}, sequence}).second) << "used twice";
  }

  void Check() {
    Absorb();
    size_t queued = 0;
    size_t running = 0;
    size_t admitted = 0;
    size_t not_started = 0;
    for (const ModelRequest& request : requests_) {
      CheckClient(request);
      if (request.done) continue;
      admitted += request.choices.size();
      for (const ModelChoice& choice : request.choices) {
        queued += choice.is_queued && !choice.finish.has_value() ? 1 : 0;
        not_started += choice.started ? 0 : 1;
      }
    }
    std::map<std::string, std::map<uint64_t, size_t>> cancels;
    for (const std::string address : {"a", "b"}) {
      for (const uint64_t id : steered_.worker(address).cancelled) ++cancels[address][id];
    }
    for (const auto& [id, sequence] : sequences_) {
      running += sequence.state == SentSequence::State::kRuns ? 1 : 0;
      EXPECT_EQ(cancels[id.first][id.second], sequence.cancels) << id.first << id.second;
    }
    EXPECT_EQ(steered_.dispatcher().queued(), queued);
    EXPECT_EQ(steered_.admission().concurrent_sequences(), admitted);
    EXPECT_EQ(steered_.admission().queued_sequences(), not_started);
    size_t booked = 0;
    for (const WorkerStatus& worker : steered_.registry().Workers()) {
      booked += worker.booked_sequences;
    }
    EXPECT_EQ(booked, running);
  }

  static void CheckClient(const ModelRequest& request) {
    const KeepingSink& sink = *request.sink;
    ASSERT_EQ(sink.ended(), request.done);
    ASSERT_EQ(sink.error.has_value(), request.error.has_value());
    if (request.error.has_value()) {
      EXPECT_EQ(sink.error->code(), *request.error) << *sink.error;
    }
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < request.choices.size(); ++i) {
      const ModelChoice& choice = request.choices[i];
      tokens += static_cast<uint32_t>(choice.tokens.size());
      EXPECT_EQ(sink.Text(i), choice.text.substr(0, choice.sent)) << i << " " << choice.text;
      std::vector<FinishReason> ends;
      for (const ChoiceDelta& delta : sink.deltas) {
        if (delta.index == i && delta.finish != FinishReason::kNone) ends.push_back(delta.finish);
      }
      EXPECT_EQ(ends.size(), choice.finish.has_value() ? 1u : 0u);
      if (!ends.empty()) {
        EXPECT_EQ(ends[0], choice.finish);
      }
    }
    EXPECT_EQ(sink.keep_alives, request.keep_alives);
    if (!sink.usage.has_value()) return;
    EXPECT_EQ(sink.usage->prompt_tokens, request.prompt_tokens);
    EXPECT_EQ(sink.usage->completion_tokens, tokens);
  }

  std::mt19937 random_;
  const milliseconds interval_;
  SteeredGenerations steered_;
  bool few_credit_ = false;
  milliseconds now_{0};
  std::vector<ModelRequest> requests_;
  std::map<std::pair<std::string, uint64_t>, SentSequence> sequences_;
  std::map<std::string, size_t> absorbed_;
};

TEST(GenerationModel, RandomEventsLeadWhereANaiveModelSays) {
  for (uint32_t seed = 1; seed <= 120 && !HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Scenario(seed).Run();
  }
}

}  // namespace
}  // namespace pingti::router
