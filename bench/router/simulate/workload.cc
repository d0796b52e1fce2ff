// See workload.h.
#include "bench/router/simulate/workload.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include "boost/json.hpp"
#include "common/base/stable_hash.h"
#include "common/base/strings.h"

namespace pingti::bench {
namespace {

constexpr uint32_t kBlockTokens = 64;  // of generated workloads; what a GPU's cache has

// Draws and names of blocks for one generated workload.
class Maker {
 public:
  explicit Maker(const WorkloadSize& size) : size_(size), random_(size.seed) {}

  uint32_t Uniform(uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random_);
  }
  double Exponential(double mean) {
    return std::exponential_distribution<double>(1 / mean)(random_);
  }
  // The next arrival of a Poisson process with the whole rate, divided by `share`.
  double NextArrival(double share = 1) { return now_ += Exponential(share / size_.rate); }
  double now() const { return now_; }
  // 0 is drawn most often.
  size_t Zipf(size_t count) {
    if (zipf_.empty()) {
      for (size_t i = 0; i < count; ++i) zipf_.push_back(1.0 / static_cast<double>(i + 1));
    }
    return std::discrete_distribution<size_t>(zipf_.begin(), zipf_.end())(random_);
  }
  // Names for all full blocks of `tokens` that are not named yet.
  void Extend(std::vector<uint64_t>* blocks, uint64_t tokens) {
    while ((blocks->size() + 1) * kBlockTokens <= tokens) {
      blocks->push_back(MixBits(size_.seed * 0x9e3779b97f4a7c15u + ++names_) | 1);
    }
  }
  SimulatedRequest Request(const std::vector<uint64_t>& beginning, uint32_t input,
                           uint32_t output) {
    SimulatedRequest request;
    request.input_tokens = input;
    request.output_tokens = output;
    request.blocks = beginning;
    Extend(&request.blocks, input);
    return request;
  }

 private:
  const WorkloadSize size_;
  std::mt19937_64 random_;
  std::vector<double> zipf_;
  double now_ = 0;
  uint64_t names_ = 0;
};

std::string TenantName(size_t i) { return Concat("tenant-", i); }

void SortByArrival(Workload* workload) {
  std::stable_sort(workload->requests.begin(), workload->requests.end(),
                   [](const auto& a, const auto& b) { return a.arrival_s < b.arrival_s; });
}

}  // namespace

absl::StatusOr<Workload> ReadTrace(const std::string& path, double speed) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(Concat("trace '", path, "' cannot be read"));
  Workload workload{.name = path.substr(path.rfind('/') + 1)};
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    boost::json::error_code error;
    const boost::json::value row = boost::json::parse(line, error);
    const auto* object = error ? nullptr : row.if_object();
    const auto integer = [&](const char* name) -> int64_t {
      const auto* field = object == nullptr ? nullptr : object->if_contains(name);
      return field == nullptr || !field->is_int64() ? -1 : field->as_int64();
    };
    const auto* ids = object == nullptr ? nullptr : object->if_contains("hash_ids");
    const int64_t input = integer("input_length");
    const int64_t output = integer("output_length");
    const int64_t timestamp = integer("timestamp");
    if (input < 0 || input > UINT32_MAX || output < 0 || output > UINT32_MAX || timestamp < 0 ||
        ids == nullptr || !ids->is_array()) {
      return absl::InvalidArgumentError(
          Concat("trace '", path, "', line ", number,
                 ": expected timestamp, input_length, output_length and hash_ids"));
    }
    SimulatedRequest request;
    request.arrival_s = static_cast<double>(timestamp) / 1000 / speed;
    request.input_tokens = static_cast<uint32_t>(std::max<int64_t>(input, 1));
    request.output_tokens = static_cast<uint32_t>(std::max<int64_t>(output, 1));
    for (const auto& id : ids->as_array()) {
      if (!id.is_int64()) {
        return absl::InvalidArgumentError(
            Concat("trace '", path, "', line ", number, ": hash_ids has what is no integer"));
      }
      // The last block may be a part of one: what the cache does not know.
      if ((request.blocks.size() + 1) * workload.block_tokens > request.input_tokens) break;
      request.blocks.push_back(MixBits(static_cast<uint64_t>(id.as_int64()) + 1) | 1);
    }
    workload.requests.push_back(std::move(request));
  }
  SortByArrival(&workload);
  return workload;
}

Workload MakeChat(const WorkloadSize& size) {
  Maker make(size);
  Workload workload{.name = "chat", .block_tokens = kBlockTokens};
  constexpr double kMeanTurns = 6;
  while (workload.requests.size() < size.requests) {
    const double start = make.NextArrival(kMeanTurns);
    const uint32_t turns = make.Uniform(2, 10);
    std::vector<uint64_t> said;
    uint32_t tokens = 0;
    for (uint32_t turn = 0; turn < turns; ++turn) {
      const uint32_t input = tokens + make.Uniform(50, 800);
      const uint32_t output = make.Uniform(50, 600);
      SimulatedRequest request = make.Request(said, input, output);
      tokens = input + output;
      make.Extend(&request.blocks, tokens);
      said = request.blocks;
      request.follows = turn == 0 ? -1 : static_cast<int>(workload.requests.size()) - 1;
      request.arrival_s = turn == 0 ? start : 2 + make.Exponential(15);
      workload.requests.push_back(std::move(request));
    }
  }
  return workload;
}

Workload MakeSharedPrompts(const WorkloadSize& size) {
  Maker make(size);
  Workload workload{.name = "shared_prompts", .block_tokens = kBlockTokens};
  constexpr size_t kPrompts = 50;
  std::vector<std::vector<uint64_t>> prompts(kPrompts);
  for (auto& prompt : prompts) make.Extend(&prompt, make.Uniform(1'000, 6'000));
  for (size_t i = 0; i < size.requests; ++i) {
    const auto& prompt = prompts[make.Zipf(kPrompts)];
    const auto shared = static_cast<uint32_t>(prompt.size()) * kBlockTokens;
    SimulatedRequest request =
        make.Request(prompt, shared + make.Uniform(50, 500), make.Uniform(20, 400));
    request.arrival_s = make.NextArrival();
    workload.requests.push_back(std::move(request));
  }
  return workload;
}

Workload MakeLongContext(const WorkloadSize& size) {
  Maker make(size);
  Workload workload{.name = "long_context", .block_tokens = kBlockTokens};
  std::vector<uint64_t> document;
  uint32_t questions = 0;
  for (size_t i = 0; i < size.requests; ++i) {
    SimulatedRequest request;
    if (i % 10 == 0) {
      if (questions == 0) {
        questions = make.Uniform(5, 10);
        document.clear();
        make.Extend(&document, make.Uniform(30'000, 100'000));
      }
      --questions;
      const auto shared = static_cast<uint32_t>(document.size()) * kBlockTokens;
      request = make.Request(document, shared + make.Uniform(50, 300), make.Uniform(100, 500));
    } else {
      request = make.Request({}, make.Uniform(100, 1'000), make.Uniform(50, 400));
    }
    request.arrival_s = make.NextArrival();
    workload.requests.push_back(std::move(request));
  }
  return workload;
}

Workload MakeBursts(const WorkloadSize& size) {
  Maker make(size);
  Workload workload{.name = "bursts", .block_tokens = kBlockTokens};
  constexpr size_t kGroup = 30;
  for (size_t group = 0; workload.requests.size() < size.requests; ++group) {
    const double start = make.NextArrival(kGroup);
    std::vector<uint64_t> shared;
    make.Extend(&shared, 6'000);
    for (size_t i = 0; i < kGroup; ++i) {
      SimulatedRequest request =
          make.Request(shared, make.Uniform(6'100, 8'000), make.Uniform(50, 300));
      request.arrival_s = start + make.Uniform(0, 1'000) / 1e3;
      request.hint = Concat("group-", group);
      workload.requests.push_back(std::move(request));
    }
  }
  SortByArrival(&workload);
  return workload;
}

Workload MakeTenants(const WorkloadSize& size) {
  Maker make(size);
  Workload workload{.name = "tenants", .block_tokens = kBlockTokens};
  constexpr size_t kBurst = 90;
  while (workload.requests.size() < size.requests) {
    const double before = make.now();
    const double after = make.NextArrival(100);  // 100 requests per round
    for (size_t i = 0; i < kBurst + 10; ++i) {
      const bool noisy = i < kBurst;
      SimulatedRequest request = make.Request({}, make.Uniform(200, 4'000), make.Uniform(50, 400));
      request.tenant = TenantName(noisy ? 0 : make.Uniform(1, 9));
      request.arrival_s = noisy ? before : before + (after - before) * make.Uniform(0, 999) / 1e3;
      workload.requests.push_back(std::move(request));
    }
  }
  SortByArrival(&workload);
  return workload;
}

absl::StatusOr<Workload> MakeWorkload(const std::string& name, const WorkloadSize& size) {
  if (name == "chat") return MakeChat(size);
  if (name == "shared_prompts") return MakeSharedPrompts(size);
  if (name == "long_context") return MakeLongContext(size);
  if (name == "bursts") return MakeBursts(size);
  if (name == "tenants") return MakeTenants(size);
  return absl::InvalidArgumentError(
      Concat("workload '", name,
             "': expected chat, shared_prompts, long_context, bursts or tenants, or trace:PATH"));
}

}  // namespace pingti::bench
