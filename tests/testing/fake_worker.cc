// See fake_worker.h.
#include "tests/testing/fake_worker.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "common/base/sha256.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"

namespace pingti::testing {
namespace {

using std::chrono::steady_clock;
using worker::v1::Finish;
using worker::v1::SessionRequest;
using worker::v1::SessionResponse;

// GPT-2's printable stand-ins for bytes: those that print stand for themselves, the others come
// from U+0100 on in order.
std::string ByteStandIn(int byte) {
  const auto prints = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  };
  int code = byte;
  if (!prints(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += prints(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

std::string TokenizerAsset() {
  worker::v1::GgufTokenizer keys;
  keys.set_model("gpt2");
  keys.set_pre("gpt-2");
  for (int byte = 0; byte < 256; ++byte) {
    keys.add_tokens(ByteStandIn(byte));
    keys.add_token_types(1);
  }
  for (const char* special : {"<|im_start|>", "<|im_end|>"}) {
    keys.add_tokens(special);
    keys.add_token_types(3);
  }
  keys.add_tokens("zq");
  keys.add_token_types(1);
  keys.add_merges("z q");
  keys.set_bos_token_id(kImStart);
  keys.set_eos_token_id(kImEnd);
  keys.set_add_bos_token(false);
  return keys.SerializeAsString();
}

std::vector<uint32_t> DefaultAnswer(const worker::v1::Sequence&) {
  return ByteTokens("Hello from the fake worker.");
}

}  // namespace

std::vector<uint32_t> ByteTokens(std::string_view text) {
  std::vector<uint32_t> ids;
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

bool WaitFor(const std::function<bool()>& condition) {
  const steady_clock::time_point deadline = steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class FakeWorker::Service final : public worker::v1::Worker::CallbackService {
 public:
  explicit Service(FakeWorkerOptions options);
  ~Service() override { Kill(); }

  grpc::ServerUnaryReactor* GetModelCard(grpc::CallbackServerContext* context,
                                         const worker::v1::GetModelCardRequest*,
                                         worker::v1::ModelCard* card) override;
  grpc::ServerWriteReactor<worker::v1::AssetChunk>* GetModelAsset(
      grpc::CallbackServerContext* context,
      const worker::v1::GetModelAssetRequest* request) override;
  grpc::ServerBidiReactor<SessionRequest, SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;

  void Kill();
  void Run();

  // A sequence that runs here.
  struct Running {
    std::vector<uint32_t> output;
    size_t next = 0;
    uint32_t max_tokens = 0;
    bool logprobs = false;
    uint32_t top_logprobs = 0;
    uint32_t prompt_tokens = 0;
    bool first = true;
  };
  class Stream;

  void Take(Stream* stream, const SessionRequest& request);
  void Start(Stream* stream, const worker::v1::Sequence& sequence);
  void Step(Stream* stream);
  static bool Advance(Running* sequence, int num_tokens, worker::v1::SequenceOutput* output);
  void Report(Stream* stream);

  FakeWorkerOptions options_;
  const std::string asset_ = TokenizerAsset();
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::thread engine_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Stream*> streams_;
  bool stopping_ = false;
  bool stalled_ = false;
  bool draining_ = false;
  bool held_ = false;
  int allowed_steps_ = 0;
  int refuse_ = 0;
  Finish refusal_;
  std::vector<worker::v1::Sequence> submitted_;
  size_t num_cancelled_ = 0;
  size_t num_batches_ = 0;
  uint64_t tokens_sent_ = 0;
};

// One router's session. Its state is guarded by the service's mutex.
class FakeWorker::Service::Stream final
    : public grpc::ServerBidiReactor<SessionRequest, SessionResponse> {
 public:
  explicit Stream(Service* service) : service_(service) {
    std::lock_guard lock(service_->mutex_);
    service_->streams_.insert(this);
    StartRead(&incoming_);
  }

  // REQUIRES: the service's mutex is held.
  void Send(SessionResponse response) {
    if (finished_) return;
    outgoing_.push_back(std::move(response));
    WriteIfIdle();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      std::lock_guard lock(service_->mutex_);
      if (!std::exchange(finished_, true)) Finish(grpc::Status::OK);
      return;
    }
    service_->Take(this, incoming_);
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(service_->mutex_);
    outgoing_.pop_front();
    writing_ = false;
    if (ok) WriteIfIdle();
  }
  void OnDone() override {
    {
      std::lock_guard lock(service_->mutex_);
      service_->streams_.erase(this);
      service_->changed_.notify_all();
    }
    delete this;
  }

  std::map<uint64_t, Running> running;
  uint64_t last_sequence_id = 0;
  bool welcomed = false;
  size_t backlog() const { return outgoing_.size(); }

 private:
  void WriteIfIdle() {
    if (writing_ || finished_ || outgoing_.empty() || service_->stalled_) return;
    writing_ = true;
    StartWrite(&outgoing_.front());
  }

  Service* const service_;
  SessionRequest incoming_;
  std::deque<SessionResponse> outgoing_;
  bool writing_ = false;
  bool finished_ = false;
};

FakeWorker::Service::Service(FakeWorkerOptions options) : options_(std::move(options)) {
  if (options_.answer == nullptr) options_.answer = DefaultAnswer;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(options_.port),
                           grpc::InsecureServerCredentials(), &port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  engine_ = std::thread([this] { Run(); });
}

grpc::ServerUnaryReactor* FakeWorker::Service::GetModelCard(grpc::CallbackServerContext* context,
                                                            const worker::v1::GetModelCardRequest*,
                                                            worker::v1::ModelCard* card) {
  card->set_model_id(options_.model_id);
  card->add_aliases(options_.model_id + "-alias");
  card->set_fingerprint(options_.fingerprint);
  card->set_created_unix_s(1'700'000'000);
  card->set_owned_by("pingti");
  card->set_max_context_tokens(options_.max_context_tokens);
  card->set_max_batch_tokens(2048);
  card->set_max_batch_size(64);
  card->set_kv_block_tokens(16);
  card->set_vocab_size(259);
  card->add_eos_token_ids(kImEnd);
  card->set_chat_template(options_.chat_template);
  card->set_tool_call_format(options_.tool_call_format);
  card->set_reasoning_start(options_.reasoning_start);
  card->set_reasoning_end(options_.reasoning_end);
  worker::v1::Asset* tokenizer = card->mutable_tokenizer();
  tokenizer->set_format(worker::v1::Asset::FORMAT_GGUF_TOKENIZER);
  tokenizer->set_sha256(ToHex(Sha256(asset_)));
  tokenizer->set_size_bytes(asset_.size());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<worker::v1::AssetChunk>* FakeWorker::Service::GetModelAsset(
    grpc::CallbackServerContext*, const worker::v1::GetModelAssetRequest*) {
  class Writer final : public grpc::ServerWriteReactor<worker::v1::AssetChunk> {
   public:
    explicit Writer(const std::string& bytes) {
      chunk_.set_data(bytes);
      StartWriteAndFinish(&chunk_, {}, grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    worker::v1::AssetChunk chunk_;
  };
  return new Writer(asset_);
}

grpc::ServerBidiReactor<SessionRequest, SessionResponse>* FakeWorker::Service::Session(
    grpc::CallbackServerContext*) {
  return new Stream(this);
}

void FakeWorker::Service::Take(Stream* stream, const SessionRequest& request) {
  std::lock_guard lock(mutex_);
  if (request.has_hello()) {
    stream->welcomed = true;
    SessionResponse response;
    worker::v1::Welcome* welcome = response.mutable_welcome();
    welcome->set_protocol_version(1);
    welcome->set_worker_id("127.0.0.1:" + std::to_string(port_));
    welcome->set_incarnation("1");
    welcome->set_model_fingerprint(options_.fingerprint);
    welcome->mutable_initial_credit()->set_max_waiting_sequences(options_.credit_sequences);
    welcome->mutable_initial_credit()->set_max_waiting_tokens(options_.credit_tokens);
    stream->Send(std::move(response));
  } else if (request.has_submit()) {
    ++num_batches_;
    for (const worker::v1::Sequence& sequence : request.submit().sequences()) {
      Start(stream, sequence);
    }
  } else if (request.has_cancel()) {
    for (const uint64_t id : request.cancel().sequence_ids()) {
      if (stream->running.erase(id) > 0) ++num_cancelled_;
    }
  }
  changed_.notify_all();
}

void FakeWorker::Service::Start(Stream* stream, const worker::v1::Sequence& sequence) {
  submitted_.push_back(sequence);
  stream->last_sequence_id = std::max(stream->last_sequence_id, sequence.sequence_id());
  if (refuse_ > 0 || draining_) {
    SessionResponse response;
    worker::v1::SequenceOutput* output = response.mutable_step_output()->add_outputs();
    output->set_sequence_id(sequence.sequence_id());
    *output->mutable_finish() = refusal_;
    if (refuse_ > 0) {
      --refuse_;
    } else {
      output->mutable_finish()->set_reason(Finish::REASON_REJECTED);
      output->mutable_finish()->set_code(14);
    }
    stream->Send(std::move(response));
    return;
  }
  Running running;
  running.output = options_.answer(sequence);
  running.next = static_cast<size_t>(sequence.generated_token_ids_size());
  running.prompt_tokens = static_cast<uint32_t>(sequence.prompt_token_ids_size());
  running.max_tokens = sequence.stop().max_tokens();
  if (running.max_tokens == 0) {
    running.max_tokens = options_.max_context_tokens - running.prompt_tokens;
  }
  running.logprobs = sequence.logprobs().enabled();
  running.top_logprobs = sequence.logprobs().top_logprobs();
  stream->running.emplace(sequence.sequence_id(), std::move(running));
}

bool FakeWorker::Service::Advance(Running* sequence, int num_tokens,
                                  worker::v1::SequenceOutput* output) {
  for (int i = 0; i < num_tokens; ++i) {
    const bool at_end = sequence->next >= sequence->output.size();
    const uint32_t token = at_end ? kImEnd : sequence->output[sequence->next];
    output->add_token_ids(token);
    ++sequence->next;
    if (sequence->logprobs) {
      worker::v1::TokenLogprobs* logprobs = output->add_logprobs();
      logprobs->set_logprob(-0.25f);
      for (uint32_t k = 0; k < sequence->top_logprobs; ++k) {
        worker::v1::TokenLogprob* top = logprobs->add_top();
        top->set_token_id((token + k) % 256);
        top->set_logprob(-0.25f - static_cast<float>(k));
      }
    }
    if (std::exchange(sequence->first, false)) {
      output->set_cached_prompt_tokens(sequence->prompt_tokens / 2);
    }
    if (at_end || sequence->next >= sequence->max_tokens) {
      output->mutable_finish()->set_reason(at_end ? Finish::REASON_STOP_TOKEN
                                                  : Finish::REASON_MAX_TOKENS);
      return false;
    }
  }
  return true;
}

void FakeWorker::Service::Step(Stream* stream) {
  if (stream->running.empty()) return;
  SessionResponse response;
  worker::v1::StepOutput* step = response.mutable_step_output();
  for (auto it = stream->running.begin(); it != stream->running.end();) {
    worker::v1::SequenceOutput* output = step->add_outputs();
    output->set_sequence_id(it->first);
    const bool goes_on = Advance(&it->second, options_.tokens_per_step, output);
    tokens_sent_ += static_cast<uint64_t>(output->token_ids_size());
    it = goes_on ? std::next(it) : stream->running.erase(it);
  }
  stream->Send(std::move(response));
}

void FakeWorker::Service::Report(Stream* stream) {
  if (!stream->welcomed) return;
  SessionResponse response;
  worker::v1::LoadReport* report = response.mutable_load_report();
  report->set_running_sequences(static_cast<uint32_t>(stream->running.size()));
  report->set_kv_total_blocks(1000);
  report->set_prefill_tokens_per_s(1e5f);
  report->set_includes_sequence_id(stream->last_sequence_id);
  stream->Send(std::move(response));
}

void FakeWorker::Service::Run() {
  constexpr size_t kMaxBacklog = 4;  // a real engine merges outputs that a router is slow to read
  steady_clock::time_point next_report = steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const steady_clock::time_point now = steady_clock::now();
    if (now >= next_report) {
      for (Stream* stream : streams_) Report(stream);
      next_report = now + options_.report_interval;
    }
    bool busy = false;
    const bool may_step = !stalled_ && (!held_ || allowed_steps_ > 0);
    for (Stream* stream : streams_) {
      if (!may_step || stream->running.empty() || stream->backlog() > kMaxBacklog) continue;
      Step(stream);
      busy = true;
    }
    if (busy && held_) --allowed_steps_;
    if (!busy) {
      changed_.wait_until(lock, std::min(next_report, now + std::chrono::milliseconds(1)));
    } else if (options_.step_time.count() > 0) {
      lock.unlock();
      std::this_thread::sleep_until(now + options_.step_time);
      lock.lock();
    } else {
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
    }
  }
}

void FakeWorker::Service::Kill() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
    changed_.notify_all();
  }
  engine_.join();
  server_->Shutdown(std::chrono::system_clock::now());
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return streams_.empty(); });
}

FakeWorker::FakeWorker(FakeWorkerOptions options)
    : service_(std::make_unique<Service>(std::move(options))) {}
FakeWorker::~FakeWorker() = default;

std::string FakeWorker::address() const { return "127.0.0.1:" + std::to_string(port()); }
uint16_t FakeWorker::port() const { return static_cast<uint16_t>(service_->port_); }

void FakeWorker::HoldSteps() {
  std::lock_guard lock(service_->mutex_);
  service_->held_ = true;
}
void FakeWorker::AllowSteps(int count) {
  std::lock_guard lock(service_->mutex_);
  service_->allowed_steps_ += count;
  service_->changed_.notify_all();
}
void FakeWorker::ReleaseSteps() {
  std::lock_guard lock(service_->mutex_);
  service_->held_ = false;
  service_->changed_.notify_all();
}
void FakeWorker::Kill() { service_->Kill(); }
void FakeWorker::Stall() {
  std::lock_guard lock(service_->mutex_);
  service_->stalled_ = true;
}
void FakeWorker::Drain() {
  std::lock_guard lock(service_->mutex_);
  service_->draining_ = true;
  for (Service::Stream* stream : service_->streams_) {
    SessionResponse response;
    response.mutable_draining()->set_deadline_ms(1000);
    stream->Send(std::move(response));
  }
}
void FakeWorker::GiveBack() {
  std::lock_guard lock(service_->mutex_);
  for (Service::Stream* stream : service_->streams_) {
    SessionResponse response;
    for (const auto& [id, running] : stream->running) {
      worker::v1::SequenceOutput* output = response.mutable_step_output()->add_outputs();
      output->set_sequence_id(id);
      output->mutable_finish()->set_reason(Finish::REASON_PREEMPTED);
    }
    stream->running.clear();
    stream->Send(std::move(response));
  }
}
void FakeWorker::RefuseNext(int count, Finish finish) {
  std::lock_guard lock(service_->mutex_);
  service_->refuse_ = count;
  service_->refusal_ = std::move(finish);
}

std::vector<worker::v1::Sequence> FakeWorker::Submitted() const {
  std::lock_guard lock(service_->mutex_);
  return service_->submitted_;
}
size_t FakeWorker::num_submitted() const {
  std::lock_guard lock(service_->mutex_);
  return service_->submitted_.size();
}
size_t FakeWorker::num_cancelled() const {
  std::lock_guard lock(service_->mutex_);
  return service_->num_cancelled_;
}
size_t FakeWorker::num_running() const {
  std::lock_guard lock(service_->mutex_);
  size_t count = 0;
  for (const Service::Stream* stream : service_->streams_) count += stream->running.size();
  return count;
}
size_t FakeWorker::num_sessions() const {
  std::lock_guard lock(service_->mutex_);
  return service_->streams_.size();
}
uint64_t FakeWorker::num_tokens_sent() const {
  std::lock_guard lock(service_->mutex_);
  return service_->tokens_sent_;
}
size_t FakeWorker::num_batches() const {
  std::lock_guard lock(service_->mutex_);
  return service_->num_batches_;
}

}  // namespace pingti::testing
