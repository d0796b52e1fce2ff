// Question: how much longer are a layer's products when the rows of a batch have adapters?
// Baseline, same run: each product alone in bf16 by cuBLASLt, and the adapters' own products by
// cuBLASLt, two calls per adapter (rows sorted by adapter, so that it needs no gathering).
// Correctness: tests/kernels/lora.
//
//   bench_lora [RANK [ROWS [ADAPTERS]]]      default: 16 32 8
//
// Shapes are those of Llama 3 8B. Weights and adapters rotate beyond the L2. The ratio of the last
// line is what a decode step would take with adapters on every product, attention and norms left
// out.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bench/kernels/gemm/cublaslt.h"
#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/lora.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

struct Shape {
  const char* name;
  int in_features;
  std::vector<int> columns;  // of each module
};

const Shape kShapes[] = {{"qkv", 4096, {4096, 1024, 1024}},
                         {"out", 4096, {4096}},
                         {"gate_up", 4096, {14336, 14336}},
                         {"down", 14336, {4096}}};

DeviceBuffer<__nv_bfloat16> Random(size_t size, uint32_t seed) {
  DeviceBuffer<__nv_bfloat16> buffer(size);
  PINGTI_CUDA(FillBf16(buffer.data(), size, -0.5f, 0.5f, seed));
  return buffer;
}

// One product's adapters, as many sets as are beyond the L2.
class Bench {
 public:
  Bench(const Shape& shape, int rank, int rows, int adapters)
      : shape_(shape), rank_(rank), rows_(rows), adapters_(adapters) {
    for (const int columns : shape.columns) out_features_ += columns;
    num_modules_ = static_cast<int>(shape.columns.size());
    padded_ = (rank + kLoraRankStep - 1) / kLoraRankStep * kLoraRankStep;
    a_size_ = size_t{1} * adapters * num_modules_ * padded_ * shape.in_features;
    b_size_ = size_t{1} * adapters * out_features_ * padded_;
    sets_ = SetsBeyondL2(2 * (a_size_ + b_size_));
    a_ = Random(sets_ * a_size_, 1);
    b_ = Random(sets_ * b_size_, 2);
    x_ = Random(size_t{1} * rows * shape.in_features, 3);
    y_ = Random(size_t{1} * rows * out_features_, 4);
    ranks_ = DeviceBuffer<int32_t>(std::vector<int32_t>(size_t{1} * adapters * num_modules_, rank));
    MakeTiles();
  }

  Timing TimeAdapters() {
    return TimeLaunches("adapters", sets_, [&](int set, cudaStream_t stream) {
      const cudaError_t shrunk = LaunchLoraShrink(Shrink(set), stream);
      return shrunk != cudaSuccess ? shrunk : LaunchLoraExpand(Expand(set), stream);
    });
  }

  // The product without adapters.
  Timing TimeProduct() {
    const CublasLt product(LtTypes::kBf16, rows_, out_features_, shape_.in_features);
    const size_t size = size_t{1} * out_features_ * shape_.in_features;
    const int sets = SetsBeyondL2(2 * size);
    const DeviceBuffer<__nv_bfloat16> w = Random(sets * size, 5);
    Timing best;
    for (int algorithm = 0; algorithm < product.num_algorithms(); ++algorithm) {
      const Timing timing = TimeLaunches("product", sets, [&](int set, cudaStream_t stream) {
        return product.Run(algorithm, x_.data(), w.data() + set * size, y_.data(), stream);
      });
      if (best.median_us == 0 || timing.median_us < best.median_us) best = timing;
    }
    return best;
  }

  // Two products per adapter and module.
  Timing TimePerAdapter() {
    const int own = std::max(rows_ / adapters_, 1);
    const CublasLt down(LtTypes::kBf16, own, padded_, shape_.in_features);
    std::vector<std::unique_ptr<CublasLt>> up;
    for (const int columns : shape_.columns) {
      up.push_back(std::make_unique<CublasLt>(LtTypes::kBf16, own, columns, padded_));
    }
    const DeviceBuffer<__nv_bfloat16> between(size_t{1} * own * padded_);
    return TimeLaunches("per adapter", sets_, [&](int set, cudaStream_t stream) {
      const __nv_bfloat16* a = a_.data() + set * a_size_;
      const __nv_bfloat16* b = b_.data() + set * b_size_;
      for (int adapter = 0; adapter < adapters_; ++adapter) {
        for (size_t module = 0; module < up.size(); ++module) {
          const cudaError_t first = down.Run(
              0, x_.data(),
              a + (adapter * num_modules_ + module) * padded_ * size_t{1} * shape_.in_features,
              between.data(), stream);
          if (first != cudaSuccess) return first;
          const cudaError_t second =
              up[module]->Run(0, between.data(), b + adapter * size_t{1} * out_features_ * padded_,
                              y_.data(), stream);
          if (second != cudaSuccess) return second;
        }
      }
      return cudaSuccess;
    });
  }

 private:
  // Row r has adapter r % adapters, as a batch has them in no order.
  void MakeTiles() {
    std::vector<int32_t> rows;
    std::vector<int32_t> slots;
    for (int adapter = 0; adapter < adapters_; ++adapter) {
      for (int row = adapter, filled = 0; row < rows_; row += adapters_, ++filled) {
        if (filled % kLoraTileRows == 0) {
          slots.push_back(adapter);
          rows.resize(slots.size() * kLoraTileRows, -1);
        }
        rows[(slots.size() - 1) * kLoraTileRows + filled % kLoraTileRows] = row;
      }
    }
    // As many as a recorded step launches.
    const size_t most = std::min(rows_, rows_ / kLoraTileRows + adapters_ + 1);
    slots.resize(std::max(slots.size(), most), -1);
    rows.resize(slots.size() * kLoraTileRows, -1);
    tile_rows_ = DeviceBuffer<int32_t>(rows);
    tile_slots_ = DeviceBuffer<int32_t>(slots);
    tiles_ = {tile_rows_.data(), tile_slots_.data(), static_cast<int32_t>(slots.size())};
    shrunk_ = DeviceBuffer<float>(size_t{1} * LoraSplits(shape_.in_features) * rows.size() *
                                  num_modules_ * padded_);
  }

  LoraShrinkParams Shrink(int set) const {
    LoraShrinkParams p;
    p.tiles = tiles_;
    p.x = x_.data();
    p.x_stride = shape_.in_features;
    p.a = a_.data() + set * a_size_;
    p.a_slot_stride = int64_t{num_modules_} * padded_ * shape_.in_features;
    p.ranks = ranks_.data();
    p.ranks_slot_stride = num_modules_;
    p.shrunk = shrunk_.data();
    p.in_features = shape_.in_features;
    p.num_modules = num_modules_;
    p.max_rank = padded_;
    return p;
  }

  LoraExpandParams Expand(int set) const {
    LoraExpandParams p;
    p.tiles = tiles_;
    p.shrunk = shrunk_.data();
    p.num_splits = LoraSplits(shape_.in_features);
    p.b = b_.data() + set * b_size_;
    p.b_slot_stride = int64_t{out_features_} * padded_;
    p.ranks = ranks_.data();
    p.ranks_slot_stride = num_modules_;
    p.y = y_.data();
    p.y_stride = out_features_;
    p.out_features = out_features_;
    p.num_modules = num_modules_;
    p.max_rank = padded_;
    p.num_parts = num_modules_;
    int end = 0;
    for (int module = 0; module < num_modules_; ++module) {
      end += shape_.columns[module];
      p.part_end[module] = end;
      p.part_module[module] = module;
    }
    return p;
  }

  const Shape& shape_;
  const int rank_;
  const int rows_;
  const int adapters_;
  int out_features_ = 0;
  int num_modules_ = 0;
  int padded_ = 0;
  size_t a_size_ = 0;
  size_t b_size_ = 0;
  int sets_ = 0;
  DeviceBuffer<__nv_bfloat16> a_, b_, x_, y_;
  DeviceBuffer<int32_t> ranks_, tile_rows_, tile_slots_;
  DeviceBuffer<float> shrunk_;
  LoraTiles tiles_;
};

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  const int rank = argc > 1 ? std::atoi(argv[1]) : 16;
  const int rows = argc > 2 ? std::atoi(argv[2]) : 32;
  const int adapters = argc > 3 ? std::atoi(argv[3]) : 8;
  if (rank < 1 || rank > pingti::kernels::kMaxLoraRank || rows < 1 || adapters < 1 ||
      adapters > rows) {
    std::printf("expected a rank of 1 to %d, and 1 to ROWS adapters\n",
                pingti::kernels::kMaxLoraRank);
    return 2;
  }
  std::printf("%d rows of %d adapters, rank %d\n", rows, adapters, rank);
  std::printf(
      "| product | adapters us | p10 | p90 | product us | %% more | per adapter us | x |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  double all_adapters = 0;
  double all_products = 0;
  for (const Shape& shape : kShapes) {
    Bench bench(shape, rank, rows, adapters);
    const Timing ours = bench.TimeAdapters();
    const Timing product = bench.TimeProduct();
    const Timing per_adapter = bench.TimePerAdapter();
    all_adapters += ours.median_us;
    all_products += product.median_us;
    std::printf("| %-7s | %7.2f | %7.2f | %7.2f | %7.2f | %5.1f | %8.1f | %5.1f |\n", shape.name,
                ours.median_us, ours.p10_us, ours.p90_us, product.median_us,
                100 * ours.median_us / product.median_us, per_adapter.median_us,
                per_adapter.median_us / ours.median_us);
  }
  std::printf("a layer: %.2f us of adapters beside %.2f us of products, %.1f %% more\n",
              all_adapters, all_products, 100 * all_adapters / all_products);
  return 0;
}
