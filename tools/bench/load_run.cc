// See load_run.h.
#include "tools/bench/load_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cmath>
#include <random>
#include <unordered_set>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/net/http_client.h"
#include "tools/bench/stream_reader.h"

namespace pingti::tools {
namespace {

namespace asio = boost::asio;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kProgressInterval{200};

double Ms(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class Runner;

// One request on a connection. Confined to the loop; kept alive by its pending operations.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(Runner* runner, const std::string* body, Clock::time_point due)
      : runner_(runner), body_(body), due_(due) {}

  void Start();
  // Ends it as `kind`; the first end counts.
  void End(const std::string& kind, const std::string& words);
  Clock::time_point due() const { return due_; }

 private:
  void Connect();
  void Send();
  void Read();
  void OnRead(const Error& error, size_t length);
  void Finish();

  Runner* const runner_;
  const std::string* const body_;
  const Clock::time_point due_;
  std::unique_ptr<Tcp::socket> socket_;
  std::string head_;
  StreamReader reader_;
  Clock::time_point first_{};
  Clock::time_point last_{};
  int64_t text_events_ = 0;
  bool reused_ = false;
  bool got_bytes_ = false;
  bool ended_ = false;
};

class Runner final : public LoadRun {
 public:
  Runner(const BenchOptions& options, net::HttpUrl url, Tcp::resolver::results_type endpoints)
      : options_(options),
        endpoints_(std::move(endpoints)),
        arrival_timer_(context_),
        tick_timer_(context_) {
    const bool is_v6 = url.host.find(':') != std::string::npos;
    head_ = Concat("POST ", url.target, " HTTP/1.1\r\nHost: ", is_v6 ? "[" : "", url.host,
                   is_v6 ? "]" : "", ":", url.port, "\r\nContent-Type: application/json\r\n");
    if (!options.api_key.empty()) head_ += "Authorization: Bearer " + options.api_key + "\r\n";
    head_ += "Content-Length: ";
  }

  LoadResult Run(const Plan& plan, std::vector<BenchRequest> requests,
                 const std::function<void(const LoadProgress&)>& on_progress) override;
  void Stop() override {
    asio::post(context_, [this] { StopNow(); });
  }

  // --- for calls
  asio::io_context& context() { return context_; }
  const Tcp::resolver::results_type& endpoints() const { return endpoints_; }
  std::array<char, 64 << 10>& scratch() { return scratch_; }
  std::string HeadFor(size_t body_bytes) const { return Concat(head_, body_bytes, "\r\n\r\n"); }
  std::unique_ptr<Tcp::socket> TakeIdle();
  void GiveBack(std::unique_ptr<Tcp::socket> socket) { idle_.push_back(std::move(socket)); }
  void OnText(int64_t events, Clock::duration gap, bool is_first);
  void OnSent(Clock::time_point due);
  void OnAnswered(const Answered& answered) { result_.answered.push_back(answered); }
  void OnFailed(const std::string& kind, const std::string& words);
  void OnEnded(const std::shared_ptr<Call>& call);

 private:
  void StartOne(Clock::time_point due);
  void ScheduleArrival();
  void OnArrival(const Error& error);
  bool MoreToStart() const;
  void Tick();
  void StopNow();

  const BenchOptions options_;
  const Tcp::resolver::results_type endpoints_;
  std::string head_;
  asio::io_context context_{1};
  asio::steady_timer arrival_timer_;
  asio::steady_timer tick_timer_;
  std::array<char, 64 << 10> scratch_;
  std::vector<std::unique_ptr<Tcp::socket>> idle_;

  Plan plan_;
  std::vector<BenchRequest> requests_;
  std::function<void(const LoadProgress&)> on_progress_;
  std::mt19937_64 random_;
  std::unordered_set<std::shared_ptr<Call>> calls_;
  Clock::time_point began_;
  Clock::time_point next_arrival_;
  LoadProgress progress_;
  LoadResult result_;
};

void Call::Start() {
  runner_->OnSent(due_);
  socket_ = runner_->TakeIdle();
  reused_ = socket_ != nullptr;
  if (reused_) {
    Send();
  } else {
    Connect();
  }
}

void Call::Connect() {
  socket_ = std::make_unique<Tcp::socket>(runner_->context());
  asio::async_connect(*socket_, runner_->endpoints(),
                      [self = shared_from_this()](const Error& error, const Tcp::endpoint&) {
                        if (error) return self->End("connect", error.message());
                        Error ignored;
                        self->socket_->set_option(Tcp::no_delay(true), ignored);
                        self->socket_->non_blocking(true, ignored);
                        self->Send();
                      });
}

void Call::Send() {
  head_ = runner_->HeadFor(body_->size());
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head_), asio::buffer(*body_)};
  asio::async_write(*socket_, buffers, [self = shared_from_this()](const Error&, size_t) {
    // Also after an error: a server that refuses early may close before it has read all, and its
    // answer says why.
    self->Read();
  });
}

// Waits, then reads: all calls share one buffer, and async_read_some may fill it long before its
// handler runs.
void Call::Read() {
  if (ended_) return;
  socket_->async_wait(Tcp::socket::wait_read, [self = shared_from_this()](Error error) {
    if (self->ended_) return;
    size_t length = 0;
    if (!error) length = self->socket_->read_some(asio::buffer(self->runner_->scratch()), error);
    if (error == asio::error::would_block) return self->Read();
    self->OnRead(error, length);
  });
}

void Call::OnRead(const Error& error, size_t length) {
  if (error) {
    // The server closed a kept connection before this request reached it: that is no answer.
    if (reused_ && !got_bytes_) {
      reused_ = false;
      return Connect();
    }
    return End("connection lost", error.message());
  }
  got_bytes_ = true;
  const StreamMarks marks = reader_.Feed({runner_->scratch().data(), length});
  if (marks.text_events > 0) {
    const Clock::time_point now = Clock::now();
    const bool is_first = text_events_ == 0;
    if (is_first) first_ = now;
    runner_->OnText(marks.text_events, now - last_, is_first);
    last_ = now;
    text_events_ += marks.text_events;
  }
  if (marks.broken) return End("not HTTP", "the answer is no HTTP/1.1");
  if (marks.ended) return Finish();
  Read();
}

void Call::Finish() {
  if (reader_.status() != 200) {
    return End(Concat("HTTP ", reader_.status()), reader_.error());
  }
  if (!reader_.error().empty()) return End("error event", reader_.error());
  if (!reader_.done()) return End("cut off", "the stream ended without [DONE]");
  if (text_events_ == 0) return End("no text", "an answer without a token");
  Answered answered;
  answered.ttft_ms = Ms(first_ - due_);
  answered.e2e_ms = Ms(last_ - due_);
  answered.prompt_tokens = std::max<int64_t>(0, reader_.prompt_tokens());
  answered.output_tokens =
      reader_.completion_tokens() > 0 ? reader_.completion_tokens() : text_events_;
  if (answered.output_tokens > 1) {
    answered.tpot_ms = Ms(last_ - first_) / static_cast<double>(answered.output_tokens - 1);
  }
  ended_ = true;
  if (reader_.keep_alive()) runner_->GiveBack(std::move(socket_));
  runner_->OnAnswered(answered);
  runner_->OnEnded(shared_from_this());
}

void Call::End(const std::string& kind, const std::string& words) {
  if (std::exchange(ended_, true)) return;
  Error ignored;
  if (socket_ != nullptr) socket_->close(ignored);
  runner_->OnFailed(kind, words);
  runner_->OnEnded(shared_from_this());
}

std::unique_ptr<Tcp::socket> Runner::TakeIdle() {
  if (idle_.empty()) return nullptr;
  std::unique_ptr<Tcp::socket> socket = std::move(idle_.back());
  idle_.pop_back();
  return socket;
}

void Runner::OnSent(Clock::time_point due) {
  result_.latest_start_ms = std::max(result_.latest_start_ms, Ms(Clock::now() - due));
}

void Runner::OnText(int64_t events, Clock::duration gap, bool is_first) {
  progress_.text_events += events;
  // Events that came together have no gap between them that anybody could see.
  for (int64_t i = is_first ? 1 : 0; i < events; ++i) {
    result_.inter_token.Add(i == 0 ? gap : Clock::duration::zero());
  }
}

void Runner::OnFailed(const std::string& kind, const std::string& words) {
  if (result_.stopped) {
    ++result_.unfinished;
    return;
  }
  ++progress_.failed;
  ++result_.errors[kind];
  if (result_.first_error.empty()) result_.first_error = Concat(kind, ": ", words);
}

bool Runner::MoreToStart() const {
  if (result_.stopped || progress_.started >= plan_.num_requests) return false;
  return !options_.duration || Clock::now() - began_ < *options_.duration;
}

void Runner::StartOne(Clock::time_point due) {
  const std::string& body = requests_[progress_.started++].body;
  if (static_cast<int>(calls_.size()) >= options_.max_in_flight) {
    ++progress_.ended;
    OnFailed("too many in flight", Concat("--max-in-flight ", options_.max_in_flight));
    return;
  }
  auto call = std::make_shared<Call>(this, &body, due);
  calls_.insert(call);
  result_.most_in_flight = std::max(result_.most_in_flight, static_cast<int>(calls_.size()));
  call->Start();
}

void Runner::OnEnded(const std::shared_ptr<Call>& call) {
  calls_.erase(call);
  ++progress_.ended;
  if (!plan_.rate.has_value() && MoreToStart()) {
    // Posted: a server that refuses at once must not make this recurse.
    asio::post(context_, [this] {
      if (MoreToStart()) StartOne(Clock::now());
    });
  }
}

void Runner::ScheduleArrival() {
  if (!MoreToStart()) return;
  double gap_s = 1 / *plan_.rate;
  if (options_.arrivals == BenchOptions::Arrivals::kPoisson) {
    gap_s = std::exponential_distribution<double>(*plan_.rate)(random_);
  }
  next_arrival_ +=
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap_s));
  arrival_timer_.expires_at(next_arrival_);
  arrival_timer_.async_wait([this](const Error& error) { OnArrival(error); });
}

void Runner::OnArrival(const Error& error) {
  if (error || !MoreToStart()) return;
  StartOne(next_arrival_);
  ScheduleArrival();
}

void Runner::Tick() {
  progress_.in_flight = static_cast<int>(calls_.size());
  progress_.elapsed_s = Ms(Clock::now() - began_) / 1000;
  if (on_progress_ != nullptr) on_progress_(progress_);
  const Clock::time_point oldest = Clock::now() - options_.timeout;
  std::vector<std::shared_ptr<Call>> late;
  for (const auto& call : calls_) {
    if (call->due() < oldest) late.push_back(call);
  }
  for (const auto& call : late) {
    call->End("timeout", Concat("no end within ", options_.timeout.count(), " s"));
  }
  if (calls_.empty() && !MoreToStart()) return;
  tick_timer_.expires_after(kProgressInterval);
  tick_timer_.async_wait([this](const Error& error) {
    if (!error) Tick();
  });
}

void Runner::StopNow() {
  result_.stopped = true;
  arrival_timer_.cancel();
  tick_timer_.cancel();
  const std::vector<std::shared_ptr<Call>> running(calls_.begin(), calls_.end());
  for (const auto& call : running) call->End("stopped", "");
}

LoadResult Runner::Run(const Plan& plan, std::vector<BenchRequest> requests,
                       const std::function<void(const LoadProgress&)>& on_progress) {
  plan_ = plan;
  requests_ = std::move(requests);
  on_progress_ = on_progress;
  random_.seed(options_.seed);
  progress_ = {};
  result_ = {};
  const double cpu_before = CpuSeconds();
  began_ = next_arrival_ = Clock::now();
  if (plan_.rate.has_value()) {
    OnArrival({});
  } else {
    for (int i = 0; i < plan_.concurrency && MoreToStart(); ++i) StartOne(Clock::now());
  }
  Tick();
  context_.restart();
  // The tick that is still to come when the last answer is there must not count.
  while (!calls_.empty() || MoreToStart()) {
    if (context_.run_one() == 0) break;
  }
  result_.wall_s = Ms(Clock::now() - began_) / 1000;
  result_.client_cpu_s = CpuSeconds() - cpu_before;
  arrival_timer_.cancel();
  tick_timer_.cancel();
  context_.poll();
  Tick();
  return std::move(result_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoadRun>> LoadRun::Create(const BenchOptions& options) {
  const char* path = options.endpoint == BenchOptions::Endpoint::kChat ? "/v1/chat/completions"
                                                                       : "/v1/completions";
  PINGTI_ASSIGN_OR_RETURN(net::HttpUrl url, net::ParseHttpUrl(options.url + path));
  asio::io_context context;
  Tcp::resolver resolver(context);
  Error error;
  const auto endpoints = resolver.resolve(url.host, Concat(url.port), error);
  if (error) {
    return absl::UnavailableError(Concat("looking up ", url.host, ": ", error.message()));
  }
  return std::make_unique<Runner>(options, std::move(url), endpoints);
}

}  // namespace pingti::tools
