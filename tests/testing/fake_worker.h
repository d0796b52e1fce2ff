// A worker without a model: the gRPC Worker service in this process, with scripted answers and
// faults.
//
// Serves on 127.0.0.1. Its "model" is a function from a sequence to all of its output tokens, so a
// sequence that is resumed with generated_token_ids goes on exactly where it would have. One thread
// runs the steps: every running sequence gets `tokens_per_step` tokens per step, and steps can be
// let through one by one. The vocabulary is bytes (id = byte) plus a few special tokens.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "tests/testing/wait_for.h"  // IWYU pragma: export

namespace pingti::testing {

inline constexpr uint32_t kImStart = 256;
inline constexpr uint32_t kImEnd = 257;  // end of sequence

// ChatML, as SmolLM2 and Qwen write it.
inline constexpr std::string_view kChatTemplate =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::vector<uint32_t> ByteTokens(std::string_view text);

struct FakeWorkerOptions {
  std::string model_id = "fake";
  std::string fingerprint = "fake-1";
  std::string chat_template = std::string(kChatTemplate);
  std::string tool_call_format;
  std::string reasoning_start;
  std::string reasoning_end;
  uint32_t max_context_tokens = 4096;
  // The scores of a prompt come in outputs of so many, before that of the first token. 0: with it.
  uint32_t prompt_scores_per_output = 0;
  // Tokens that are said to be likeliest: the one drawn and those behind it, this many left out.
  uint32_t first_top = 0;
  uint32_t credit_sequences = 64;
  uint32_t credit_tokens = 1u << 20;
  int tokens_per_step = 1;
  std::chrono::microseconds step_time{0};  // least time between two steps
  std::chrono::milliseconds report_interval{50};
  uint16_t port = 0;  // 0: one of its own
  // A serialized GgufTokenizer with its number of tokens, in place of the vocabulary of bytes.
  std::string tokenizer_asset{};
  uint32_t vocab_size = 0;
  // Special tokens behind the vocabulary: ids 259, 260, ...
  std::vector<std::string> extra_tokens{};
  // Remembers the blocks of every prompt (16 tokens each), tells of them in KvEvents, and reports
  // the beginning it knew as cached. Without: half of each prompt is said to be cached.
  bool prefix_cache = false;
  // Blocks that the prefix cache holds: the oldest leave it for new ones. 0: any number.
  size_t cache_blocks = 0;
  // Whether Submitted knows what came; without, a long load does not fill this process.
  bool keep_submitted = true;
  // Holds tokens back for a sequence's output_interval_ms, and says that it does.
  bool holds_outputs = true;
  // Changes what a session says; called once for each message. What it leaves empty is not sent.
  std::function<void(worker::v1::SessionResponse*)> say{};
  // Changes what a load report says.
  std::function<void(worker::v1::LoadReport*)> report{};
  // The whole output, stop token left out: it is added when there is room for it.
  std::function<std::vector<uint32_t>(const worker::v1::Sequence&)> answer;
};

// Thread-safe.
class FakeWorker {
 public:
  explicit FakeWorker(FakeWorkerOptions options = {});
  // As Kill.
  ~FakeWorker();
  FakeWorker(const FakeWorker&) = delete;
  FakeWorker& operator=(const FakeWorker&) = delete;

  std::string address() const;
  uint16_t port() const;

  // Steps run freely until HoldSteps; then only those that AllowSteps lets through.
  void HoldSteps();
  void AllowSteps(int count);
  void ReleaseSteps();

  // Ends the process, as the router sees it: the stream breaks, the port closes.
  void Kill();
  // Sends nothing any more, not even load reports; the stream stays open.
  void Stall();
  // Announces Draining; running sequences go on, new ones are refused.
  void Drain();
  // Hands all running sequences back (REASON_PREEMPTED).
  void GiveBack();
  // Ends the next sequences that arrive at once with this.
  void RefuseNext(int count, worker::v1::Finish finish);

  // What arrived and what is there now.
  std::vector<worker::v1::Sequence> Submitted() const;
  size_t num_submitted() const;
  size_t num_cancelled() const;
  size_t num_running() const;
  size_t num_sessions() const;
  uint64_t num_tokens_sent() const;
  // Envelopes that carried the sequences.
  size_t num_batches() const;

 private:
  class Service;
  std::unique_ptr<Service> service_;
};

}  // namespace pingti::testing
