// Question: what does the router add to a request, how many tokens a second does one core stream,
// and how many prompts of 100,000 tokens a second does one core take? Baseline: the same fake
// worker asked directly over gRPC, in the same run. Command: router_bench [PATH/pingti-router]
// [req/s] [seconds]  (defaults: beside this program, 1000, 5) Prompts are tokenized with the
// vocabulary of the model that PINGTI_TEST_MODEL names, else left out.
//
// Workers and clients share this machine's cores with the router; the router's own CPU time is read
// from /proc, so "a core" means a second of its CPU time.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/router/load_client.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/net/http_client.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/router_process.h"
#include "worker/server/model_card.h"

namespace pingti::bench {
namespace {

using std::chrono::steady_clock;
using testing::RouterProcess;

double Seconds(steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// One sequence at a time over a Session of our own: what the worker and gRPC cost without a router.
std::vector<double> DirectLatencies(const std::string& address, int count) {
  const auto stub =
      worker::v1::Worker::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto stream = stub->Session(&context);
  worker::v1::SessionRequest request;
  request.mutable_hello()->set_protocol_version(1);
  stream->Write(request);
  worker::v1::SessionResponse response;
  std::vector<double> latencies;
  for (int i = 0; i < count; ++i) {
    const auto start = steady_clock::now();
    worker::v1::Sequence* sequence = request.mutable_submit()->add_sequences();
    sequence->set_sequence_id(static_cast<uint64_t>(i + 1));
    for (uint32_t token = 0; token < 40; ++token) sequence->add_prompt_token_ids(token);
    sequence->mutable_stop()->set_max_tokens(1);
    PINGTI_CHECK(stream->Write(request));
    request.Clear();
    do {
      PINGTI_CHECK(stream->Read(&response));
    } while (!response.has_step_output());
    latencies.push_back(Seconds(steady_clock::now() - start) * 1000);
  }
  context.TryCancel();
  stream->Finish();
  std::sort(latencies.begin(), latencies.end());
  return latencies;
}

void PrintLatency(const char* name, const std::vector<double>& latencies) {
  std::printf("%-34s %8zu %8.3f %8.3f %8.3f %8.3f\n", name, latencies.size(),
              Percentile(latencies, 50), Percentile(latencies, 90), Percentile(latencies, 99),
              Percentile(latencies, 100));
}

void BenchLatency(const std::string& program, double rate, double seconds) {
  testing::FakeWorker first;
  testing::FakeWorker second;
  const std::vector<double> direct = DirectLatencies(first.address(), 2000);
  RouterProcess router(program, {first.address(), second.address()});
  const std::string body =
      R"({"model":"fake","messages":[{"role":"user","content":"hello there"}],"max_tokens":1})";
  RunOpenLoop(router.http_port(), body, 200, 1, 32);  // warm up
  const double cpu = router.CpuSeconds();
  const LatencyResult result = RunOpenLoop(router.http_port(), body, rate, seconds, 32);
  const double used = router.CpuSeconds() - cpu;
  PINGTI_CHECK_MSG(result.failures == 0, "requests failed");
  std::printf("%-34s %8s %8s %8s %8s %8s\n", "latency, ms", "count", "p50", "p90", "p99", "max");
  PrintLatency("direct to the worker, one by one", direct);
  PrintLatency(Concat("through the router, ", rate, " req/s").c_str(), result.latencies_ms);
  std::printf("router: %.0f us of CPU a request, %.1f MB resident\n",
              used / static_cast<double>(result.latencies_ms.size()) * 1e6,
              router.ResidentMegabytes());
}

void BenchStreams(const std::string& program, int num_streams, double seconds) {
  constexpr uint32_t kTokens = 2000;
  testing::FakeWorkerOptions options;
  options.answer = [](const worker::v1::Sequence&) {
    return testing::ByteTokens(std::string(kTokens, 'x'));
  };
  options.credit_sequences = 1024;
  testing::FakeWorker worker(options);
  RouterProcess router(program, {worker.address()});
  const std::string body = Concat(
      R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":)",
      kTokens, "}");
  std::atomic<uint64_t> events{0};
  const auto start = steady_clock::now();
  const double cpu = router.CpuSeconds();
  std::vector<std::thread> threads;
  for (int i = 0; i < num_streams; ++i) {
    threads.emplace_back([&] {
      HttpConnection connection(router.http_port());
      while (Seconds(steady_clock::now() - start) < seconds) {
        size_t got = 0;
        PINGTI_CHECK(connection.Chat(body, &got));
        PINGTI_CHECK_MSG(got == kTokens + 2, "a role, each token and the end have an event each");
        events += got - 2;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double wall = Seconds(steady_clock::now() - start);
  const double used = router.CpuSeconds() - cpu;
  const auto tokens = static_cast<double>(events.load());
  std::printf(
      "%4d streams: %9.0f tokens/s (all on this machine), %9.0f tokens/s a core of the "
      "router, %.1f MB resident\n",
      num_streams, tokens / wall, tokens / used, router.ResidentMegabytes());
}

// English words, numbers and code as JSON writes them, in a fixed order: about 3 bytes per token
// with SmolLM2's vocabulary.
std::string LongText(size_t num_bytes) {
  constexpr std::string_view kPieces[] = {
      "The router renders the chat template and tokenizes what the client sent. ",
      "In 1998, about 3,142 people lived there; by 2024 it was 27,180. ",
      "for (int i = 0; i < n; ++i) sum += values[i] * weights[i];\\n",
      "A conversation goes on at the worker that remembers its beginning. "};
  std::string text;
  for (size_t i = 0; text.size() < num_bytes; ++i) text += kPieces[i % 4];
  return text;
}

void BenchLongPrompts(const std::string& program, const std::string& model, double seconds) {
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
  testing::FakeWorker worker(options);
  RouterProcess router(program, {worker.address()}, {"--max-queued-tokens=1000000000"});
  const std::string body =
      Concat(R"({"model":"fake","max_tokens":1,"prompt":")", LongText(300'000), "\"}");
  std::atomic<uint64_t> prompts{0};
  std::atomic<uint64_t> tokens{0};
  const auto start = steady_clock::now();
  const double cpu = router.CpuSeconds();
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      const std::string url = Concat("http://127.0.0.1:", router.http_port(), "/v1/completions");
      while (Seconds(steady_clock::now() - start) < seconds) {
        const auto answer = net::HttpClient().Send({.method = "POST", .url = url, .body = body});
        PINGTI_CHECK_MSG(answer.ok() && answer->status == 200, "a prompt was refused");
        const size_t at = answer->body.find("\"prompt_tokens\":");
        tokens += std::stoull(answer->body.substr(at + 16));
        ++prompts;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double wall = Seconds(steady_clock::now() - start);
  const double used = router.CpuSeconds() - cpu;
  std::printf(
      "prompts of %llu tokens (%zu bytes): %.1f a second (all on this machine), %.1f a second a "
      "core of the router, %.1f MB resident\n",
      static_cast<unsigned long long>(tokens / prompts), body.size(),
      static_cast<double>(prompts) / wall, static_cast<double>(prompts) / used,
      router.ResidentMegabytes());
}

int Main(int argc, char** argv) {
  const std::string program =
      argc > 1 ? argv[1]
               : (std::filesystem::path(argv[0]).parent_path() / "../bin/pingti-router").string();
  const double rate = argc > 2 ? std::atof(argv[2]) : 1000;
  const double seconds = argc > 3 ? std::atof(argv[3]) : 5;
  BenchLatency(program, rate, seconds);
  for (const int streams : {1, 8, 64, 256}) BenchStreams(program, streams, std::min(seconds, 3.0));
  if (const char* model = std::getenv("PINGTI_TEST_MODEL")) {
    BenchLongPrompts(program, model, std::min(seconds, 3.0));
  }
  return 0;
}

}  // namespace
}  // namespace pingti::bench

int main(int argc, char** argv) { return pingti::bench::Main(argc, argv); }
