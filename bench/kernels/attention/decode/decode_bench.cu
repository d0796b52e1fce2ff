// Question: what share of memory bandwidth does paged decode attention reach at a given batch?
// Checks every row against float64 first. One line per batch; decode_compare.py adds
// FlashAttention-2 and cuDNN from the same run.
//
//   bench_decode [--heads 64] [--kv-heads 8] [--head-dim 128] [--page 64] [--q-len 1] [--int8]
//                [--csv] [--no-check] BATCH...
//
// BATCH is COUNTxTOKENS terms joined by '+': 32x4096, or 1x131072+31x4096 for mixed lengths.
// Bytes: K, V and (int8) their scales, each once. The plan is timed apart: it serves all layers.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/kernels/attention/batch.h"
#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/read_ceiling.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/decode_attention.h"
#include "tests/kernels/attention/attention_reference.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

struct Options {
  int heads = 64;
  int kv_heads = 8;
  int head_dim = 128;
  int page = 64;
  int q_len = 1;
  bool int8_kv = false;
  bool csv = false;
  bool check = true;
  std::vector<std::string> batches;
};

class Case {
 public:
  Case(const Options& options, const std::string& name)
      : options_(options), name_(name), lens_(ParseBatch(name)) {
    const size_t rows = lens_.size() * options.q_len;
    const size_t row = static_cast<size_t>(options.heads) * options.head_dim;
    q_ = DeviceBuffer<__nv_bfloat16>(rows * row);
    out_ = DeviceBuffer<__nv_bfloat16>(rows * row);
    PINGTI_CUDA(FillBf16(q_.data(), q_.size(), -1.7f, 1.7f, 1));
    FillTable();
    FillPool();
    FillParams(row);
  }

  void Run() {
    PINGTI_CUDA(LaunchDecodePlan(params_.shape, plan_.data(), nullptr));
    PINGTI_CUDA(LaunchDecodeAttention(params_, nullptr));
    PINGTI_CUDA(cudaDeviceSynchronize());
    if (options_.check && !options_.int8_kv) Check();
    const Timing plan = TimeLaunches("decode plan", 1, [this](int, cudaStream_t stream) {
      return LaunchDecodePlan(params_.shape, plan_.data(), stream);
    });
    const Timing time = TimeLaunches(
        "decode", 1,
        [this](int, cudaStream_t stream) { return LaunchDecodeAttention(params_, stream); },
        {.sample_us = 3000});
    Print(time, plan);
  }

 private:
  void FillTable() {
    const BatchPages pages = ShuffledPages(lens_, options_.page, 1);
    table_ = DeviceBuffer<int32_t>(pages.table);
    params_.kv.block_table_stride = pages.table_stride;
    params_.kv.num_pages = pages.num_pages;
    kv_lens_ = DeviceBuffer<int32_t>(std::vector<int32_t>(lens_.begin(), lens_.end()));
  }

  void FillPool() {
    const size_t tokens =
        static_cast<size_t>(params_.kv.num_pages) * options_.page * options_.kv_heads;
    const size_t bytes = tokens * options_.head_dim * (options_.int8_kv ? 1 : 2);
    if (options_.int8_kv) {
      scales_ = DeviceBuffer<float>(2 * tokens);
      PINGTI_CUDA(FillF32(scales_.data(), scales_.size(), 0.005f, 0.02f, 5));
    }
    for (int plane = 0; plane < 2; ++plane) {
      pool_[plane] = DeviceBuffer<uint8_t>(bytes);
      if (options_.int8_kv) {
        PINGTI_CUDA(FillS8(reinterpret_cast<int8_t*>(pool_[plane].data()), bytes, 2 + plane));
      } else {
        PINGTI_CUDA(FillBf16(reinterpret_cast<__nv_bfloat16*>(pool_[plane].data()), bytes / 2,
                             -1.7f, 1.7f, 2 + plane));
      }
    }
  }

  void FillParams(int64_t row) {
    DecodeAttentionParams& p = params_;
    p.shape.num_seqs = static_cast<int>(lens_.size());
    p.shape.num_q_heads = options_.heads;
    p.shape.num_kv_heads = options_.kv_heads;
    p.shape.max_q_len = options_.q_len;
    p.shape.kv_lens = kv_lens_.data();
    p.kv.k = pool_[0].data();
    p.kv.v = pool_[1].data();
    p.kv.block_table = table_.data();
    p.kv.num_kv_heads = options_.kv_heads;
    p.kv.page_tokens = options_.page;
    p.kv.head_dim = options_.head_dim;
    p.kv.dtype = options_.int8_kv ? DType::kI8 : DType::kBf16;
    SetDenseStrides(&p.kv);
    if (options_.int8_kv) SetPairedScales(&p.kv, scales_.data());
    size_t bytes = 0;
    PINGTI_CUDA(DecodePlanBytes(p.shape.num_seqs, options_.kv_heads, &bytes));
    plan_ = DeviceBuffer<uint8_t>(bytes);
    PINGTI_CUDA(DecodeWorkspaceBytes(p.shape, options_.head_dim, &bytes));
    workspace_ = DeviceBuffer<uint8_t>(bytes);
    p.plan = plan_.data();
    p.workspace = workspace_.data();
    p.q = q_.data();
    p.out = out_.data();
    p.q_token_stride = p.out_token_stride = row;
    p.q_head_stride = p.out_head_stride = options_.head_dim;
    p.softmax_scale = 1.0f / std::sqrt(static_cast<float>(options_.head_dim));
  }

  void Check() const {
    std::vector<int32_t> starts(lens_.size() + 1);
    for (size_t s = 0; s <= lens_.size(); ++s) starts[s] = static_cast<int>(s) * options_.q_len;
    DeviceBuffer<int32_t> q_start(starts);
    PrefillAttentionParams p;
    p.q = q_.data();
    p.q_token_stride = params_.q_token_stride;
    p.q_head_stride = params_.q_head_stride;
    p.kv = params_.kv;
    p.num_q_heads = options_.heads;
    p.q_start = q_start.data();
    p.kv_len = kv_lens_.data();
    p.num_seqs = params_.shape.num_seqs;
    p.total_q_tokens = starts.back();
    p.softmax_scale = params_.softmax_scale;
    DeviceBuffer<double> want(out_.size());
    PINGTI_CUDA(testing::AttentionReference(p, testing::Precision::kFloat64, want.data(), nullptr));
    const testing::ErrorStats stats = testing::Compare(out_.ToHost(), want.ToHost());
    if (!stats.Finite() || !(stats.rel_l2 < 6e-3)) {
      std::printf("%s: wrong result: relative error %g\n", name_.c_str(), stats.rel_l2);
      std::exit(1);
    }
  }

  void Print(const Timing& time, const Timing& plan) const {
    double tokens = 0;
    for (int len : lens_) tokens += len;
    const double per_token = 2.0 * options_.kv_heads *
                             (options_.int8_kv ? options_.head_dim + 4 : 2 * options_.head_dim);
    const double tbs = tokens * per_token / time.median_us * 1e-6;
    if (options_.csv) {
      std::printf("%s,%.2f,%.2f,%.2f,%.3f,%.2f\n", name_.c_str(), time.median_us, time.p10_us,
                  time.p90_us, tbs, plan.median_us);
      return;
    }
    static const double ceiling_tbs = MeasureReadBytesPerSecond() * 1e-12;
    std::printf(
        "decode %dq/%dkv hd%d page %d q_len %d %s %-22s: %8.2f us (p10 %.2f p90 %.2f) "
        "%.3f TB/s %.0f%% of %.2f; plan %.2f us\n",
        options_.heads, options_.kv_heads, options_.head_dim, options_.page, options_.q_len,
        options_.int8_kv ? "int8" : "bf16", name_.c_str(), time.median_us, time.p10_us, time.p90_us,
        tbs, 100 * tbs / ceiling_tbs, ceiling_tbs, plan.median_us);
  }

  Options options_;
  std::string name_;
  std::vector<int> lens_;
  DeviceBuffer<__nv_bfloat16> q_, out_;
  DeviceBuffer<uint8_t> pool_[2], plan_, workspace_;
  DeviceBuffer<float> scales_;
  DeviceBuffer<int32_t> table_, kv_lens_;
  DecodeAttentionParams params_;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  const auto number = [&](int* i) { return *i + 1 < argc ? std::atoi(argv[++*i]) : 0; };
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--heads")
      options.heads = number(&i);
    else if (arg == "--kv-heads")
      options.kv_heads = number(&i);
    else if (arg == "--head-dim")
      options.head_dim = number(&i);
    else if (arg == "--page")
      options.page = number(&i);
    else if (arg == "--q-len")
      options.q_len = number(&i);
    else if (arg == "--int8")
      options.int8_kv = true;
    else if (arg == "--csv")
      options.csv = true;
    else if (arg == "--no-check")
      options.check = false;
    else
      options.batches.push_back(arg);
  }
  if (options.batches.empty()) {
    options.batches = {"32x4096", "8x16384", "128x1024", "1x131072+31x4096", "1x4096"};
  }
  return options;
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  const Options options = ParseOptions(argc, argv);
  for (const std::string& batch : options.batches) Case(options, batch).Run();
  return 0;
}
