// All-reduce against sums in float in rank order, bit for bit, on every rank: series of calls of
// random sizes, dtypes, strides and ways, with ranks that come late; all-gather; values that are no
// numbers; replayed graphs; peers that do not come. Ranks share device 0, and have devices of their
// own where there are enough.

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "pingti/kernels/all_reduce.h"
#include "tests/kernels/comm/ranks.h"
#include "tests/kernels/testing/compare.h"
#include "tests/kernels/testing/device.h"
#include "tests/kernels/testing/run.h"

namespace pingti::kernels::testing {
namespace {

struct Shape {
  int rows = 0;
  int cols = 0;
  int stride = 0;
  int offset = 0;  // elements before the first row
  bool in_place = true;

  size_t size() const { return static_cast<size_t>(offset) + static_cast<size_t>(rows) * stride; }
  size_t At(int row, int col) const {
    return static_cast<size_t>(offset) + static_cast<size_t>(row) * stride + col;
  }
};

template <typename T>
constexpr DType kDTypeOf = sizeof(T) == 4 ? DType::kF32 : DType::kBf16;

// The sum that every rank must hold.
template <typename T>
std::vector<T> SumInRankOrder(const std::vector<std::vector<T>>& parts) {
  std::vector<T> sums = parts[0];
  for (size_t i = 0; i < sums.size(); ++i) {
    float sum = static_cast<float>(ToDouble(parts[0][i]));
    for (size_t r = 1; r < parts.size(); ++r) sum += static_cast<float>(ToDouble(parts[r][i]));
    sums[i] = FromFloat<T>(sum);
  }
  return sums;
}

template <typename T>
bool SameBits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

// One call: its matrices on every rank, and what must come out.
template <typename T>
class Call {
 public:
  Call(const Ranks& ranks, const Shape& shape, std::vector<std::vector<T>> parts)
      : shape_(shape), parts_(std::move(parts)) {
    for (int r = 0; r < ranks.size(); ++r) {
      ranks.Use(r);
      x_.emplace_back(parts_[r]);
      out_.emplace_back(shape.in_place ? 0 : shape.size());
    }
    ranks.SynchronizeDevices();
  }
  Call(const Ranks& ranks, const Shape& shape, Random* random, float scale = 1.0f)
      : Call(ranks, shape, RandomParts(ranks.size(), shape, random, scale)) {}

  void Launch(TestRun* run, Ranks& ranks, int rank, const AllReduceShape& how) const {
    ranks.Use(rank);
    AllReduceParams p;
    p.link = ranks.group().link(rank);
    p.x = x_[rank].data() + shape_.offset;
    p.out = Out(rank).data() + shape_.offset;
    p.x_stride = p.out_stride = shape_.stride;
    p.rows = shape_.rows;
    p.cols = shape_.cols;
    p.dtype = kDTypeOf<T>;
    p.shape = how;
    const cudaError_t error = LaunchAllReduce(p, ranks.stream(rank));
    run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
  }

  // The streams have been synchronized. In place, what is between the rows must stay.
  void Check(TestRun* run, const Ranks& ranks) const {
    const std::vector<T> want = SumInRankOrder(parts_);
    for (int r = 0; r < ranks.size(); ++r) {
      const std::vector<T> got = Out(r).ToHost();
      for (int row = 0; row < shape_.rows; ++row) {
        for (int col = 0; col < shape_.cols; ++col) {
          const size_t at = shape_.At(row, col);
          const double value = ToDouble(want[at]);
          const bool same =
              std::isnan(value) ? std::isnan(ToDouble(got[at])) : SameBits(got[at], want[at]);
          if (!run->Expect(same, "%s: %d x %d, rank %d at %d,%d: %g, want %g", ranks.name().c_str(),
                           shape_.rows, shape_.cols, r, row, col, ToDouble(got[at]), value)) {
            return;
          }
        }
      }
      CheckGaps(run, got, parts_[r]);
      const std::vector<T> first = Out(0).ToHost();
      run->Expect(
          shape_.in_place || std::memcmp(got.data(), first.data(), got.size() * sizeof(T)) == 0,
          "rank %d differs from rank 0", r);
    }
  }

  void Rewrite(const Ranks& ranks, Random* random) {
    parts_ = RandomParts(ranks.size(), shape_, random, 1.0f);
    for (int r = 0; r < ranks.size(); ++r) {
      PINGTI_CUDA(
          cudaMemcpy(x_[r].data(), parts_[r].data(), x_[r].bytes(), cudaMemcpyHostToDevice));
    }
    ranks.SynchronizeDevices();
  }

 private:
  const DeviceBuffer<T>& Out(int rank) const { return shape_.in_place ? x_[rank] : out_[rank]; }

  static std::vector<std::vector<T>> RandomParts(int num_ranks, const Shape& shape, Random* random,
                                                 float scale) {
    std::vector<std::vector<T>> parts;
    for (int r = 0; r < num_ranks; ++r) {
      parts.push_back(RandomNormal<T>(shape.size(), random, scale));
    }
    return parts;
  }

  void CheckGaps(TestRun* run, const std::vector<T>& got, const std::vector<T>& part) const {
    for (size_t i = 0; i < got.size(); ++i) {
      const int64_t from = static_cast<int64_t>(i) - shape_.offset;
      if (from >= 0 && from % shape_.stride < shape_.cols) continue;
      const bool kept = shape_.in_place ? SameBits(got[i], part[i]) : std::isnan(ToDouble(got[i]));
      if (!run->Expect(kept, "wrote outside of the matrix at %zu", i)) return;
    }
  }

  const Shape shape_;
  std::vector<std::vector<T>> parts_;
  std::vector<DeviceBuffer<T>> x_;
  std::vector<DeviceBuffer<T>> out_;
};

Shape RandomShape(Random* random) {
  Shape shape;
  const int kind = static_cast<int>(random->Below(4));
  shape.rows = kind == 0 ? 1 : 1 + static_cast<int>(random->Below(9));
  shape.cols = kind == 1 ? 1 + static_cast<int>(random->Below(40))
                         : 8 * (1 + static_cast<int>(random->Below(2000)));
  shape.stride = shape.cols + (kind == 2 ? 8 * static_cast<int>(random->Below(3)) : 0) +
                 (kind == 1 ? static_cast<int>(random->Below(5)) : 0);
  shape.offset = kind == 1 ? static_cast<int>(random->Below(4)) : 0;
  shape.in_place = random->Below(2) == 0;
  return shape;
}

AllReduceShape RandomWay(int num_ranks, Random* random) {
  AllReduceShape how;
  how.shots =
      num_ranks == 2 ? static_cast<int>(random->Below(2)) : static_cast<int>(random->Below(3));
  how.threads = 128 * static_cast<int>(random->Below(5));
  how.blocks = random->Below(2) == 0 ? 0 : 1 + static_cast<int>(random->Below(6));
  return how;
}

// Calls that follow each other without waiting, some ranks late.
template <typename T>
void RunSeries(TestRun* run, Ranks& ranks, int num_calls, uint64_t seed) {
  Random random(seed);
  std::vector<Call<T>> calls;
  std::vector<AllReduceShape> ways;
  for (int i = 0; i < num_calls; ++i) {
    calls.emplace_back(ranks, RandomShape(&random), &random);
    ways.push_back(RandomWay(ranks.size(), &random));
  }
  for (int i = 0; i < num_calls; ++i) {
    for (int r = 0; r < ranks.size(); ++r) {
      if (random.Below(6) == 0) ranks.Delay(r, 1000 * (1 + random.Below(200)));
      calls[i].Launch(run, ranks, r, ways[i]);
    }
  }
  ranks.Synchronize();
  for (const Call<T>& call : calls) call.Check(run, ranks);
  run->Expect(!ranks.group().aborted(), "the group was aborted");
}

// Stretches of every rank, in every rank's matrix, with padded rows.
template <typename T>
void RunGathers(TestRun* run, Ranks& ranks, uint64_t seed) {
  Random random(seed);
  for (const int stretch : {1, 7, 64, 4096, 38016}) {
    const int rows = stretch > 10000 ? 2 : 5;
    const int cols = stretch * ranks.size();
    const int stride = cols + 8;
    std::vector<std::vector<T>> parts;
    std::vector<DeviceBuffer<T>> matrices;
    for (int r = 0; r < ranks.size(); ++r) {
      ranks.Use(r);
      parts.push_back(RandomNormal<T>(static_cast<size_t>(rows) * stride, &random));
      matrices.emplace_back(parts.back());
    }
    ranks.SynchronizeDevices();
    for (int r = 0; r < ranks.size(); ++r) {
      ranks.Use(r);
      if (random.Below(3) == 0) ranks.Delay(r, 100'000);
      AllGatherParams p;
      p.link = ranks.group().link(r);
      p.matrix = matrices[r].data();
      p.stride = stride;
      p.rows = rows;
      p.cols = cols;
      p.dtype = kDTypeOf<T>;
      const cudaError_t error = LaunchAllGather(p, ranks.stream(r));
      run->Expect(error == cudaSuccess, "launch: %s", cudaGetErrorString(error));
    }
    ranks.Synchronize();
    for (int r = 0; r < ranks.size(); ++r) {
      const std::vector<T> got = matrices[r].ToHost();
      for (size_t i = 0; i < got.size(); ++i) {
        const int col = static_cast<int>(i % stride);
        const int owner = col < cols ? col / stretch : r;  // padding stays
        if (!run->Expect(SameBits(got[i], parts[owner][i]), "stretches of %d, rank %d at %zu",
                         stretch, r, i)) {
          break;
        }
      }
    }
  }
}

// Everything that is no ordinary number, and the words that mean "not arrived".
void RunSpecialValues(TestRun* run, Ranks& ranks, const AllReduceShape& how) {
  const std::vector<uint32_t> words = {0x80000000u, 0x00000000u, 0xFFFFFFFFu, 0xFFFFFFFEu,
                                       0x7F800000u, 0xFF800000u, 0x7FC00000u, 0x7FFFFFFFu,
                                       0x00000001u, 0x80000001u, 0x80008000u, 0xFFFF0000u,
                                       0x0000FFFFu, 0x3F800000u, 0x7F7FFFFFu, 0xFF7FFFFFu};
  Shape shape;
  shape.rows = 4;
  shape.cols = shape.stride = 256;
  std::vector<std::vector<float>> parts;
  std::vector<std::vector<__nv_bfloat16>> halves;
  for (int r = 0; r < ranks.size(); ++r) {
    std::vector<float> part(shape.size());
    std::vector<__nv_bfloat16> half(shape.size());
    for (size_t i = 0; i < part.size(); ++i) {
      // Every word of rank 0 meets every one of rank 1; ranks beyond bring -0.
      const uint32_t word = r == 0 ? words[i % 16] : r == 1 ? words[i / 16 % 16] : 0x80000000u;
      const auto low = static_cast<uint16_t>(i % 2 == 0 ? word : word >> 16);
      std::memcpy(&part[i], &word, 4);
      half[i] = __ushort_as_bfloat16(low);
    }
    parts.push_back(part);
    halves.push_back(half);
  }
  const Call<float> call(ranks, shape, parts);
  const Call<__nv_bfloat16> half_call(ranks, shape, halves);
  for (int r = 0; r < ranks.size(); ++r) {
    call.Launch(run, ranks, r, how);
    half_call.Launch(run, ranks, r, how);
  }
  ranks.Synchronize();
  call.Check(run, ranks);
  half_call.Check(run, ranks);
}

// Five calls a graph, so that each replay starts with another of the three buffers.
void RunGraph(TestRun* run, Ranks& ranks, uint64_t seed) {
  Random random(seed);
  std::vector<Call<__nv_bfloat16>> calls;
  for (int i = 0; i < 5; ++i) {
    Shape shape = RandomShape(&random);
    shape.in_place = false;
    calls.emplace_back(ranks, shape, &random);
  }
  std::vector<cudaGraphExec_t> graphs(ranks.size());
  for (int r = 0; r < ranks.size(); ++r) {
    ranks.Use(r);
    cudaGraph_t graph;
    PINGTI_CUDA(cudaStreamBeginCapture(ranks.stream(r), cudaStreamCaptureModeThreadLocal));
    for (const auto& call : calls) call.Launch(run, ranks, r, {});
    PINGTI_CUDA(cudaStreamEndCapture(ranks.stream(r), &graph));
    PINGTI_CUDA(cudaGraphInstantiate(&graphs[r], graph, 0));
    PINGTI_CUDA(cudaGraphDestroy(graph));
  }
  for (int replay = 0; replay < 8; ++replay) {
    for (auto& call : calls) call.Rewrite(ranks, &random);
    for (int r = 0; r < ranks.size(); ++r) {
      ranks.Use(r);
      PINGTI_CUDA(cudaGraphLaunch(graphs[r], ranks.stream(r)));
    }
    ranks.Synchronize();
    for (const auto& call : calls) call.Check(run, ranks);
  }
  for (cudaGraphExec_t graph : graphs) PINGTI_CUDA(cudaGraphExecDestroy(graph));
}

// All ranks but the last call; `abort_it`: the host ends their wait, else time does.
void RunMissingPeer(TestRun* run, const std::vector<int>& devices, bool abort_it) {
  AllReduceGroupOptions options;
  options.timeout = abort_it ? std::chrono::seconds(60) : std::chrono::milliseconds(50);
  Ranks ranks(devices, options);
  Random random(1);
  Shape shape;
  shape.rows = 2;
  shape.cols = shape.stride = 4096;
  const Call<float> call(ranks, shape, &random);
  const int missing = ranks.size() - 1;
  AllReduceShape one_shot;
  one_shot.shots = 1;
  const auto start = std::chrono::steady_clock::now();
  for (int r = 0; r < missing; ++r) call.Launch(run, ranks, r, one_shot);
  if (abort_it) ranks.group().Abort();
  ranks.Synchronize();
  run->Expect(ranks.group().aborted(), "the group was not aborted");
  for (int r = 0; r < missing; ++r) {
    run->Expect(
        abort_it || ranks.group().missed_by(r) == missing || ranks.group().missed_by(r) == -1,
        "rank %d says it missed %d", r, ranks.group().missed_by(r));
  }
  bool named = abort_it;
  for (int r = 0; r < missing; ++r) named = named || ranks.group().missed_by(r) == missing;
  run->Expect(named, "nobody names the peer that did not come");
  for (int i = 0; i < 100; ++i) call.Launch(run, ranks, 0, one_shot);
  ranks.Synchronize();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  run->Expect(took.count() < 5.0, "took %g s", took.count());
}

void RunRefusals(TestRun* run, Ranks& ranks) {
  if (!run->Begin("refuses what it cannot do", 0)) return;
  const DeviceBuffer<float> buffer(64);
  AllReduceParams p;
  p.link = ranks.group().link(0);
  p.dtype = DType::kF32;
  run->Expect(LaunchAllReduce(p, nullptr) == cudaSuccess, "no rows");
  p.rows = 1;
  p.cols = 64;
  run->Expect(LaunchAllReduce(p, nullptr) == cudaErrorInvalidValue, "null");
  p.x = p.out = buffer.data();
  p.dtype = DType::kI8;
  run->Expect(LaunchAllReduce(p, nullptr) == cudaErrorNotSupported, "int8");
  p.dtype = DType::kF32;
  p.link.num_ranks = 3;
  run->Expect(LaunchAllReduce(p, nullptr) == cudaErrorNotSupported, "three ranks");
  p.link = ranks.group().link(0);
  p.shape.threads = 100;
  run->Expect(LaunchAllReduce(p, nullptr) == cudaErrorInvalidValue, "100 threads");
  AllGatherParams gather;
  gather.link = ranks.group().link(0);
  gather.cols = 3;
  run->Expect(LaunchAllGather(gather, nullptr) == cudaErrorInvalidValue, "three columns");
  std::unique_ptr<AllReduceGroup> group;
  run->Expect(AllReduceGroup::Make(std::vector<int>{0, 0, 0}, {}, &group) == cudaErrorInvalidValue,
              "a group of three");
}

void RunGroup(TestRun* run, const std::vector<int>& devices) {
  Ranks ranks(devices);
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    if (run->Begin("series bf16, " + ranks.name(), seed)) {
      RunSeries<__nv_bfloat16>(run, ranks, 40, seed);
    }
    if (run->Begin("series f32, " + ranks.name(), seed)) RunSeries<float>(run, ranks, 40, seed);
  }
  for (int shots = 1; shots <= (ranks.size() == 2 ? 1 : 2); ++shots) {
    AllReduceShape how;
    how.shots = shots;
    if (run->Begin("special values, " + ranks.name() + ", shots " + std::to_string(shots), 0)) {
      RunSpecialValues(run, ranks, how);
    }
  }
  if (run->Begin("gathers bf16, " + ranks.name(), 7)) RunGathers<__nv_bfloat16>(run, ranks, 7);
  if (run->Begin("gathers f32, " + ranks.name(), 8)) RunGathers<float>(run, ranks, 8);
  if (run->Begin("replayed graph, " + ranks.name(), 5)) RunGraph(run, ranks, 5);
  if (run->Begin("larger than a buffer, " + ranks.name(), 6)) {
    AllReduceGroupOptions options{.timeout = Ranks::kTimeout};
    options.buffer_bytes = 64 << 10;
    Ranks small(devices, options);
    RunSeries<__nv_bfloat16>(run, small, 20, 6);
    RunGathers<float>(run, small, 6);
  }
  if (run->Begin("a peer does not come, " + ranks.name(), 0)) RunMissingPeer(run, devices, false);
  if (run->Begin("the host aborts, " + ranks.name(), 0)) RunMissingPeer(run, devices, true);
  if (ranks.size() == 2 && ranks.is_shared()) RunRefusals(run, ranks);
}

}  // namespace
}  // namespace pingti::kernels::testing

int main(int argc, char** argv) {
  using namespace pingti::kernels::testing;
  PrepareForRanks();
  TestRun run("all_reduce_test", argc, argv);
  for (int num_ranks : {2, 4, 8}) {
    RunGroup(&run, OneDeviceForAll(num_ranks));
    const std::vector<int> devices = DeviceForEach(num_ranks);
    if (devices.empty()) {
      std::printf("all_reduce_test: no %d devices that reach each other: ranks share one\n",
                  num_ranks);
    } else {
      RunGroup(&run, devices);
    }
  }
  return run.Finish();
}
