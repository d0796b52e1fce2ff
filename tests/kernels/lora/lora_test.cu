// Adapters' products against a float64 reference: ranks 1 to 256, stacks of modules with ranks of
// their own or none, tiles that are part empty or not there, widths that no block divides. What no
// kernel may read is NaN: values behind a module's filled rank, other slots, x of rows in no tile,
// and what is in y before.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "pingti/kernels/add.h"
#include "pingti/kernels/lora.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Case {
  std::string name;
  int in_features;
  std::vector<std::pair<int, int>> parts;  // columns, module
  int max_rank;
  std::vector<std::vector<int>> ranks;  // [slots, modules]
  std::vector<int> row_slots;           // by row; -1: no adapter, kNoTile
};

constexpr int kNoTile = -2;
constexpr int kPoisonRank = 1 << 20;  // where no rank may be read

int FilledUp(int rank) { return (rank + kLoraRankStep - 1) / kLoraRankStep * kLoraRankStep; }

class LoraCase {
 public:
  LoraCase(const Case& c, uint64_t seed) : c_(c), random_(seed) {
    modules_ = static_cast<int>(c.ranks[0].size());
    padded_ = FilledUp(c.max_rank);
    for (const auto& [columns, module] : c.parts) out_ += columns;
    MakeMatrices();
    const __nv_bfloat16 poison = __float2bfloat16(NAN);
    for (const int slot : c.row_slots) {
      for (int k = 0; k < c.in_features; ++k) x_.push_back(slot == kNoTile ? poison : Value());
      for (int n = 0; n < out_; ++n) y_.push_back(slot == kNoTile ? Value() : poison);
    }
    MakeTiles();
  }

  void Run(TestRun* run) {
    const Device device(*this);
    Launch(device, device.y.data(), nullptr, run);
    if (run->ExpectDeviceOk()) Compare(device.y.ToHost(), run);
  }

  // As a worker records it: on a second stream, behind the kernel that writes x, with the results
  // added to y after a join; again and again. REQUIRES: every row is in a tile.
  void RunRecorded(TestRun* run) {
    const Device device(*this);
    const DeviceBuffer<__nv_bfloat16> values(x_), y(y_.size());
    cudaStream_t streams[2];
    cudaEvent_t events[2];
    for (cudaStream_t& stream : streams) {
      PINGTI_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    }
    for (cudaEvent_t& event : events) {
      PINGTI_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    }
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    PINGTI_CUDA(cudaStreamBeginCapture(streams[0], cudaStreamCaptureModeThreadLocal));
    PINGTI_CUDA(cudaMemsetAsync(device.x.data(), 0, device.x.bytes(), streams[0]));
    Add(values.data(), device.x.data(), c_.in_features, streams[0], run);
    PINGTI_CUDA(cudaEventRecord(events[0], streams[0]));
    PINGTI_CUDA(cudaStreamWaitEvent(streams[1], events[0]));
    Launch(device, device.y.data(), streams[1], run);
    PINGTI_CUDA(cudaEventRecord(events[1], streams[1]));
    PINGTI_CUDA(cudaMemsetAsync(y.data(), 0, y.bytes(), streams[0]));
    PINGTI_CUDA(cudaStreamWaitEvent(streams[0], events[1]));
    Add(device.y.data(), y.data(), out_, streams[0], run);
    PINGTI_CUDA(cudaStreamEndCapture(streams[0], &graph));
    PINGTI_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    for (int i = 0; i < 20; ++i) PINGTI_CUDA(cudaGraphLaunch(executable, streams[0]));
    PINGTI_CUDA(cudaStreamSynchronize(streams[0]));
    PINGTI_CUDA(cudaGraphExecDestroy(executable));
    PINGTI_CUDA(cudaGraphDestroy(graph));
    for (cudaEvent_t event : events) PINGTI_CUDA(cudaEventDestroy(event));
    for (cudaStream_t stream : streams) PINGTI_CUDA(cudaStreamDestroy(stream));
    if (run->ExpectDeviceOk()) Compare(y.ToHost(), run);
  }

 private:
  struct Device {
    explicit Device(const LoraCase& c)
        : x(c.x_),
          a(c.a_),
          b(c.b_),
          y(c.y_),
          ranks(c.ranks_),
          rows(c.rows_),
          slots(c.slots_),
          shrunk(LoraSplits(c.c_.in_features) * c.rows_.size() * c.modules_ * c.padded_) {}
    DeviceBuffer<__nv_bfloat16> x, a, b, y;
    DeviceBuffer<int32_t> ranks, rows, slots;
    DeviceBuffer<float> shrunk;
  };

  void Add(const __nv_bfloat16* x, __nv_bfloat16* sum, int width, cudaStream_t stream,
           TestRun* run) const {
    AddParams add;
    add.x = x;
    add.sum = sum;
    add.x_stride = add.sum_stride = add.width = width;
    add.num_tokens = static_cast<int32_t>(c_.row_slots.size());
    run->Expect(LaunchAdd(add, stream) == cudaSuccess, "a sum is refused");
  }

  void Launch(const Device& device, __nv_bfloat16* y, cudaStream_t stream, TestRun* run) const {
    const LoraTiles tiles{device.rows.data(), device.slots.data(),
                          static_cast<int32_t>(slots_.size())};
    LoraShrinkParams shrink;
    shrink.tiles = tiles;
    shrink.x = device.x.data();
    shrink.x_stride = c_.in_features;
    shrink.a = device.a.data();
    shrink.a_slot_stride = AStride();
    shrink.ranks = device.ranks.data();
    shrink.ranks_slot_stride = modules_ + 1;
    shrink.shrunk = device.shrunk.data();
    shrink.in_features = c_.in_features;
    shrink.num_modules = modules_;
    shrink.max_rank = padded_;
    run->Expect(LaunchLoraShrink(shrink, stream) == cudaSuccess, "shrink is refused");
    LoraExpandParams expand;
    expand.tiles = tiles;
    expand.shrunk = device.shrunk.data();
    expand.num_splits = LoraSplits(c_.in_features);
    expand.b = device.b.data();
    expand.b_slot_stride = BStride();
    expand.ranks = device.ranks.data();
    expand.ranks_slot_stride = modules_ + 1;
    expand.y = y;
    expand.y_stride = out_;
    expand.out_features = out_;
    expand.num_modules = modules_;
    expand.max_rank = padded_;
    expand.num_parts = static_cast<int32_t>(c_.parts.size());
    int end = 0;
    for (size_t i = 0; i < c_.parts.size(); ++i) {
      end += c_.parts[i].first;
      expand.part_end[i] = end;
      expand.part_module[i] = c_.parts[i].second;
    }
    run->Expect(LaunchLoraExpand(expand, stream) == cudaSuccess, "expand is refused");
  }

  __nv_bfloat16 Value() { return __float2bfloat16(random_.Normal()); }

  // Poisoned where nothing may be read.
  void MakeMatrices() {
    const size_t num_slots = c_.ranks.size();
    const __nv_bfloat16 poison = __float2bfloat16(NAN);
    a_.assign(num_slots * AStride(), poison);
    b_.assign(num_slots * BStride(), poison);
    for (size_t slot = 0; slot < num_slots; ++slot) {
      for (int m = 0; m < modules_; ++m) {
        const int rank = c_.ranks[slot][m];
        ranks_.push_back(rank);
        for (int r = 0; r < FilledUp(rank); ++r) {
          for (int k = 0; k < c_.in_features; ++k) {
            a_[AIndex(slot, m, r, k)] = r < rank ? Value() : __float2bfloat16(0);
          }
        }
      }
      int column = 0;
      for (const auto& [columns, module] : c_.parts) {
        const int rank = c_.ranks[slot][module];
        for (int n = 0; n < columns; ++n, ++column) {
          for (int r = 0; r < FilledUp(rank); ++r) {
            b_[BIndex(slot, column, r)] = r < rank ? Value() : __float2bfloat16(0);
          }
        }
      }
      ranks_.push_back(kPoisonRank);
    }
  }

  void MakeTiles() {
    for (int slot = -1; slot < static_cast<int>(c_.ranks.size()); ++slot) {
      int filled = 0;
      for (size_t row = 0; row < c_.row_slots.size(); ++row) {
        if (c_.row_slots[row] != slot) continue;
        if (filled % kLoraTileRows == 0) {
          slots_.push_back(slot);
          rows_.resize(slots_.size() * kLoraTileRows, -1);
        }
        rows_[(slots_.size() - 1) * kLoraTileRows + filled++ % kLoraTileRows] =
            static_cast<int32_t>(row);
      }
    }
    slots_.resize(slots_.size() + 2, -1);  // that are launched for nothing
    rows_.resize(slots_.size() * kLoraTileRows, -1);
  }

  size_t AIndex(size_t slot, int module, int r, int k) const {
    return slot * AStride() + (size_t(module) * padded_ + r) * c_.in_features + k;
  }
  size_t BIndex(size_t slot, int column, int r) const {
    return slot * BStride() + size_t(column) * padded_ + r;
  }
  // Slots are further apart than their matrices are large.
  int64_t AStride() const { return int64_t{modules_} * padded_ * c_.in_features + 8; }
  int64_t BStride() const { return int64_t{out_} * padded_ + 24; }

  void Compare(const std::vector<__nv_bfloat16>& got, TestRun* run) const {
    for (size_t row = 0; row < c_.row_slots.size(); ++row) {
      const int slot = c_.row_slots[row];
      int column = 0;
      for (const auto& [columns, module] : c_.parts) {
        const int rank = slot < 0 ? 0 : c_.ranks[slot][module];
        std::vector<double> shrunk(rank, 0);
        for (int r = 0; r < rank; ++r) {
          for (int k = 0; k < c_.in_features; ++k) {
            shrunk[r] += double(__bfloat162float(x_[row * c_.in_features + k])) *
                         __bfloat162float(a_[AIndex(slot, module, r, k)]);
          }
        }
        for (int n = 0; n < columns; ++n, ++column) {
          double sum = slot == kNoTile ? double(__bfloat162float(y_[row * out_ + column])) : 0;
          double size = 0;  // of the terms: shrunk is rounded to bf16
          for (int r = 0; r < rank; ++r) {
            const double term = shrunk[r] * __bfloat162float(b_[BIndex(slot, column, r)]);
            sum += term;
            size += term * term;
          }
          const double value = __bfloat162float(got[row * out_ + column]);
          const double most = rank == 0 ? 0 : std::abs(sum) / 256 + std::sqrt(size) / 128 + 1e-3;
          run->Expect(std::abs(value - sum) <= most, "row %zu, column %d: %g, expected %g", row,
                      column, value, sum);
        }
      }
    }
  }

  const Case& c_;
  Random random_;
  int modules_ = 0;
  int padded_ = 0;
  int out_ = 0;
  std::vector<__nv_bfloat16> a_, b_, x_, y_;
  std::vector<int32_t> ranks_, rows_, slots_;
};

std::vector<int> Cycle(std::vector<int> slots, int rows) {
  std::vector<int> all;
  for (int row = 0; row < rows; ++row) all.push_back(slots[row % slots.size()]);
  return all;
}

// What adapters add to rows of an embedding, of which only tokens [10, 62) are here, onto y in bf16
// and in f32. Rows are in one tile: of slot 1, and of none.
template <class Y>
void RunEmbedded(TestRun* run) {
  constexpr int kTokens = 52;
  constexpr int kFirst = 10;
  constexpr int kOut = 264;
  constexpr int kPadded = 32;
  const std::vector<int32_t> ranks = {kPoisonRank, 20};
  const std::vector<int32_t> ids = {10, 61, 9, 62, 33, 40, 0};  // the last two without an adapter
  std::vector<int32_t> rows(2 * kLoraTileRows, -1);
  std::iota(rows.begin(), rows.begin() + 5, 0);
  rows[kLoraTileRows] = 5;
  Random random(9);
  const __nv_bfloat16 zero = __float2bfloat16(0);
  const size_t a_slot = kPadded * kTokens;
  const size_t b_slot = kOut * kPadded;
  std::vector<__nv_bfloat16> a(2 * a_slot, __float2bfloat16(NAN));
  std::vector<__nv_bfloat16> b(2 * b_slot, __float2bfloat16(NAN));
  for (int r = 0; r < kPadded; ++r) {
    const auto value = [&] { return r < ranks[1] ? __float2bfloat16(random.Normal()) : zero; };
    for (int token = 0; token < kTokens; ++token) a[a_slot + r * kTokens + token] = value();
    for (int n = 0; n < kOut; ++n) b[b_slot + n * kPadded + r] = value();
  }
  std::vector<Y> before;
  for (size_t i = 0; i < ids.size() * kOut; ++i) {
    before.push_back(static_cast<Y>(__bfloat162float(__float2bfloat16(random.Normal()))));
  }
  const DeviceBuffer<__nv_bfloat16> device_a(a), device_b(b);
  const DeviceBuffer<int32_t> device_ranks(ranks), device_ids(ids), device_rows(rows),
      device_slots(std::vector<int32_t>{1, -1});
  const DeviceBuffer<float> shrunk(2 * kLoraTileRows * kPadded);
  const DeviceBuffer<Y> y(before);
  LoraPickParams pick;
  pick.tiles = {device_rows.data(), device_slots.data(), 2};
  pick.token_ids = device_ids.data();
  pick.first_id = kFirst;
  pick.a = device_a.data();
  pick.a_slot_stride = a_slot;
  pick.ranks = device_ranks.data();
  pick.ranks_slot_stride = 1;
  pick.shrunk = shrunk.data();
  pick.in_features = kTokens;
  pick.max_rank = kPadded;
  run->Expect(LaunchLoraPick(pick, nullptr) == cudaSuccess, "pick is refused");
  LoraExpandParams expand;
  expand.tiles = pick.tiles;
  expand.shrunk = shrunk.data();
  expand.num_splits = expand.num_modules = expand.num_parts = 1;
  expand.b = device_b.data();
  expand.b_slot_stride = b_slot;
  expand.ranks = pick.ranks;
  expand.ranks_slot_stride = 1;
  expand.y = y.data();
  expand.y_stride = expand.out_features = expand.part_end[0] = kOut;
  expand.accumulate = true;
  expand.max_rank = kPadded;
  expand.y_dtype = sizeof(Y) == 2 ? DType::kBf16 : DType::kF32;
  run->Expect(LaunchLoraExpand(expand, nullptr) == cudaSuccess, "expand is refused");
  if (!run->ExpectDeviceOk()) return;
  const std::vector<Y> got = y.ToHost();
  for (size_t row = 0; row < ids.size(); ++row) {
    const int token = ids[row] - kFirst;
    const bool adds = row < 5 && token >= 0 && token < kTokens;
    for (int n = 0; n < kOut; ++n) {
      double sum = static_cast<float>(before[row * kOut + n]);
      for (int r = 0; adds && r < ranks[1]; ++r) {
        sum += double(__bfloat162float(a[a_slot + r * kTokens + token])) *
               __bfloat162float(b[b_slot + n * kPadded + r]);
      }
      const double value = static_cast<float>(got[row * kOut + n]);
      const double most = adds ? std::abs(sum) * (sizeof(Y) == 2 ? 1.0 / 256 : 1e-5) + 1e-4 : 0;
      run->Expect(std::abs(value - sum) <= most, "row %zu, column %d: %g, expected %g", row, n,
                  value, sum);
    }
  }
}

void RunRefusals(TestRun* run) {
  if (!run->Begin("refusals", 0)) return;
  const DeviceBuffer<float> memory(4096);
  LoraShrinkParams shrink;
  shrink.tiles = {reinterpret_cast<int32_t*>(memory.data()),
                  reinterpret_cast<int32_t*>(memory.data()), 0};
  shrink.x = shrink.a = memory.data();
  shrink.shrunk = memory.data();
  shrink.ranks = reinterpret_cast<int32_t*>(memory.data());
  shrink.in_features = shrink.max_rank = 16;
  shrink.x_stride = 16;
  shrink.num_modules = 1;
  run->Expect(LaunchLoraShrink(shrink, nullptr) == cudaSuccess, "no tiles are fine");
  shrink.max_rank = 24;
  run->Expect(LaunchLoraShrink(shrink, nullptr) == cudaErrorInvalidValue, "rank 24");
  shrink.max_rank = 512;
  run->Expect(LaunchLoraShrink(shrink, nullptr) == cudaErrorInvalidValue, "rank 512");
  shrink.max_rank = 16;
  shrink.in_features = 12;
  run->Expect(LaunchLoraShrink(shrink, nullptr) == cudaErrorInvalidValue, "12 inputs");
  shrink.in_features = 16;
  shrink.tiles.num_tiles = 1;
  shrink.x = nullptr;
  run->Expect(LaunchLoraShrink(shrink, nullptr) == cudaErrorInvalidValue, "no x");
  LoraExpandParams expand;
  expand.tiles = shrink.tiles;
  expand.num_splits = expand.num_modules = expand.num_parts = 1;
  expand.out_features = 16;
  expand.max_rank = 16;
  expand.part_end[0] = 8;
  run->Expect(LaunchLoraExpand(expand, nullptr) == cudaErrorInvalidValue, "a part too few");
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  TestRun run("lora_test", argc, argv);
  const std::vector<Case> cases = {
      {"one row", 64, {{64, 0}}, 16, {{16}}, {0}},
      {"rank 1", 72, {{40, 0}}, 16, {{1}, {7}}, Cycle({0, 1, -1}, 40)},
      {"qkv", 512, {{128, 0}, {40, 1}, {40, 2}}, 32, {{16, 32, 5}, {0, 9, 0}}, Cycle({1, 0}, 33)},
      {"rows in no tile", 2056, {{320, 0}, {264, 1}}, 16, {{8, 16}}, Cycle({kNoTile, 0, -1}, 50)},
      {"parts apart", 136, {{200, 0}, {8, 1}, {72, 0}}, 48, {{33, 48}}, Cycle({0, -1}, 21)},
      {"decode of 8",
       4096,
       {{1024, 0}},
       16,
       std::vector<std::vector<int>>(8, {16}),
       Cycle({0, 1, 2, 3, 4, 5, 6, 7}, 32)},
      {"rank 256", 14336, {{264, 0}}, 256, {{256}, {100}}, Cycle({0, 1}, 18)},
      {"prefill", 256, {{96, 0}, {96, 1}}, 64, {{64, 64}, {20, 64}}, Cycle({0, 0, 0, -1, 1}, 600)},
  };
  for (const Case& c : cases) {
    if (run.Begin(c.name, 5)) LoraCase(c, 5).Run(&run);
    if (std::count(c.row_slots.begin(), c.row_slots.end(), kNoTile) > 0) continue;
    if (run.Begin(c.name + ", recorded on a second stream", 6)) LoraCase(c, 6).RunRecorded(&run);
  }
  if (run.Begin("an embedding, bf16", 9)) RunEmbedded<__nv_bfloat16>(&run);
  if (run.Begin("an embedding, f32", 9)) RunEmbedded<float>(&run);
  RunRefusals(&run);
  return run.Finish();
}
