// Question: how much longer does a decode step take when the rows of its batch have adapters?
// Baseline, same run: the same step without them. A step here is one layer of Llama 3 8B, again and
// again in one CUDA graph: norms, products (bf16 by cuBLASLt's first choice, or int8 by ours),
// RoPE, attention over bf16 keys and values, activation. Correctness: the kernels' tests.
//
//   bench_lora_step [RANK [ROWS [ADAPTERS [CONTEXT]]]]      default: 16 32 8 1024
//
// CONTEXT is each row's number of cached tokens; 0 leaves attention out. The weights of a layer are
// larger than the L2, so that everything comes from memory. Adapters' products are placed as the
// worker places them: beside the product that they are added to, on a stream of their own. The two
// steps take turns, each after a pause, since the card lowers its clock when it is hot.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "bench/kernels/gemm/cublaslt.h"
#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "kernels/common/status.h"
#include "pingti/kernels/activation.h"
#include "pingti/kernels/add.h"
#include "pingti/kernels/decode_attention.h"
#include "pingti/kernels/gemm_s8.h"
#include "pingti/kernels/lora.h"
#include "pingti/kernels/norm.h"
#include "pingti/kernels/quantize.h"
#include "pingti/kernels/rope_kv.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;
using Bf16 = __nv_bfloat16;

constexpr int kHidden = 4096;
constexpr int kInner = 14336;
constexpr int kHeads = 32;
constexpr int kKvHeads = 8;
constexpr int kHeadDim = 128;
constexpr int kPage = 64;
constexpr int kTurns = 7;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;

struct Options {
  int rank = 16;
  int rows = 32;
  int adapters = 8;
  int context = 1024;
};

// The stream that adapters' products run on.
struct Side {
  Side() {
    int lowest = 0;
    int highest = 0;
    PINGTI_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
    PINGTI_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest));
    PINGTI_CUDA(cudaEventCreateWithFlags(&forked, cudaEventDisableTiming));
    PINGTI_CUDA(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
  }
  cudaStream_t stream = nullptr;
  cudaEvent_t forked = nullptr;
  cudaEvent_t joined = nullptr;
};

DeviceBuffer<Bf16> Random(size_t size, uint32_t seed, float scale = 1) {
  DeviceBuffer<Bf16> buffer(size);
  PINGTI_CUDA(FillBf16(buffer.data(), size, -scale, scale, seed));
  return buffer;
}

DeviceBuffer<float> Scales(size_t size, float value) {
  return DeviceBuffer<float>(std::vector<float>(size, value));
}

// Rows of a matrix in bf16, and in int8 with a scale each.
struct Rows {
  Rows(int rows, int columns)
      : width(columns),
        values(Random(size_t{1} * rows * columns, 3)),
        quantized(size_t{1} * rows * columns),
        scales(rows) {}
  int width;
  DeviceBuffer<Bf16> values;
  DeviceBuffer<int8_t> quantized;
  DeviceBuffer<float> scales;
};

// Row r has adapter r % adapters, as a batch has them in no order. As many tiles as a worker with
// so many slots launches.
struct Tiles {
  explicit Tiles(const Options& options) {
    std::vector<int32_t> row_list;
    std::vector<int32_t> slot_list;
    for (int adapter = 0; adapter < options.adapters; ++adapter) {
      for (int row = adapter, filled = 0; row < options.rows; row += options.adapters, ++filled) {
        if (filled % kLoraTileRows == 0) {
          slot_list.push_back(adapter);
          row_list.resize(slot_list.size() * kLoraTileRows, -1);
        }
        row_list[(slot_list.size() - 1) * kLoraTileRows + filled % kLoraTileRows] = row;
      }
    }
    const size_t most = std::min(options.rows, options.rows / kLoraTileRows + options.adapters + 1);
    slot_list.resize(std::max(slot_list.size(), most), -1);
    row_list.resize(slot_list.size() * kLoraTileRows, -1);
    rows = DeviceBuffer<int32_t>(row_list);
    slots = DeviceBuffer<int32_t>(slot_list);
  }
  LoraTiles view() const { return {rows.data(), slots.data(), static_cast<int32_t>(slots.size())}; }
  DeviceBuffer<int32_t> rows, slots;
};

// A product of the layer, in both formats, and its adapters.
class Product {
 public:
  Product(const Options& options, const Tiles& tiles, int in_features, std::vector<int> columns)
      : options_(options),
        tiles_(tiles.view()),
        in_(in_features),
        columns_(std::move(columns)),
        out_(std::accumulate(columns_.begin(), columns_.end(), 0)),
        padded_(CeilDiv(options.rank, kLoraRankStep) * kLoraRankStep),
        blas_(LtTypes::kBf16, options.rows, out_, in_),
        weights_(Random(size_t{1} * out_ * in_, 1, 0.02f)),
        int8_weights_(size_t{1} * out_ * in_),
        channel_scales_(Scales(out_, 2e-4f)),
        workspace_(GemmS8WorkspaceBytes()) {
    PINGTI_CUDA(FillS8(int8_weights_.data(), int8_weights_.size(), 2));
    workspace_.Zero();
    const size_t modules = columns_.size() * options.adapters;
    a_ = Random(modules * padded_ * in_, 4, 0.02f);
    b_ = Random(size_t{1} * options.adapters * out_ * padded_, 5, 0.02f);
    beside_ = DeviceBuffer<Bf16>(size_t{1} * options.rows * out_);
    ranks_ = DeviceBuffer<int32_t>(std::vector<int32_t>(modules, options.rank));
    shrunk_ = DeviceBuffer<float>(size_t{1} * LoraSplits(in_) * tiles_.num_tiles * kLoraTileRows *
                                  columns_.size() * padded_);
  }

  double adapter_bytes() const { return 2.0 * (a_.size() + b_.size()); }

  cudaError_t Run(bool int8, bool adapted, const Rows& x, Bf16* y, cudaStream_t stream) const {
    if (!adapted) return Multiply(int8, x, y, stream);
    PINGTI_CUDA_RETURN(cudaEventRecord(side_.forked, stream));
    PINGTI_CUDA_RETURN(cudaStreamWaitEvent(side_.stream, side_.forked));
    PINGTI_CUDA_RETURN(Shrink(x.values.data(), side_.stream));
    PINGTI_CUDA_RETURN(Expand(side_.stream));
    PINGTI_CUDA_RETURN(Multiply(int8, x, y, stream));
    PINGTI_CUDA_RETURN(cudaEventRecord(side_.joined, side_.stream));
    PINGTI_CUDA_RETURN(cudaStreamWaitEvent(stream, side_.joined));
    AddParams p;
    p.x = beside_.data();
    p.sum = y;
    p.x_stride = p.sum_stride = p.width = out_;
    p.num_tokens = options_.rows;
    return LaunchAdd(p, stream);
  }

 private:
  cudaError_t Multiply(bool int8, const Rows& x, Bf16* y, cudaStream_t stream) const {
    if (!int8) return blas_.Run(0, x.values.data(), weights_.data(), y, stream);
    GemmS8Params p;
    p.m = options_.rows;
    p.n = out_;
    p.k = in_;
    p.a = x.quantized.data();
    p.w = int8_weights_.data();
    p.a_row_stride = p.w_row_stride = in_;
    p.token_scale = x.scales.data();
    p.channel_scale = channel_scales_.data();
    p.y = y;
    p.y_row_stride = out_;
    p.workspace = workspace_.data();
    p.workspace_bytes = workspace_.size();
    return LaunchGemmS8(p, stream);
  }

  cudaError_t Shrink(const Bf16* x, cudaStream_t stream) const {
    LoraShrinkParams p;
    p.tiles = tiles_;
    p.x = x;
    p.x_stride = in_;
    p.a = a_.data();
    p.a_slot_stride = static_cast<int64_t>(columns_.size()) * padded_ * in_;
    p.ranks = ranks_.data();
    p.ranks_slot_stride = static_cast<int64_t>(columns_.size());
    p.shrunk = shrunk_.data();
    p.in_features = in_;
    p.num_modules = static_cast<int32_t>(columns_.size());
    p.max_rank = padded_;
    return LaunchLoraShrink(p, stream);
  }

  cudaError_t Expand(cudaStream_t stream) const {
    LoraExpandParams p;
    p.tiles = tiles_;
    p.shrunk = shrunk_.data();
    p.num_splits = LoraSplits(in_);
    p.b = b_.data();
    p.b_slot_stride = int64_t{out_} * padded_;
    p.ranks = ranks_.data();
    p.ranks_slot_stride = static_cast<int64_t>(columns_.size());
    p.y = beside_.data();
    p.y_stride = p.out_features = out_;
    p.num_modules = p.num_parts = static_cast<int32_t>(columns_.size());
    p.max_rank = padded_;
    for (int module = 0, end = 0; module < p.num_modules; ++module) {
      p.part_end[module] = end += columns_[module];
      p.part_module[module] = module;
    }
    return LaunchLoraExpand(p, stream);
  }

  const Options options_;
  const LoraTiles tiles_;
  const int in_;
  const std::vector<int> columns_;
  const int out_;
  const int padded_;
  const CublasLt blas_;
  const DeviceBuffer<Bf16> weights_;
  const DeviceBuffer<int8_t> int8_weights_;
  const DeviceBuffer<float> channel_scales_;
  DeviceBuffer<uint8_t> workspace_;
  DeviceBuffer<Bf16> a_, b_, beside_;
  DeviceBuffer<int32_t> ranks_;
  DeviceBuffer<float> shrunk_;
  Side side_;
};

// The cache of a layer and the launches that use it.
class Attention {
 public:
  explicit Attention(const Options& options) : options_(options) {
    const int pages_per_row = CeilDiv(std::max(options.context, 1), kPage);
    const int pages = pages_per_row * options.rows;
    std::vector<int32_t> table(pages);
    std::iota(table.begin(), table.end(), 0);
    table_ = DeviceBuffer<int32_t>(table);
    lens_ = DeviceBuffer<int32_t>(std::vector<int32_t>(options.rows, options.context));
    std::vector<int64_t> slots(options.rows);
    for (int row = 0; row < options.rows; ++row) {
      slots[row] = int64_t{row} * pages_per_row * kPage + std::max(options.context, 1) - 1;
    }
    slots_ = DeviceBuffer<int64_t>(slots);
    const size_t pool = size_t{1} * pages * kPage * kKvHeads * kHeadDim;
    for (int plane = 0; plane < 2; ++plane) pool_[plane] = Random(pool, 6 + plane);
    angles_ = Scales(size_t{1} * options.rows * kHeadDim / 2, 0.7f);
    kv_.k = pool_[0].data();
    kv_.v = pool_[1].data();
    kv_.block_table = table_.data();
    kv_.block_table_stride = pages_per_row;
    kv_.num_pages = pages;
    kv_.num_kv_heads = kKvHeads;
    kv_.page_tokens = kPage;
    kv_.head_dim = kHeadDim;
    SetDenseStrides(&kv_);
    MakePlan();
  }

  cudaError_t Rope(Bf16* qkv, cudaStream_t stream) const {
    RopeKvParams p;
    p.qkv = p.q_out = qkv;
    p.qkv_stride = p.q_out_stride = kQkv;
    p.cos = p.sin = angles_.data();
    p.kv = kv_;
    p.slots = slots_.data();
    p.num_tokens = options_.rows;
    p.num_q_heads = kHeads;
    return LaunchRopeKv(p, stream);
  }

  cudaError_t Run(const Bf16* qkv, Bf16* out, cudaStream_t stream) const {
    if (options_.context == 0) return cudaSuccess;
    DecodeAttentionParams p;
    p.shape = shape_;
    p.kv = kv_;
    p.plan = plan_.data();
    p.workspace = workspace_.data();
    p.q = qkv;
    p.q_token_stride = kQkv;
    p.out = out;
    p.out_token_stride = kHeads * kHeadDim;
    p.q_head_stride = p.out_head_stride = kHeadDim;
    p.softmax_scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
    return LaunchDecodeAttention(p, stream);
  }

 private:
  void MakePlan() {
    shape_.num_seqs = options_.rows;
    shape_.num_q_heads = kHeads;
    shape_.num_kv_heads = kKvHeads;
    shape_.kv_lens = lens_.data();
    size_t bytes = 0;
    PINGTI_CUDA(DecodePlanBytes(shape_.num_seqs, kKvHeads, &bytes));
    plan_ = DeviceBuffer<uint8_t>(bytes);
    PINGTI_CUDA(DecodeWorkspaceBytes(shape_, kHeadDim, &bytes));
    workspace_ = DeviceBuffer<uint8_t>(bytes);
    PINGTI_CUDA(LaunchDecodePlan(shape_, plan_.data(), nullptr));
    PINGTI_CUDA(cudaDeviceSynchronize());
  }

  const Options options_;
  DeviceBuffer<int32_t> table_, lens_;
  DeviceBuffer<int64_t> slots_;
  DeviceBuffer<Bf16> pool_[2];
  DeviceBuffer<float> angles_;
  DeviceBuffer<uint8_t> plan_, workspace_;
  PagedKv kv_;
  DecodeShape shape_;
};

class Layer {
 public:
  explicit Layer(const Options& options)
      : options_(options),
        tiles_(options),
        qkv_(options, tiles_, kHidden,
             {kHeads * kHeadDim, kKvHeads * kHeadDim, kKvHeads * kHeadDim}),
        out_(options, tiles_, kHeads * kHeadDim, {kHidden}),
        gate_up_(options, tiles_, kHidden, {kInner, kInner}),
        down_(options, tiles_, kInner, {kHidden}),
        attention_(options),
        norm_(Scales(kHidden, 1.0f)),
        residual_(Random(size_t{1} * options.rows * kHidden, 8)),
        qkv_rows_(Random(size_t{1} * options.rows * kQkv, 9)),
        gate_up_rows_(Random(size_t{1} * options.rows * 2 * kInner, 10)),
        delta_(Random(size_t{1} * options.rows * kHidden, 11)),
        normed_(options.rows, kHidden),
        context_(options.rows, kHeads * kHeadDim),
        inner_(options.rows, kInner) {}

  double adapter_bytes() const {
    return qkv_.adapter_bytes() + out_.adapter_bytes() + gate_up_.adapter_bytes() +
           down_.adapter_bytes();
  }

  // Microseconds of a layer without and with adapters: the medians over the turns.
  std::pair<double, double> Time(bool int8) {
    std::vector<double> times[2];
    for (int turn = 0; turn < kTurns; ++turn) {
      for (const bool adapted : {false, true}) {
        const auto run = [&](int, cudaStream_t stream) { return Run(int8, adapted, stream); };
        times[adapted].push_back(TimeLaunches("layer", 1, run, {.pause_ms = 100}).median_us);
      }
    }
    for (std::vector<double>& each : times) std::sort(each.begin(), each.end());
    return {times[0][kTurns / 2], times[1][kTurns / 2]};
  }

 private:
  cudaError_t Run(bool int8, bool adapted, cudaStream_t stream) {
    PINGTI_CUDA_RETURN(Norm(int8, stream));
    PINGTI_CUDA_RETURN(qkv_.Run(int8, adapted, normed_, qkv_rows_.data(), stream));
    PINGTI_CUDA_RETURN(attention_.Rope(qkv_rows_.data(), stream));
    PINGTI_CUDA_RETURN(attention_.Run(qkv_rows_.data(), context_.values.data(), stream));
    if (int8) PINGTI_CUDA_RETURN(Quantize(context_, stream));
    PINGTI_CUDA_RETURN(out_.Run(int8, adapted, context_, delta_.data(), stream));
    PINGTI_CUDA_RETURN(Norm(int8, stream));
    PINGTI_CUDA_RETURN(gate_up_.Run(int8, adapted, normed_, gate_up_rows_.data(), stream));
    PINGTI_CUDA_RETURN(Activate(int8, stream));
    return down_.Run(int8, adapted, inner_, delta_.data(), stream);
  }

  cudaError_t Norm(bool int8, cudaStream_t stream) {
    RmsNormParams p;
    p.x = delta_.data();
    p.residual = residual_.data();
    p.weight = norm_.data();
    p.out = normed_.values.data();
    p.quantized = int8 ? normed_.quantized.data() : nullptr;
    p.scales = normed_.scales.data();
    p.x_stride = p.residual_stride = p.out_stride = p.quantized_stride = p.hidden = kHidden;
    p.num_tokens = options_.rows;
    return LaunchRmsNorm(p, stream);
  }

  cudaError_t Quantize(const Rows& rows, cudaStream_t stream) const {
    QuantizeTokensParams p;
    p.x = rows.values.data();
    p.quantized = rows.quantized.data();
    p.scales = rows.scales.data();
    p.x_stride = p.quantized_stride = p.width = rows.width;
    p.num_tokens = options_.rows;
    return LaunchQuantizeTokens(p, stream);
  }

  cudaError_t Activate(bool int8, cudaStream_t stream) {
    ActivationParams p;
    p.x = gate_up_rows_.data();
    p.x_stride = 2 * kInner;
    p.out = inner_.values.data();
    p.quantized = int8 ? inner_.quantized.data() : nullptr;
    p.scales = inner_.scales.data();
    p.out_stride = p.quantized_stride = p.width = kInner;
    p.num_tokens = options_.rows;
    return LaunchActivation(p, stream);
  }

  const Options options_;
  const Tiles tiles_;
  const Product qkv_, out_, gate_up_, down_;
  const Attention attention_;
  const DeviceBuffer<float> norm_;
  DeviceBuffer<Bf16> residual_, qkv_rows_, gate_up_rows_, delta_;
  Rows normed_, context_, inner_;
};

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  Options options;
  int* const values[] = {&options.rank, &options.rows, &options.adapters, &options.context};
  for (int i = 1; i < std::min(argc, 5); ++i) *values[i - 1] = std::atoi(argv[i]);
  if (options.rank < 1 || options.rank > pingti::kernels::kMaxLoraRank || options.rows < 1 ||
      options.adapters < 1 || options.adapters > options.rows || options.context < 0) {
    std::printf("expected a rank of 1 to %d, 1 to ROWS adapters and 0 or more cached tokens\n",
                pingti::kernels::kMaxLoraRank);
    return 2;
  }
  Layer layer(options);
  std::printf("%d rows of %d adapters, rank %d, %d tokens cached: adapters are %.1f MB a layer\n",
              options.rows, options.adapters, options.rank, options.context,
              layer.adapter_bytes() * 1e-6);
  std::printf("| weights | layer us | with adapters us | %% more |\n|---|---|---|---|\n");
  for (const bool int8 : {false, true}) {
    const auto [plain, adapted] = layer.Time(int8);
    std::printf("| %s | %.1f | %.1f | %.1f |\n", int8 ? "int8" : "bf16", plain, adapted,
                100 * (adapted / plain - 1));
  }
  return 0;
}
