// Question: what share of the tensor cores' rate and of memory bandwidth does latent attention
// reach at a given batch? Checks the first sequences against float64 first. One line per batch;
// latent_compare.py adds PyTorch from the same run.
//
//   bench_latent [--heads 128] [--page 64] [--q-len 1] [--prefill] [--int8] [--csv] [--no-check]
//                BATCH...
//
// BATCH is COUNTxTOKENS terms joined by '+': 32x4096, or 1x131072+31x4096. With --prefill the
// sequences are prompts; with --int8 latents are int8. Without batches: 1, 32 and 128 sequences of
// 1k, 4k and 16k tokens, for 16 and 128 heads, each in bf16 and in int8. Bytes: every latent once.
// Operations: 2 (576 + 512) per visible pair and head. The plan is timed apart: it serves all
// layers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/kernels/attention/batch.h"
#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/read_ceiling.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/latent_attention.h"
#include "tests/kernels/attention/latent/latent_reference.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

struct Options {
  int heads = 128;
  int page = 64;
  int q_len = 1;
  bool prefill = false;
  bool int8 = false;
  bool csv = false;
  bool check = true;
  std::vector<std::string> batches;
};

class Case {
 public:
  Case(const Options& options, const std::string& name)
      : options_(options), name_(name), lens_(ParseBatch(name)) {
    std::vector<int32_t> starts = {0};
    for (int len : lens_) starts.push_back(starts.back() + QueryTokens(len));
    num_rows_ = starts.back();
    q_start_ = DeviceBuffer<int32_t>(starts);
    kv_lens_ = DeviceBuffer<int32_t>(std::vector<int32_t>(lens_.begin(), lens_.end()));
    q_ = DeviceBuffer<__nv_bfloat16>(Elements(kLatentKeyDim));
    out_ = DeviceBuffer<__nv_bfloat16>(Elements(kLatentValueDim));
    PINGTI_CUDA(FillBf16(q_.data(), q_.size(), -1.7f, 1.7f, 1));
    FillPool();
    FillParams();
  }

  void Run() {
    PINGTI_CUDA(Plan(nullptr));
    PINGTI_CUDA(Launch(0, nullptr));
    PINGTI_CUDA(cudaDeviceSynchronize());
    if (options_.check) Check();
    const Timing plan =
        TimeLaunches("latent plan", 1, [this](int, cudaStream_t stream) { return Plan(stream); });
    const Timing time =
        TimeLaunches("latent attention", num_sets_,
                     [this](int set, cudaStream_t stream) { return Launch(set, stream); },
                     {.sample_us = 3000, .pause_ms = 50});
    Print(time, plan);
  }

 private:
  int QueryTokens(int len) const { return options_.prefill ? len : options_.q_len; }
  size_t Elements(int dim) const { return static_cast<size_t>(num_rows_) * options_.heads * dim; }

  // As many sets of pages as do not fit the L2 together, each with a table.
  void FillPool() {
    kv_.dtype = options_.int8 ? DType::kI8 : DType::kBf16;
    kv_.page_tokens = options_.page;
    SetLatentStrides(&kv_);
    const size_t page_bytes = kv_.page_stride * ElementBytes(kv_.dtype);
    num_sets_ = SetsBeyondL2(ShuffledPages(lens_, options_.page, 1).num_pages * page_bytes);
    const BatchPages pages = ShuffledPages(lens_, options_.page, num_sets_);
    kv_.block_table_stride = pages.table_stride;
    kv_.num_pages = pages.num_pages * num_sets_;
    table_ = DeviceBuffer<int32_t>(pages.table);
    pool_ = DeviceBuffer<__nv_bfloat16>(page_bytes / 2 * kv_.num_pages);
    PINGTI_CUDA(FillBf16(pool_.data(), pool_.size(), -1.7f, 1.7f, 2));
    if (options_.int8) {
      // The bytes of rows will do; scales become 0.0115, so that latents are as large as in bf16.
      auto* const scales =
          reinterpret_cast<uint8_t*>(pool_.data()) + options_.page * kLatentInt8RowBytes;
      PINGTI_CUDA(
          cudaMemset2D(scales, page_bytes, 0x3C, options_.page * 2 * kLatentScales, kv_.num_pages));
    }
    kv_.k = pool_.data();
    kv_.block_table = table_.data();
  }

  void FillParams() {
    LatentTensors t;
    t.q = q_.data();
    t.q_token_stride = int64_t{options_.heads} * kLatentKeyDim;
    t.q_head_stride = kLatentKeyDim;
    t.out = out_.data();
    t.out_token_stride = int64_t{options_.heads} * kLatentValueDim;
    t.out_head_stride = kLatentValueDim;
    t.num_rows = num_rows_;
    t.num_heads = options_.heads;
    t.kv = kv_;
    t.softmax_scale = 1.0f / std::sqrt(192.0f);
    const int num_seqs = static_cast<int>(lens_.size());
    decode_.tensors = t;
    decode_.shape = {num_seqs, options_.heads, options_.q_len, kv_lens_.data(), nullptr};
    size_t bytes = 0;
    PINGTI_CUDA(LatentDecodePlanBytes(decode_.shape, &bytes));
    plan_ = DeviceBuffer<uint8_t>(bytes);
    bytes = LatentPrefillWorkspaceBytes(num_rows_, num_seqs);
    if (!options_.prefill) PINGTI_CUDA(LatentDecodeWorkspaceBytes(decode_.shape, &bytes));
    workspace_ = DeviceBuffer<uint8_t>(bytes);
    decode_.plan = plan_.data();
    decode_.workspace = workspace_.data();
    prefill_.tensors = t;
    prefill_.q_start = q_start_.data();
    prefill_.kv_len = kv_lens_.data();
    prefill_.num_seqs = num_seqs;
    prefill_.workspace = workspace_.data();
    prefill_.workspace_bytes = bytes;
  }

  cudaError_t Plan(cudaStream_t stream) const {
    return options_.prefill ? LaunchLatentPrefillPlan(prefill_, stream)
                            : LaunchLatentDecodePlan(decode_.shape, plan_.data(), stream);
  }

  cudaError_t Launch(int set, cudaStream_t stream) const {
    const int32_t* table = table_.data() + set * lens_.size() * kv_.block_table_stride;
    if (options_.prefill) {
      LatentPrefillParams params = prefill_;
      params.tensors.kv.block_table = table;
      return LaunchLatentPrefill(params, stream);
    }
    LatentDecodeParams params = decode_;
    params.tensors.kv.block_table = table;
    return LaunchLatentDecode(params, stream);
  }

  // The first sequences, of at least a row.
  void Check() const {
    LatentPrefillParams p = prefill_;
    p.num_seqs = std::min<int>(2, p.num_seqs);
    p.tensors.num_rows = 0;
    for (int s = 0; s < p.num_seqs; ++s) p.tensors.num_rows += QueryTokens(lens_[s]);
    const size_t size = static_cast<size_t>(p.tensors.num_rows) * options_.heads * kLatentValueDim;
    DeviceBuffer<double> want(size);
    PINGTI_CUDA(testing::LatentReference(p, want.data(), nullptr));
    std::vector<__nv_bfloat16> got = out_.ToHost();
    got.resize(size);
    const testing::ErrorStats stats = testing::Compare(got, want.ToHost());
    if (!stats.Finite() || !(stats.rel_l2 < 6e-3)) {
      std::printf("%s: wrong result: relative error %g, %zu bad\n", name_.c_str(), stats.rel_l2,
                  stats.num_bad);
      std::exit(1);
    }
  }

  void Print(const Timing& time, const Timing& plan) const {
    double tokens = 0;
    double pairs = 0;
    for (int len : lens_) {
      const double q_len = QueryTokens(len);
      tokens += len;
      pairs += q_len * (len - (q_len - 1) / 2);
    }
    const int token_bytes = options_.int8 ? kLatentInt8Bytes : 2 * kLatentKeyDim;
    const double tbs = tokens * token_bytes / time.median_us * 1e-6;
    const double tflops =
        pairs * options_.heads * 2 * (kLatentKeyDim + kLatentValueDim) / time.median_us * 1e-6;
    if (options_.csv) {
      std::printf("%s,%.2f,%.2f,%.2f,%.1f,%.3f,%.2f\n", name_.c_str(), time.median_us, time.p10_us,
                  time.p90_us, tflops, tbs, plan.median_us);
      return;
    }
    static const double ceiling_tbs = MeasureReadBytesPerSecond() * 1e-12;
    std::printf(
        "latent %s %s %3d heads page %d q_len %d %-18s: %9.2f us (p10 %.2f p90 %.2f) %6.1f TFLOP/s "
        "%.3f TB/s %.0f%% of %.2f; plan %.2f us\n",
        options_.prefill ? "prefill" : "decode", options_.int8 ? "int8" : "bf16", options_.heads,
        options_.page, options_.prefill ? 0 : options_.q_len, name_.c_str(), time.median_us,
        time.p10_us, time.p90_us, tflops, tbs, 100 * tbs / ceiling_tbs, ceiling_tbs,
        plan.median_us);
    std::fflush(stdout);
  }

  Options options_;
  std::string name_;
  std::vector<int> lens_;
  int num_rows_ = 0;
  int num_sets_ = 1;
  PagedKv kv_;
  DeviceBuffer<__nv_bfloat16> q_, out_, pool_;
  DeviceBuffer<uint8_t> plan_, workspace_;
  DeviceBuffer<int32_t> table_, kv_lens_, q_start_;
  LatentDecodeParams decode_;
  LatentPrefillParams prefill_;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  const auto number = [&](int* i) { return *i + 1 < argc ? std::atoi(argv[++*i]) : 0; };
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--heads")
      options.heads = number(&i);
    else if (arg == "--page")
      options.page = number(&i);
    else if (arg == "--q-len")
      options.q_len = number(&i);
    else if (arg == "--prefill")
      options.prefill = true;
    else if (arg == "--int8")
      options.int8 = true;
    else if (arg == "--csv")
      options.csv = true;
    else if (arg == "--no-check")
      options.check = false;
    else
      options.batches.push_back(arg);
  }
  return options;
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  Options options = ParseOptions(argc, argv);
  for (const std::string& batch : options.batches) Case(options, batch).Run();
  if (!options.batches.empty()) return 0;
  for (int heads : {16, 128}) {
    options.heads = heads;
    for (const char* batch : {"1x1024", "1x4096", "1x16384", "32x1024", "32x4096", "32x16384",
                              "128x1024", "128x4096", "128x16384"}) {
      for (const bool int8 : {false, true}) {
        options.int8 = int8;
        Case(options, batch).Run();
      }
    }
  }
  return 0;
}
