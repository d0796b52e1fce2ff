// Cases that ask many small requests. See cases.h.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/router/cases.h"
#include "bench/router/load_client.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/router_process.h"

namespace pingti::bench {
namespace {

using std::chrono::steady_clock;
using testing::FakeWorker;
using testing::RouterProcess;

constexpr int kClients = 32;
constexpr size_t kSystemPrompts = 16;
constexpr size_t kSystemPromptBytes = 1000;  // a token each with the fake workers' vocabulary

// One of a few long system prompts that requests share, and a question of its own.
std::string SharedPromptBody(size_t number) {
  const std::string system(kSystemPromptBytes, static_cast<char>('a' + number % kSystemPrompts));
  return Concat(R"({"model":"fake","stream":true,"max_tokens":4,"messages":[{"role":"system",)",
                R"("content":")", system, R"("},{"role":"user","content":"question )", number,
                R"("}]})");
}

// Answers as many tokens as it is asked for; remembers what it has computed, as far as a cache of
// `cache_blocks` blocks of 16 tokens goes.
std::unique_ptr<FakeWorker> MakeWorker(size_t cache_blocks) {
  testing::FakeWorkerOptions options;
  options.answer = [](const worker::v1::Sequence& sequence) {
    return std::vector<uint32_t>(sequence.stop().max_tokens(), 'x');
  };
  options.prefix_cache = true;
  options.cache_blocks = cache_blocks;
  options.keep_submitted = false;
  options.report_interval = std::chrono::milliseconds(100);  // as pingti-worker's own
  return std::make_unique<FakeWorker>(std::move(options));
}

// Workers behind a router.
struct Fleet {
  Fleet(const std::string& program, int num_workers, size_t cache_blocks = 1000) {
    std::vector<std::string> addresses;
    for (int i = 0; i < num_workers; ++i) {
      workers.push_back(MakeWorker(cache_blocks));
      addresses.push_back(workers.back()->address());
    }
    router.emplace(program, addresses);
  }

  LatencyResult Run(double rate, double seconds,
                    const std::function<std::string(size_t)>& make_body) const {
    return RunOpenLoop(
        [&](int) { return std::make_unique<ChatClient>(router->http_port(), make_body); }, rate,
        seconds, kClients);
  }

  std::vector<std::unique_ptr<FakeWorker>> workers;
  std::optional<RouterProcess> router;  // ends before the workers do
};

// Asks a worker over a Session of its own: what the worker and gRPC cost without a router.
class DirectClient final : public LoadClient {
 public:
  explicit DirectClient(const std::string& address)
      : stub_(worker::v1::Worker::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))),
        stream_(stub_->Session(&context_)) {
    worker::v1::SessionRequest request;
    request.mutable_hello()->set_protocol_version(1);
    PINGTI_CHECK(stream_->Write(request));
  }
  ~DirectClient() override {
    context_.TryCancel();
    stream_->Finish();
  }

  bool Ask(size_t number, steady_clock::time_point* first_token) override {
    worker::v1::SessionRequest request;
    worker::v1::Sequence* sequence = request.mutable_submit()->add_sequences();
    sequence->set_sequence_id(number + 1);
    for (size_t i = 0; i < kSystemPromptBytes; ++i) {
      sequence->add_prompt_token_ids(static_cast<uint32_t>('a' + number % kSystemPrompts));
    }
    sequence->mutable_stop()->set_max_tokens(4);
    if (!stream_->Write(request)) return false;
    bool started = false;
    worker::v1::SessionResponse response;
    while (stream_->Read(&response)) {
      if (!response.has_step_output()) continue;
      if (!std::exchange(started, true)) *first_token = steady_clock::now();
      if (response.step_output().outputs(0).has_finish()) return true;
    }
    return false;
  }

 private:
  const std::unique_ptr<worker::v1::Worker::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<
      grpc::ClientReaderWriter<worker::v1::SessionRequest, worker::v1::SessionResponse>>
      stream_;
};

void PrintPercentiles(std::string_view what, const LatencyResult& result) {
  PINGTI_CHECK_MSG(result.failures == 0, Concat(result.failures, " requests failed"));
  for (const int percent : {50, 90, 99}) {
    PrintResult(Concat(what, ", p", percent), Percentile(result.first_token_ms, percent), "ms");
  }
}

}  // namespace

void BenchLatency(const std::string& program) {
  constexpr double kRate = 1000;
  constexpr double kSeconds = 10;
  const Fleet fleet(program, 8);
  const auto ask_directly = [&](double seconds) {
    return RunOpenLoop(
        [&](int client) {
          const size_t worker = static_cast<size_t>(client) % fleet.workers.size();
          return std::make_unique<DirectClient>(fleet.workers[worker]->address());
        },
        kRate, seconds, kClients);
  };
  ask_directly(1);  // warm up
  const LatencyResult direct = ask_directly(kSeconds);
  fleet.Run(kRate, 1, SharedPromptBody);  // warm up
  const double cpu = fleet.router->CpuSeconds();
  const LatencyResult routed = fleet.Run(kRate, kSeconds, SharedPromptBody);
  const double used = fleet.router->CpuSeconds() - cpu;
  PrintPercentiles("first token, worker asked directly", direct);
  PrintPercentiles("first token, through the router", routed);
  const auto added = [&](double percent) {
    return Percentile(routed.first_token_ms, percent) - Percentile(direct.first_token_ms, percent);
  };
  PrintResult("added, p50", added(50), "ms", "at most 0.4");
  PrintResult("added, p99", added(99), "ms", "at most 2");
  PrintResult("router's CPU per request",
              used / static_cast<double>(routed.first_token_ms.size()) * 1e6, "us");
  PrintResult("router resident", fleet.router->ResidentMegabytes(), "MB");
}

void BenchWorkers(const std::string& program) {
  constexpr double kRate = 400;
  constexpr double kSeconds = 8;
  for (const int num_workers : {10, 50, 200}) {
    const Fleet fleet(program, num_workers);
    fleet.Run(kRate, 2, SharedPromptBody);  // warm up
    const double before = fleet.router->CpuSeconds();
    std::this_thread::sleep_for(std::chrono::duration<double>(kSeconds));
    const double idle = fleet.router->CpuSeconds() - before;
    const double cpu = fleet.router->CpuSeconds();
    const LatencyResult result = fleet.Run(kRate, kSeconds, SharedPromptBody);
    const double used = fleet.router->CpuSeconds() - cpu;
    PINGTI_CHECK_MSG(result.failures == 0, "requests failed");
    PrintResult(Concat(num_workers, " workers: CPU per request, load reports left out"),
                (used - idle) / static_cast<double>(result.first_token_ms.size()) * 1e6, "us",
                "the same with 10 and 200");
    PrintResult(Concat(num_workers, " workers: CPU of their load reports"), idle / kSeconds,
                "cores");
    PrintResult(Concat(num_workers, " workers: resident"), fleet.router->ResidentMegabytes(), "MB");
  }
}

void BenchSoak(const std::string& program) {
  constexpr double kRate = 500;
  constexpr double kSeconds = 10;
  constexpr int kRounds = 6;
  const Fleet fleet(program, 8, /*cache_blocks=*/20'000);
  size_t asked = 0;
  double at_half = 0;
  for (int round = 1; round <= kRounds; ++round) {
    const LatencyResult result = fleet.Run(kRate, kSeconds, [round](size_t number) {
      // Of 3,000 tokens that no other prompt begins with.
      std::string text = Concat(round, " ", number, " ");
      while (text.size() < 3000) text += Concat(number * 2654435761u + text.size(), " ");
      return Concat(R"({"model":"fake","stream":true,"max_tokens":4,"messages":[{"role":"user",)",
                    R"("content":")", text, R"("}]})");
    });
    PINGTI_CHECK_MSG(result.failures == 0, "requests failed");
    asked += result.first_token_ms.size();
    const double resident = fleet.router->ResidentMegabytes();
    if (round == kRounds / 2) at_half = resident;
    PrintResult(Concat("resident after ", asked, " prompts of 3,000 tokens"), resident, "MB");
  }
  PrintResult("growth in the second half", fleet.router->ResidentMegabytes() - at_half, "MB",
              "at most 5");
}

}  // namespace pingti::bench
