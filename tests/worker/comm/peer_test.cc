// Sums through peers' memory, issued one by one and from a backend's record, against sums in rank
// order and against sum and norm one after the other; and groups in which a rank does not come.
// Ranks share device 0, and have devices of their own where there are enough. Exits with 77 where
// there is no device.
#include "worker/comm/peer.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/worker/comm/device_rank.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::DeviceRank;
using testing::Part;

int NumDevices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

// What sums leave to another communicator, which here only remembers.
class RememberingCommunicator : public Communicator {
 public:
  RememberingCommunicator(Backend* backend, int rank, int size)
      : Communicator(backend), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  CollectivePromises promises() const override { return {.can_be_recorded = true}; }
  absl::Status AllReduceSum(MatrixView) override { return Remember("sum"); }
  absl::Status AllGather(MatrixView) override { return Remember("gather"); }
  absl::Status Broadcast(MatrixView, int root) override {
    return Remember("broadcast from " + std::to_string(root));
  }
  absl::Status Check() override { return health; }
  void Abort() override { health = absl::AbortedError("aborted"); }

  std::vector<std::string> calls;
  absl::Status health;

 private:
  absl::Status Remember(std::string call) {
    calls.push_back(std::move(call));
    return health;
  }

  const int rank_;
  const int size_;
};

// A group, and a thread for each rank.
class PeerRanks {
 public:
  explicit PeerRanks(const std::vector<int>& devices, PeerOptions options = {})
      : devices_(devices), ranks_(devices.size()), rests_(devices.size()) {
    std::vector<PeerRank> peers;
    for (int r = 0; r < size(); ++r) {
      DeviceRank& own = rank(r);
      own.backend = *MakeCudaBackend({.device = devices[static_cast<size_t>(r)]});
      auto rest = std::make_unique<RememberingCommunicator>(own.backend.get(), r, size());
      rests_[static_cast<size_t>(r)] = rest.get();
      peers.push_back({own.backend.get(), std::move(rest)});
    }
    auto comms = MakePeerCommunicators(std::move(peers), options);
    EXPECT_TRUE(comms.ok()) << comms.status();
    for (int r = 0; r < size(); ++r) rank(r).comm = std::move((*comms)[static_cast<size_t>(r)]);
  }
  ~PeerRanks() {
    for (DeviceRank& rank : ranks_) rank.comm.reset();
  }

  int size() const { return static_cast<int>(devices_.size()); }
  DeviceRank& rank(int index) { return ranks_[static_cast<size_t>(index)]; }
  RememberingCommunicator& rest(int index) { return *rests_[static_cast<size_t>(index)]; }

  void Run(const std::function<void(DeviceRank& rank, int index)>& body) {
    std::vector<std::thread> threads;
    for (int r = 0; r < size(); ++r) {
      threads.emplace_back([&, r] {
        ASSERT_EQ(cudaSetDevice(devices_[static_cast<size_t>(r)]), cudaSuccess);
        body(rank(r), r);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  const std::vector<int> devices_;
  std::vector<DeviceRank> ranks_;
  std::vector<RememberingCommunicator*> rests_;  // owned by the communicators
};

// Devices of the ranks of each group that this machine allows.
std::vector<std::vector<int>> Groups() {
  std::vector<std::vector<int>> groups = {{0, 0}, {0, 0, 0, 0}};
  for (const int size : {2, 4, 8}) {
    std::vector<int> devices;
    for (int d = 0; d < std::min(size, NumDevices()); ++d) devices.push_back(d);
    if (static_cast<int>(devices.size()) == size) groups.push_back(devices);
  }
  return groups;
}

// Not whole numbers, so that the order of additions shows.
std::vector<float> UnevenPart(int rank, int64_t count) {
  std::vector<float> values = Part(rank, count);
  for (float& value : values) value = Bf16ToFloat(FloatToBf16(value * 1.37f));
  return values;
}

// The sum in rank order in float, rounded once.
std::vector<float> SumInRankOrder(int size, int64_t count, DType dtype) {
  std::vector<float> sum = UnevenPart(0, count);
  for (int r = 1; r < size; ++r) {
    const std::vector<float> part = UnevenPart(r, count);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  if (dtype == DType::kBf16) {
    for (float& value : sum) value = Bf16ToFloat(FloatToBf16(value));
  }
  return sum;
}

struct Case {
  DType dtype;
  int64_t rows, cols, stride;
};
constexpr Case kCases[] = {{DType::kF32, 3, 64, 64},         {DType::kBf16, 3, 64, 64},
                           {DType::kF32, 5, 12, 16},         {DType::kBf16, 7, 37, 41},
                           {DType::kF32, 1, 1, 1},           {DType::kBf16, 64, 8192, 8192},
                           {DType::kBf16, 2500, 8192, 8192}, {DType::kF32, 0, 12, 12}};

TEST(PeerTest, SumsAreAddedInRankOrderOnEveryRank) {
  for (const std::vector<int>& devices : Groups()) {
    PeerRanks ranks(devices);
    ASSERT_TRUE(ranks.rank(0).comm->promises().bitwise_equal_on_all_ranks);
    ASSERT_TRUE(ranks.rank(0).comm->promises().adds_in_rank_order);
    for (const Case& c : kCases) {
      const int64_t count = c.rows * c.cols;
      std::vector<MatrixView> matrices;
      for (int r = 0; r < ranks.size(); ++r) {
        matrices.push_back(
            ranks.rank(r).Upload(UnevenPart(r, count), c.dtype, c.rows, c.cols, c.stride));
      }
      const std::vector<float> sum = SumInRankOrder(ranks.size(), count, c.dtype);
      ranks.Run([&](DeviceRank& rank, int index) {
        const MatrixView matrix = matrices[static_cast<size_t>(index)];
        EXPECT_TRUE(rank.comm->AllReduceSum(matrix).ok());
        EXPECT_EQ(rank.Read(matrix), sum) << DTypeName(c.dtype) << " " << c.rows << " x " << c.cols;
        EXPECT_TRUE(rank.comm->Check().ok());
      });
    }
  }
}

// One token's matrices for AllReduceAddRmsNorm, twice.
struct NormCase {
  MatrixView delta, residual, out;
  std::unique_ptr<DeviceBuffer> weight;
};
constexpr int64_t kCols = 2048;

NormCase UploadNormCase(DeviceRank& rank, int index) {
  NormCase c;
  c.delta = rank.Upload(UnevenPart(index, kCols), DType::kBf16, 1, kCols, kCols);
  c.residual = rank.Upload(UnevenPart(9, kCols), DType::kBf16, 1, kCols, kCols);
  c.out = rank.Upload(std::vector<float>(kCols, 0.0f), DType::kBf16, 1, kCols, kCols);
  std::vector<float> weight = UnevenPart(10, kCols);
  c.weight = *rank.backend->UploadF32(weight);
  return c;
}

void ExpectEqualNorms(DeviceRank& rank, const NormCase& fused, const NormCase& parts) {
  EXPECT_EQ(rank.Read(fused.residual), rank.Read(parts.residual));
  const std::vector<float> got = rank.Read(fused.out);
  const std::vector<float> want = rank.Read(parts.out);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], std::abs(want[i]) / 128) << "at " << i;
  }
}

TEST(PeerTest, TheFusedOperationEqualsSumAndNorm) {
  for (const std::vector<int>& devices : Groups()) {
    PeerRanks ranks(devices);
    std::vector<NormCase> fused;
    std::vector<NormCase> parts;
    for (int r = 0; r < ranks.size(); ++r) {
      fused.push_back(UploadNormCase(ranks.rank(r), r));
      parts.push_back(UploadNormCase(ranks.rank(r), r));
    }
    ranks.Run([&](DeviceRank& rank, int index) {
      const NormCase& one = fused[static_cast<size_t>(index)];
      const NormCase& two = parts[static_cast<size_t>(index)];
      EXPECT_TRUE(
          rank.comm->AllReduceAddRmsNorm(one.delta, one.residual, *one.weight, 1e-6f, one.out)
              .ok());
      EXPECT_TRUE(rank.comm->AllReduceSum(two.delta).ok());
      EXPECT_TRUE(
          rank.backend->AddRmsNorm(two.delta, two.residual, *two.weight, 1e-6f, two.out).ok());
      ExpectEqualNorms(rank, one, two);
    });
  }
}

TEST(PeerTest, ARecordRepeatsItsSums) {
  for (const std::vector<int>& devices : Groups()) {
    PeerRanks ranks(devices);
    std::vector<NormCase> cases;
    StepLimits limits;
    limits.max_tokens = limits.max_seqs = limits.max_blocks_per_seq = 1;
    limits.num_heads = limits.num_kv_heads = 1;
    limits.max_in_features = kCols;
    limits.head_dim = 64;
    limits.vocab_size = 100;
    for (int r = 0; r < ranks.size(); ++r) {
      ASSERT_TRUE(ranks.rank(r).backend->AllocateWorkspace(limits).ok());
      cases.push_back(UploadNormCase(ranks.rank(r), r));
    }
    const std::vector<float> sum = SumInRankOrder(ranks.size(), kCols, DType::kBf16);
    ranks.Run([&](DeviceRank& rank, int index) {
      ASSERT_TRUE(rank.comm->promises().can_be_recorded);
      const NormCase& c = cases[static_cast<size_t>(index)];
      int calls = 0;
      for (int step = 0; step < 7; ++step) {
        rank.Write(c.delta, UnevenPart(index, kCols));
        rank.Write(c.residual, std::vector<float>(kCols, 0.0f));
        // Two sums a step, so that replays begin at every buffer.
        const absl::Status status = rank.backend->Issue(StepShape{1, 1, 1}, [&]() -> absl::Status {
          ++calls;
          const absl::Status first =
              rank.comm->AllReduceAddRmsNorm(c.delta, c.residual, *c.weight, 1e-6f, c.out);
          return first.ok() ? rank.comm->AllReduceSum(c.delta) : first;
        });
        ASSERT_TRUE(status.ok()) << status;
        EXPECT_EQ(rank.Read(c.residual), sum) << "step " << step;
        EXPECT_EQ(rank.Read(c.delta), sum) << "step " << step;
        ASSERT_TRUE(rank.comm->Check().ok());
      }
      EXPECT_LT(calls, 7);
    });
  }
}

TEST(PeerTest, GathersHoldEveryRanksStretch) {
  for (const std::vector<int>& devices : Groups()) {
    PeerRanks ranks(devices);
    for (const DType dtype : {DType::kF32, DType::kBf16}) {
      constexpr int64_t kRows = 3;
      const int64_t share = 5;
      const int64_t cols = share * ranks.size();
      std::vector<MatrixView> matrices;
      for (int r = 0; r < ranks.size(); ++r) {
        matrices.push_back(ranks.rank(r).Upload(Part(r, kRows * cols), dtype, kRows, cols, cols));
      }
      ranks.Run([&](DeviceRank& rank, int index) {
        const MatrixView matrix = matrices[static_cast<size_t>(index)];
        EXPECT_TRUE(rank.comm->AllGather(matrix).ok());
        const std::vector<float> got = rank.Read(matrix);
        for (int64_t i = 0; i < kRows * cols; ++i) {
          const auto owner = static_cast<int>(i % cols / share);
          ASSERT_EQ(got[static_cast<size_t>(i)], Part(owner, kRows * cols)[static_cast<size_t>(i)]);
        }
      });
    }
    MatrixView odd = ranks.rank(0).Upload(Part(0, 3), DType::kF32, 1, 3, 3);
    EXPECT_EQ(ranks.rank(0).comm->AllGather(odd).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(PeerTest, BroadcastsAndIntegersAreLeftToTheOther) {
  PeerRanks ranks({0, 0});
  const MatrixView ints = ranks.rank(1).Upload(Part(0, 8), DType::kI32, 1, 8, 8);
  Communicator& comm = *ranks.rank(1).comm;
  EXPECT_TRUE(comm.AllReduceSum(ints).ok());
  EXPECT_TRUE(comm.AllGather(ints).ok());
  EXPECT_TRUE(comm.Broadcast(ints, 1).ok());
  EXPECT_EQ(ranks.rest(1).calls, (std::vector<std::string>{"sum", "gather", "broadcast from 1"}));
}

TEST(PeerTest, APeerThatDoesNotComeIsNamed) {
  for (const std::vector<int>& devices : Groups()) {
    PeerRanks ranks(devices, {.timeout = std::chrono::milliseconds(100)});
    const int missing = ranks.size() - 1;
    std::vector<MatrixView> matrices;
    for (int r = 0; r < ranks.size(); ++r) {
      matrices.push_back(ranks.rank(r).Upload({1.0f}, DType::kF32, 1, 1, 1));
    }
    ranks.Run([&](DeviceRank& rank, int index) {
      if (index == missing) return;
      const MatrixView matrix = matrices[static_cast<size_t>(index)];
      EXPECT_TRUE(rank.comm->AllReduceSum(matrix).ok());
      rank.Read(matrix);  // returns, whatever it reads
      const absl::Status status = rank.comm->Check();
      EXPECT_TRUE(absl::IsAborted(status)) << status;
      EXPECT_NE(status.message().find("ms for rank " + std::to_string(missing)),
                absl::string_view::npos)
          << status;
      EXPECT_TRUE(absl::IsAborted(ranks.rest(index).health));
    });
    EXPECT_TRUE(absl::IsAborted(
        ranks.rank(missing).comm->AllReduceSum(matrices[static_cast<size_t>(missing)])));
  }
}

TEST(PeerTest, AbortEndsWhatWaitsForAPeer) {
  for (const std::vector<int>& devices : Groups()) {
    PeerRanks ranks(devices, {.timeout = std::chrono::minutes(5)});
    const MatrixView matrix = ranks.rank(0).Upload({1.0f}, DType::kF32, 1, 1, 1);
    EXPECT_TRUE(ranks.rank(0).comm->AllReduceSum(matrix).ok());
    ranks.rank(1).comm->Abort();
    ranks.rank(0).Read(matrix);  // returns, whatever it reads
    for (int r = 0; r < ranks.size(); ++r) {
      EXPECT_TRUE(absl::IsAborted(ranks.rank(r).comm->Check()));
      EXPECT_TRUE(absl::IsAborted(ranks.rank(r).comm->Broadcast(matrix, 0)));
    }
  }
}

TEST(PeerTest, AFailureOfTheOtherEndsSums) {
  PeerRanks ranks({0, 0});
  const MatrixView matrix = ranks.rank(1).Upload({1.0f}, DType::kF32, 1, 1, 1);
  ranks.rest(0).health = absl::AbortedError("a connection was lost");
  EXPECT_EQ(ranks.rank(0).comm->Check().message(), "a connection was lost");
  EXPECT_TRUE(absl::IsAborted(ranks.rank(1).comm->AllReduceSum(matrix)));
}

TEST(PeerTest, RefusesRanksThatItHasNoKernelsFor) {
  const auto gpu = *MakeCudaBackend({.device = 0});
  const auto cpu = *MakeCpuBackend({.num_threads = 1, .kernels = ""});
  EXPECT_TRUE(CanSumThroughPeers({gpu.get(), gpu.get()}));
  EXPECT_FALSE(CanSumThroughPeers({gpu.get(), cpu.get()}));
  EXPECT_FALSE(CanSumThroughPeers({gpu.get(), gpu.get(), gpu.get()}));
  std::vector<PeerRank> ranks;
  ranks.push_back({cpu.get(), std::make_unique<SingleRankCommunicator>(cpu.get())});
  EXPECT_EQ(MakePeerCommunicators(std::move(ranks), {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) {
  // Before anything of CUDA. Ranks on one device need a hardware queue each; and kernels that wait
  // for each other must not be loaded when they are first launched, since loading waits for what
  // runs.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
  setenv("CUDA_MODULE_LOADING", "EAGER", 1);
  ::testing::InitGoogleTest(&argc, argv);
  if (pingti::worker::NumDevices() < 1) {
    std::printf("SKIPPED: no CUDA device\n");
    return 77;
  }
  return RUN_ALL_TESTS();
}
