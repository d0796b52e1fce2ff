// Requests with several prompts and choices over two workers, against a naive model: random
// outputs, ends, losses, late words, cancels and time. After each event every client has what the
// model says, every sequence is where it says, and the books of queue, workers and admission agree.
#include "tests/router/pipeline/generation_model.h"

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

namespace pingti::router {
namespace {

using std::chrono::milliseconds;

class Scenario {
 public:
  explicit Scenario(uint32_t seed)
      : random_(seed), model_(milliseconds(Draw(2) * 60)), steered_(ModelOptions(model_.interval)) {
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
    return std::all_of(model_.requests.begin(), model_.requests.end(),
                       [](const auto& r) { return r.done; });
  }

  void Happen() {
    const uint32_t what = Draw(20);
    if (what < 2 && model_.requests.size() < 4) return Start();
    if (what < 13) return Step(Chance(2) ? "a" : "b");
    if (what < 15) return Pass(milliseconds(Draw(4) == 0 ? Draw(700) : Draw(50)));
    if (what == 15) return SpeakLate();
    if (what == 16 && Chance(3)) return Lose(Chance(2) ? "a" : "b");
    if (what == 17 && Chance(6) && !model_.requests.empty()) return Leave(Draw(NumRequests()));
    if (what == 18 && Chance(6) && !model_.requests.empty()) {
      model_.requests[Draw(NumRequests())].sink->client_is_gone = true;
    }
  }

  uint32_t NumRequests() const { return static_cast<uint32_t>(model_.requests.size()); }

  void Start() {
    ModelRequest request;
    GenerationRequest sent = SteeredGenerations::Completion({});
    const char* prompts[] = {"p", "qq", "rrr"};
    request.n = 1 + Draw(3);
    request.seed = 1000 * model_.requests.size();
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
        request.choices.back().queued_at = model_.now;
      }
    }
    sent.id = std::to_string(model_.requests.size());
    sent.params.n = request.n;
    sent.params.seed = request.seed;
    sent.params.stop = request.stops;
    sent.params.max_tokens = kModelTokens;
    request.arrived = request.last_sent = model_.now;
    request.sink = steered_.Start(std::move(sent));
    request.client = steered_.client();
    model_.requests.push_back(std::move(request));
  }

  // What a worker may say of a sequence next.
  SequenceOutput Output(const std::string& address, uint64_t id, bool is_last) {
    const SentSequence& sequence = model_.sequences.at({address, id});
    const ModelChoice& choice = model_.requests[sequence.request].choices[sequence.choice];
    SequenceOutput output;
    output.sequence_id = id;
    const uint32_t left = kModelTokens - static_cast<uint32_t>(choice.tokens.size());
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
    for (const uint64_t id : model_.Running(address)) {
      if (!Chance(3)) step.outputs.push_back(Output(address, id, false));
    }
    Send(address, std::move(step));
  }

  void Send(const std::string& address, StepOutput step) {
    steered_.registry().OnStepOutput(steered_.worker(address).link, step);
    for (const SequenceOutput& output : step.outputs) {
      model_.sequences.at({address, output.sequence_id}).has_said_end = output.finish.has_value();
    }
    for (const SequenceOutput& output : step.outputs) {
      model_.Read(&model_.sequences.at({address, output.sequence_id}), output);
    }
  }

  // Of a sequence that is over there: the worker is told again, unless it says that it ended.
  void SpeakLate() {
    if (model_.sequences.empty()) return;
    auto one =
        std::next(model_.sequences.begin(), Draw(static_cast<uint32_t>(model_.sequences.size())));
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
    const std::vector<uint64_t> ids = model_.Running(address);
    steered_.Lose(address);
    for (const uint64_t id : ids)
      model_.sequences.at({address, id}).state = SentSequence::State::kLost;
    for (const uint64_t id : ids) {
      const SentSequence& sequence = model_.sequences.at({address, id});
      ModelRequest& request = model_.requests[sequence.request];
      if (!request.done) model_.TryAgain(&request, &request.choices[sequence.choice], false);
    }
    Absorb();
    steered_.Connect(address);
    if (few_credit_) SetCredit(address);
  }

  void Leave(size_t index) {
    model_.requests[index].client->OnGone();
    if (!model_.requests[index].done)
      model_.Fail(&model_.requests[index], absl::StatusCode::kCancelled);
  }

  void Pass(milliseconds time) {
    model_.now += time;
    steered_.Pass(time);
    for (ModelRequest& request : model_.requests) {
      if (!request.done) model_.Tick(&request);
    }
    Absorb();
    for (ModelRequest& request : model_.requests) {
      for (const ModelChoice& choice : request.choices) {
        const bool waits = choice.is_queued && !choice.finish.has_value() && !request.done;
        if (waits && model_.now >= choice.queued_at + kModelQueueTimeout) {
          model_.Fail(&request, absl::StatusCode::kUnavailable);
        }
      }
    }
  }

  void EndSomething() {
    const std::string address = Chance(2) ? "a" : "b";
    const std::vector<uint64_t> running = model_.Running(address);
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
    ModelRequest& request = model_.requests.at(index);
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
    EXPECT_EQ(sent.stop.max_tokens, kModelTokens);
    const milliseconds left = request.arrived + kModelRequestTimeout - choice.queued_at;
    EXPECT_EQ(sent.deadline_ms, std::max<int64_t>(left.count(), 1));
    SentSequence sequence;
    sequence.request = index;
    sequence.choice = found;
    choice.is_queued = false;
    if (request.done) GenerationModel::Over(&sequence);
    EXPECT_TRUE(model_.sequences.insert({{address, sent.sequence_id}, sequence}).second)
        << "used twice";
  }

  void Check() {
    Absorb();
    size_t queued = 0;
    size_t running = 0;
    size_t admitted = 0;
    size_t not_started = 0;
    for (const ModelRequest& request : model_.requests) {
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
    for (const auto& [id, sequence] : model_.sequences) {
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
  GenerationModel model_;
  SteeredGenerations steered_;
  bool few_credit_ = false;
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
