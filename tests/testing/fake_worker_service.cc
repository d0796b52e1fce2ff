// See fake_worker_service.h.
#include "tests/testing/fake_worker_service.h"

#include <algorithm>
#include <span>

#include "common/base/block_hash.h"
#include "common/base/check.h"
#include "common/base/sha256.h"
#include "tests/testing/await.h"
#include "tests/testing/ports.h"

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

}  // namespace

std::string FakeTokenizerAsset(const std::vector<std::string>& extra_tokens) {
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
  for (const std::string& special : extra_tokens) {
    keys.add_tokens(special);
    keys.add_token_types(3);
  }
  keys.add_merges("z q");
  keys.set_bos_token_id(kImStart);
  keys.set_eos_token_id(kImEnd);
  keys.set_add_bos_token(false);
  return keys.SerializeAsString();
}

FakeWorker::Service::Service(FakeWorkerOptions options)
    : options_(std::move(options)),
      asset_(options_.tokenizer_asset.empty() ? FakeTokenizerAsset(options_.extra_tokens)
                                              : options_.tokenizer_asset) {
  if (options_.answer == nullptr)
    options_.answer = [](const worker::v1::Sequence&) {
      return ByteTokens("Hello from the fake worker.");
    };
  // One that nobody else is given: a worker that is gone stays away, and one may come back to it.
  if (options_.port == 0) options_.port = FreePort();
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(options_.port),
                           grpc::InsecureServerCredentials(), &port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  PINGTI_CHECK_MSG(server_ != nullptr, "a fake worker's port is taken");
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
  card->set_vocab_size(options_.tokenizer_asset.empty()
                           ? 259 + static_cast<uint32_t>(options_.extra_tokens.size())
                           : options_.vocab_size);
  card->set_kv_total_blocks(1000);
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
    if (options_.holds_outputs) welcome->add_features("output_interval");
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
  if (options_.keep_submitted) submitted_.push_back(sequence);
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
  const auto prompt_tokens = static_cast<uint32_t>(sequence.prompt_token_ids_size());
  running.cached_tokens = options_.prefix_cache ? LookUp(stream, sequence) : prompt_tokens / 2;
  running.max_tokens = sequence.stop().max_tokens();
  running.to_context_end = running.max_tokens == 0;
  if (running.to_context_end) running.max_tokens = options_.max_context_tokens - prompt_tokens;
  running.logprobs = sequence.logprobs().enabled();
  running.top_logprobs = sequence.logprobs().top_logprobs();
  running.first_top = options_.first_top;
  if (options_.holds_outputs) {
    running.interval = std::chrono::milliseconds(sequence.output_interval_ms());
  }
  if (sequence.logprobs().prompt()) running.prompt_logprobs = prompt_tokens;
  stream->running.emplace(sequence.sequence_id(), std::move(running));
}

uint32_t FakeWorker::Service::LookUp(Stream* stream, const worker::v1::Sequence& sequence) {
  constexpr size_t kBlock = 16;
  const std::vector<int32_t> tokens(sequence.prompt_token_ids().begin(),
                                    sequence.prompt_token_ids().end());
  SessionResponse response;
  worker::v1::KvEvents* events = response.mutable_kv_events();
  worker::v1::BlocksStored* stored = events->add_events()->mutable_stored();
  uint64_t hash = BlockHashSeed(sequence.cache_salt());
  uint32_t cached = 0;
  for (size_t at = 0; at + kBlock < tokens.size(); at += kBlock) {
    hash = ChainBlockHash(hash, std::span(tokens).subspan(at, kBlock));
    if (!cached_blocks_.insert(hash).second) {
      cached += kBlock;
    } else {
      stored->add_block_hashes(hash);
      cached_in_order_.push_back(hash);
    }
  }
  if (stored->block_hashes_size() == 0) return cached;
  worker::v1::BlocksRemoved removed;
  while (options_.cache_blocks > 0 && cached_blocks_.size() > options_.cache_blocks) {
    removed.add_block_hashes(cached_in_order_.front());
    cached_blocks_.erase(cached_in_order_.front());
    cached_in_order_.pop_front();
  }
  if (removed.block_hashes_size() > 0) *events->add_events()->mutable_removed() = removed;
  events->set_first_event_id(next_event_id_);
  next_event_id_ += static_cast<uint64_t>(events->events_size());
  stream->Send(std::move(response));
  return cached;
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
        top->set_token_id((token + sequence->first_top + k) % 256);
        top->set_logprob(-0.25f - static_cast<float>(k));
      }
    }
    if (std::exchange(sequence->first, false)) {
      output->set_cached_prompt_tokens(sequence->cached_tokens);
      for (uint32_t k = 0; k < sequence->prompt_logprobs; ++k) {
        output->add_prompt_logprobs()->set_logprob(-0.5f);
      }
    }
    if (at_end || sequence->next >= sequence->max_tokens) {
      output->mutable_finish()->set_reason(at_end                     ? Finish::REASON_STOP_TOKEN
                                           : sequence->to_context_end ? Finish::REASON_CONTEXT_FULL
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
    while (options_.prompt_scores_per_output > 0 &&
           it->second.prompt_logprobs > options_.prompt_scores_per_output) {
      worker::v1::SequenceOutput* part = step->add_outputs();
      part->set_sequence_id(it->first);
      for (uint32_t k = 0; k < options_.prompt_scores_per_output; ++k) {
        part->add_prompt_logprobs()->set_logprob(-0.5f);
      }
      it->second.prompt_logprobs -= options_.prompt_scores_per_output;
    }
    worker::v1::SequenceOutput* output = step->add_outputs();
    output->set_sequence_id(it->first);
    const bool goes_on = Advance(&it->second, options_.tokens_per_step, output);
    tokens_sent_ += static_cast<uint64_t>(output->token_ids_size());
    if (Hold(&it->second, output)) step->mutable_outputs()->RemoveLast();
    it = goes_on ? std::next(it) : stream->running.erase(it);
  }
  if (step->outputs_size() > 0) stream->Send(std::move(response));
}

bool FakeWorker::Service::Hold(Running* sequence, worker::v1::SequenceOutput* output) {
  if (sequence->interval.count() == 0) return false;
  const steady_clock::time_point now = steady_clock::now();
  const bool is_first = sequence->reported == steady_clock::time_point();
  const bool holds = sequence->held.token_ids_size() > 0;
  const bool waited = !holds && now >= sequence->reported + sequence->interval;
  if (holds) {
    sequence->held.MergeFrom(*output);
    output->Swap(&sequence->held);
  }
  if (is_first || waited || output->has_finish()) {
    sequence->held.Clear();
    sequence->reported = now;
    return false;
  }
  sequence->held.Swap(output);
  if (!holds)
    sequence->due = now - now.time_since_epoch() % sequence->interval + sequence->interval;
  return true;
}

steady_clock::time_point FakeWorker::Service::SendDue(Stream* stream) {
  const steady_clock::time_point now = steady_clock::now();
  steady_clock::time_point next = steady_clock::time_point::max();
  SessionResponse response;
  for (auto& [id, sequence] : stream->running) {
    if (sequence.held.token_ids_size() == 0) continue;
    if (sequence.due > now) {
      next = std::min(next, sequence.due);
      continue;
    }
    sequence.reported = sequence.due;
    response.mutable_step_output()->add_outputs()->Swap(&sequence.held);
    sequence.held.Clear();
  }
  if (response.has_step_output()) stream->Send(std::move(response));
  return next;
}

void FakeWorker::Service::Report(Stream* stream) {
  if (!stream->welcomed) return;
  SessionResponse response;
  worker::v1::LoadReport* report = response.mutable_load_report();
  report->set_running_sequences(static_cast<uint32_t>(stream->running.size()));
  report->set_kv_total_blocks(1000);
  report->set_prefill_tokens_per_s(1e5f);
  report->set_includes_sequence_id(stream->last_sequence_id);
  if (options_.report != nullptr) options_.report(report);
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
    steady_clock::time_point wake = next_report;
    for (Stream* stream : streams_) wake = std::min(wake, SendDue(stream));
    bool busy = false;
    bool blocked = false;
    const bool may_step = !stalled_ && (!held_ || allowed_steps_ > 0);
    for (Stream* stream : streams_) {
      if (!may_step || stream->running.empty()) continue;
      if (stream->backlog() > kMaxBacklog) {
        blocked = true;
        continue;
      }
      Step(stream);
      busy = true;
    }
    if (busy && held_) --allowed_steps_;
    if (!busy) {
      // Nothing tells of a backlog that was written.
      changed_.wait_until(lock,
                          blocked ? std::min(wake, now + std::chrono::milliseconds(1)) : wake);
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
  if (!changed_.wait_for(lock, kPatience, [this] { return streams_.empty(); })) {
    DieWaiting("the streams of a fake worker to end");
  }
}

}  // namespace pingti::testing
