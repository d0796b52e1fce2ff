// Cases about many tokens: streamed answers, long prompts. See cases.h.
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/router/cases.h"
#include "bench/router/load_client.h"
#include "bench/router/stream_reader.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/router_process.h"
#include "worker/model/open_checkpoint.h"
#include "worker/server/model_card.h"

namespace pingti::bench {
namespace {

using testing::FakeWorker;
using testing::RouterProcess;

// `num_streams` answers at once, all together 100,000 tokens per second.
void StreamAtOnce(const std::string& program, int num_streams, const std::string& interval) {
  constexpr int kWorkers = 8;
  constexpr double kTokensPerSecond = 100'000;
  constexpr uint32_t kMostTokens = 100'000;
  constexpr double kSeconds = 5;
  testing::FakeWorkerOptions options;
  options.answer = [](const worker::v1::Sequence&) {
    return std::vector<uint32_t>(kMostTokens, 'x');
  };
  options.max_context_tokens = 2 * kMostTokens;
  options.credit_sequences = 1024;
  options.credit_tokens = 1u << 30;
  options.keep_submitted = false;
  options.report_interval = std::chrono::milliseconds(100);
  options.step_time =
      std::chrono::microseconds(static_cast<int64_t>(1e6 * num_streams / kTokensPerSecond));
  std::vector<std::unique_ptr<FakeWorker>> workers;
  std::vector<std::string> addresses;
  for (int i = 0; i < kWorkers; ++i) {
    workers.push_back(std::make_unique<FakeWorker>(options));
    addresses.push_back(workers.back()->address());
  }
  const RouterProcess router(program, addresses,
                             {"--max-queued-tokens=1000000000", "--stream-interval=" + interval});
  StreamReader reader;
  for (int i = 0; i < num_streams; ++i) {
    reader.Open(router.http_port(),
                Concat(R"({"model":"fake","stream":true,"max_tokens":)", kMostTokens,
                       R"(,"messages":[{"role":"user","content":"hi"}]})"));
  }
  while (reader.num_started() < static_cast<size_t>(num_streams)) reader.Read(0.1);
  reader.Read(1);  // warm up
  const auto tokens_sent = [&] {
    uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->num_tokens_sent();
    return sum;
  };
  const uint64_t tokens = tokens_sent();
  const uint64_t reads = reader.num_reads();
  const double cpu = router.CpuSeconds();
  const auto start = std::chrono::steady_clock::now();
  reader.Read(kSeconds);
  const double used = router.CpuSeconds() - cpu;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto got = static_cast<double>(tokens_sent() - tokens);
  const std::string name = Concat(num_streams, " streams, stream_interval ", interval, ": ");
  PrintResult(Concat(name, "tokens per second"), got / seconds, "");
  PrintResult(Concat(name, "tokens per read of a client"),
              got / static_cast<double>(reader.num_reads() - reads), "");
  PrintResult(Concat(name, "router's CPU per 100,000 tokens/s"), used / got * kTokensPerSecond,
              "cores", "under 0.3");
  PrintResult(Concat(name, "router resident"), router.ResidentMegabytes(), "MB");
}

// English words, numbers and code as JSON writes them, in an order that the number changes: about 3
// bytes per token with SmolLM2's vocabulary.
std::string LongText(size_t number, size_t num_bytes) {
  constexpr std::string_view kPieces[] = {
      "The router renders the chat template and tokenizes what the client sent. ",
      "In 1998, about 3,142 people lived there; by 2024 it was 27,180. ",
      "for (int i = 0; i < n; ++i) sum += values[i] * weights[i];\\n",
      "A conversation goes on at the worker that remembers its beginning. "};
  std::string text = Concat("Prompt ", number, ". ");
  for (size_t i = number; text.size() < num_bytes; ++i) text += kPieces[i % 4];
  return text;
}

}  // namespace

void BenchStreams(const std::string& program) {
  for (const std::string interval : {"0ms", "50ms"}) {
    for (const int num_streams : {64, 256, 2000}) StreamAtOnce(program, num_streams, interval);
  }
  // Events are what is left of the cost: half as many.
  StreamAtOnce(program, 2000, "100ms");
}

void BenchPrompts(const std::string& program) {
  const char* model = std::getenv("PINGTI_TEST_MODEL");
  if (model == nullptr) return PrintResult("left out: PINGTI_TEST_MODEL is not set", 0, "");
  const auto checkpoint = worker::OpenCheckpoint(model);
  PINGTI_CHECK_MSG(checkpoint.ok(), checkpoint.status().ToString());
  worker::CardFacts facts;
  facts.vocab_size = 49'152;
  const auto card = worker::BuildModelCard(**checkpoint, facts);
  PINGTI_CHECK_MSG(card.ok(), card.status().ToString());
  testing::FakeWorkerOptions options;
  options.tokenizer_asset = card->assets.at(card->card.tokenizer().sha256());
  options.vocab_size = static_cast<uint32_t>(facts.vocab_size);
  options.max_context_tokens = 1u << 20;
  options.credit_tokens = 1u << 30;
  options.prefix_cache = true;
  options.cache_blocks = 30'000;
  options.keep_submitted = false;
  FakeWorker worker(options);
  constexpr double kSeconds = 10;
  constexpr double kRate = 10;
  const RouterProcess router(program, {worker.address()}, {"--max-queued-tokens=1000000000"});
  const double cpu = router.CpuSeconds();
  const LatencyResult result = RunOpenLoop(
      [&](int) {
        return std::make_unique<ChatClient>(router.http_port(), [](size_t number) {
          return Concat(
              R"({"model":"fake","stream":true,"max_tokens":1,"messages":[{"role":"user",)",
              R"("content":")", LongText(number, 300'000), "\"}]}");
        });
      },
      kRate, kSeconds, /*num_clients=*/8);
  const double used = router.CpuSeconds() - cpu;
  PINGTI_CHECK_MSG(result.failures == 0, Concat(result.failures, " requests failed"));
  PrintResult("first token of a prompt of 100,000 tokens, p50",
              Percentile(result.first_token_ms, 50), "ms");
  PrintResult("first token of a prompt of 100,000 tokens, p99",
              Percentile(result.first_token_ms, 99), "ms");
  PrintResult("router's CPU at 10 of them per second",
              used / static_cast<double>(result.first_token_ms.size()) * kRate, "cores",
              "under 0.5");
  PrintResult("router resident", router.ResidentMegabytes(), "MB", "under 200");
}

}  // namespace pingti::bench
