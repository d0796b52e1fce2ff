// Question: how fast is prefill attention over paged KV at a given shape? Checks sampled rows
// against float64 first. One line a shape; prefill_compare.py adds FlashAttention-2 and cuDNN from
// the same run.
//
//   bench_prefill [--head-dim 128] [--heads 64] [--kv-heads 8] [--page 128]
//                 [--full] [--window N] [--prefix N] [--batch N] [--csv] Q_LEN...
//
// Without --batch the batch holds 16,384 tokens. --prefix: tokens in the cache before the new ones.
// FLOP: 4 * head_dim * heads * visible (query, key) pairs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/prefill_attention.h"
#include "tests/kernels/attention/attention_reference.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

constexpr double kCeilingTflops = 780;  // bf16 GEMM 8192^3 by cuBLASLt, measured on an H100
constexpr int kTokensPerBatch = 16384;
// Half a second in all: long enough that the median is what the card sustains within its power
// limit. The p10 is nearer to what it does in a burst.
constexpr double kSampleUs = 10000;
constexpr int kSamples = 50;

struct Options {
  int head_dim = 128;
  int heads = 64;
  int kv_heads = 8;
  int page = 128;
  int window = 0;
  int prefix = 0;
  int batch = 0;
  bool full = false;
  bool csv = false;
  std::vector<int> q_lens;
};

DeviceBuffer<__nv_bfloat16> RandomTensor(size_t size, uint32_t seed) {
  DeviceBuffer<__nv_bfloat16> buffer(size);
  PINGTI_CUDA(FillBf16(buffer.data(), size, -1.7f, 1.7f, seed));
  return buffer;
}

class Case {
 public:
  Case(const Options& options, int q_len)
      : options_(options),
        q_len_(q_len),
        kv_len_(q_len + options.prefix),
        batch_(options.batch > 0 ? options.batch : std::max(kTokensPerBatch / q_len, 1)) {
    const int pages_per_seq = (kv_len_ + options.page - 1) / options.page;
    const size_t rows = static_cast<size_t>(batch_) * q_len;
    const size_t row = static_cast<size_t>(options.heads) * options.head_dim;
    const size_t pages = static_cast<size_t>(batch_) * pages_per_seq;
    const size_t pool = pages * options.page * options.kv_heads * options.head_dim;
    q_ = RandomTensor(rows * row, 1);
    k_ = RandomTensor(pool, 2);
    v_ = RandomTensor(pool, 3);
    out_ = DeviceBuffer<__nv_bfloat16>(rows * row);
    FillTables(pages_per_seq);
    workspace_ =
        DeviceBuffer<uint8_t>(PrefillAttentionWorkspaceBytes(static_cast<int>(rows), batch_));
    FillParams(row);
  }

  void Run() {
    PINGTI_CUDA(LaunchPrefillPlan(params_, nullptr));
    PINGTI_CUDA(LaunchPrefillAttention(params_, nullptr));
    PINGTI_CUDA(cudaDeviceSynchronize());
    const double error = std::max({CheckRows(0), CheckRows(q_len_ / 2), CheckRows(q_len_ - 2)});
    if (!(error < 0.02)) {
      std::printf("wrong result: relative error %g\n", error);
      std::exit(1);
    }
    const Timing plan = TimeLaunches("prefill plan", 1, [this](int, cudaStream_t stream) {
      return LaunchPrefillPlan(params_, stream);
    });
    const Timing time = TimeLaunches(
        "prefill", 1,
        [this](int, cudaStream_t stream) { return LaunchPrefillAttention(params_, stream); },
        {.sample_us = kSampleUs, .samples = kSamples});
    Print(time, plan, error);
  }

 private:
  // Pages in an order that no neighbour shares.
  void FillTables(int pages_per_seq) {
    std::vector<int32_t> table(static_cast<size_t>(batch_) * pages_per_seq);
    std::iota(table.begin(), table.end(), 0);
    testing::Random random(4);
    for (size_t i = table.size(); i-- > 1;) {
      std::swap(table[i], table[random.Below(static_cast<uint32_t>(i) + 1)]);
    }
    block_table_ = DeviceBuffer<int32_t>(table);
    std::vector<int32_t> q_start(batch_ + 1);
    for (int s = 0; s <= batch_; ++s) q_start[s] = s * q_len_;
    q_start_ = DeviceBuffer<int32_t>(q_start);
    kv_lens_ = DeviceBuffer<int32_t>(std::vector<int32_t>(batch_, kv_len_));
    params_.kv.block_table_stride = pages_per_seq;
    params_.kv.num_pages = static_cast<int>(table.size());
  }

  void FillParams(int64_t row) {
    PrefillAttentionParams& p = params_;
    p.q = q_.data();
    p.out = out_.data();
    p.q_token_stride = p.out_token_stride = row;
    p.q_head_stride = p.out_head_stride = options_.head_dim;
    p.kv.k = k_.data();
    p.kv.v = v_.data();
    p.kv.block_table = block_table_.data();
    p.kv.num_kv_heads = options_.kv_heads;
    p.kv.page_tokens = options_.page;
    p.kv.head_dim = options_.head_dim;
    p.kv.dtype = DType::kBf16;
    SetDenseStrides(&p.kv);
    p.num_q_heads = options_.heads;
    p.q_start = q_start_.data();
    p.kv_len = kv_lens_.data();
    p.num_seqs = batch_;
    p.total_q_tokens = batch_ * q_len_;
    p.softmax_scale = 1.0f / std::sqrt(static_cast<float>(options_.head_dim));
    p.causal = !options_.full;
    p.window = options_.window;
    p.workspace = workspace_.data();
    p.workspace_bytes = workspace_.bytes();
  }

  // Relative error of rows [first, first + 2) of the first sequence. As two new tokens of a
  // sequence that ends there, they are cheap to compute again (causal); full attention keeps its
  // length.
  double CheckRows(int first) const {
    first = std::max(first, 0);
    const int count = std::min(2, q_len_ - first);
    const int64_t row = params_.q_token_stride;
    PrefillAttentionParams p = params_;
    const int kv_len = options_.full ? kv_len_ : kv_len_ - q_len_ + first + count;
    DeviceBuffer<int32_t> q_start(std::vector<int32_t>{0, count});
    DeviceBuffer<int32_t> kv_lens(std::vector<int32_t>{kv_len});
    p.q = static_cast<const __nv_bfloat16*>(p.q) + first * row;
    p.q_start = q_start.data();
    p.kv_len = kv_lens.data();
    p.num_seqs = 1;
    p.total_q_tokens = count;
    DeviceBuffer<double> want(count * row);
    PINGTI_CUDA(testing::AttentionReference(p, testing::Precision::kFloat64, want.data(), nullptr));
    return Error(first * row, want);
  }

  double Error(int64_t begin, const DeviceBuffer<double>& want) const {
    std::vector<__nv_bfloat16> got(want.size());
    PINGTI_CUDA(cudaMemcpy(got.data(), out_.data() + begin, got.size() * sizeof(__nv_bfloat16),
                           cudaMemcpyDeviceToHost));
    const testing::ErrorStats stats = testing::Compare(got, want.ToHost());
    return stats.Finite() ? stats.rel_l2 : INFINITY;
  }

  double VisiblePairs() const {
    double pairs = 0;
    for (int i = 0; i < q_len_; ++i) {
      double keys = options_.full ? kv_len_ : options_.prefix + i + 1;
      if (options_.window > 0) keys = std::min<double>(keys, options_.window);
      pairs += keys;
    }
    return pairs * batch_;
  }

  void Print(const Timing& time, const Timing& plan, double error) const {
    const double tflops =
        4.0 * options_.head_dim * options_.heads * VisiblePairs() / time.median_us * 1e-6;
    const char* format = options_.csv
                             ? "%d,%d,%d,%d,%d,%d,%d,%.2f,%.2f,%.2f,%.1f,%.1f,%.2f,%.2e\n"
                             : "hd %3d heads %2d/%-2d page %3d batch %3d q %6d prefix %6d: %9.2f us"
                               " (p10 %.2f p90 %.2f) %6.1f TFLOP/s, %4.1f %% of GEMM; plan %.2f us;"
                               " error %.1e\n";
    std::printf(format, options_.head_dim, options_.heads, options_.kv_heads, options_.page, batch_,
                q_len_, options_.prefix, time.median_us, time.p10_us, time.p90_us, tflops,
                100 * tflops / kCeilingTflops, plan.median_us, error);
    std::fflush(stdout);
  }

  Options options_;
  int q_len_;
  int kv_len_;
  int batch_;
  PrefillAttentionParams params_;
  DeviceBuffer<__nv_bfloat16> q_, k_, v_, out_;
  DeviceBuffer<int32_t> q_start_, kv_lens_, block_table_;
  DeviceBuffer<uint8_t> workspace_;
};

int Usage(const char* argument) {
  std::printf("bench_prefill: unknown or incomplete argument '%s'\n", argument);
  return 2;
}

int Main(int argc, char** argv) {
  Options options;
  const struct {
    const char* name;
    int* value;
  } numbers[] = {{"--head-dim", &options.head_dim}, {"--heads", &options.heads},
                 {"--kv-heads", &options.kv_heads}, {"--page", &options.page},
                 {"--window", &options.window},     {"--prefix", &options.prefix},
                 {"--batch", &options.batch}};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto* number = std::find_if(std::begin(numbers), std::end(numbers),
                                      [&](const auto& n) { return argument == n.name; });
    if (number != std::end(numbers)) {
      if (++i == argc) return Usage(argument.c_str());
      *number->value = std::atoi(argv[i]);
    } else if (argument == "--full") {
      options.full = true;
    } else if (argument == "--csv") {
      options.csv = true;
    } else if (std::atoi(argument.c_str()) > 0) {
      options.q_lens.push_back(std::atoi(argument.c_str()));
    } else {
      return Usage(argument.c_str());
    }
  }
  if (options.q_lens.empty()) options.q_lens = {2048, 4096, 8192, 16384};
  for (int q_len : options.q_lens) Case(options, q_len).Run();
  return 0;
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) { return pingti::kernels::bench::Main(argc, argv); }
