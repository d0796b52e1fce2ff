// Collectives between two or more GPUs against sums in float64, issued one by one and from a
// backend's record; and groups that are aborted. Exits with 77 where there are fewer than two
// devices.
#include "worker/comm/nccl.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/worker/comm/device_rank.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace pingti::worker {
namespace {

using testing::DeviceRank;
using testing::Part;
using testing::Sum;

constexpr int kMaxRanks = 4;

int NumDevices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

// Runs `body` as every rank of a new group, each in a thread of its own.
void RunRanks(const std::function<void(DeviceRank& rank, int index, int size)>& body) {
  const int size = std::min(NumDevices(), kMaxRanks);
  const NcclId id = *MakeNcclId();
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      DeviceRank rank;
      rank.backend = *MakeCudaBackend({.device = r});
      auto comm = MakeNcclCommunicator(rank.backend.get(), {.rank = r, .size = size, .id = id});
      ASSERT_TRUE(comm.ok()) << comm.status();
      rank.comm = *std::move(comm);
      body(rank, r, size);
      rank.comm.reset();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct Case {
  DType dtype;
  int64_t rows, cols, stride;
};
constexpr Case kCases[] = {{DType::kF32, 3, 64, 64},       {DType::kBf16, 3, 64, 64},
                           {DType::kI32, 3, 64, 64},       {DType::kF32, 5, 12, 16},
                           {DType::kBf16, 7, 36, 40},      {DType::kI32, 1, 12, 12},
                           {DType::kBf16, 64, 8192, 8192}, {DType::kF32, 0, 12, 12}};

// Sums up to 4 * 100 round in bf16 by at most 2 units of their last place.
float Tolerance(DType dtype) { return dtype == DType::kBf16 ? 4.0f : 0.0f; }

TEST(NcclTest, CollectivesOfEveryDtypeEqualTheFormula) {
  RunRanks([](DeviceRank& rank, int index, int size) {
    for (const Case& c : kCases) {
      const int64_t count = c.rows * c.cols;
      const MatrixView matrix = rank.Upload(Part(index, count), c.dtype, c.rows, c.cols, c.stride);
      EXPECT_TRUE(rank.comm->AllReduceSum(matrix).ok());
      const std::vector<float> sum = Sum(size, count);
      const std::vector<float> got = rank.Read(matrix);
      for (size_t i = 0; i < sum.size(); ++i) {
        ASSERT_NEAR(got[i], sum[i], Tolerance(c.dtype)) << DTypeName(c.dtype) << " at " << i;
      }

      rank.Write(matrix, Part(index, count));
      EXPECT_TRUE(rank.comm->Broadcast(matrix, size - 1).ok());
      EXPECT_EQ(rank.Read(matrix), Part(size - 1, count));

      rank.Write(matrix, Part(index, count));
      if (c.cols % size != 0) {
        EXPECT_EQ(rank.comm->AllGather(matrix).code(), absl::StatusCode::kInvalidArgument);
        continue;
      }
      EXPECT_TRUE(rank.comm->AllGather(matrix).ok());
      const std::vector<float> gathered = rank.Read(matrix);
      std::vector<std::vector<float>> parts;
      for (int r = 0; r < size; ++r) parts.push_back(Part(r, count));
      for (int64_t i = 0; i < count; ++i) {
        const auto owner = static_cast<size_t>(i % c.cols / (c.cols / size));
        ASSERT_EQ(gathered[static_cast<size_t>(i)], parts[owner][static_cast<size_t>(i)]);
      }
    }
  });
}

TEST(NcclTest, ARecordRepeatsItsCollectives) {
  constexpr int64_t kCols = 256;
  RunRanks([](DeviceRank& rank, int index, int size) {
    ASSERT_TRUE(rank.comm->promises().can_be_recorded);
    StepLimits limits;
    limits.max_tokens = 1;
    limits.max_seqs = 1;
    limits.max_in_features = kCols;
    limits.max_blocks_per_seq = 1;
    limits.num_heads = limits.num_kv_heads = 1;
    limits.head_dim = 64;
    limits.vocab_size = 100;
    ASSERT_TRUE(rank.backend->AllocateWorkspace(limits).ok());
    const MatrixView delta = rank.Upload(Part(index, kCols), DType::kBf16, 1, kCols, kCols);
    const MatrixView residual =
        rank.Upload(std::vector<float>(kCols, 0.0f), DType::kBf16, 1, kCols, kCols);
    const MatrixView out =
        rank.Upload(std::vector<float>(kCols, 0.0f), DType::kBf16, 1, kCols, kCols);
    const auto weight = *rank.backend->UploadF32(std::vector<float>(kCols, 1.0f));
    int calls = 0;
    const std::vector<float> sum = Sum(size, kCols);
    for (int step = 0; step < 6; ++step) {
      rank.Write(delta, Part(index, kCols));
      rank.Write(residual, std::vector<float>(kCols, 0.0f));
      const absl::Status status = rank.backend->Issue(StepShape{1, 1, 1}, [&]() -> absl::Status {
        ++calls;
        return rank.comm->AllReduceAddRmsNorm(delta, residual, *weight, 1e-6f, out);
      });
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_TRUE(rank.comm->Check().ok());
      const std::vector<float> got = rank.Read(residual);
      const std::vector<float> normed = rank.Read(out);
      double squares = 0.0;
      for (const float value : got) squares += static_cast<double>(value) * value;
      const double scale = 1.0 / std::sqrt(squares / kCols + 1e-6);
      for (size_t i = 0; i < sum.size(); ++i) {
        ASSERT_NEAR(got[i], sum[i], 4.0) << "step " << step;
        ASSERT_NEAR(normed[i], got[i] * scale, 2e-2) << "step " << step;
      }
    }
    EXPECT_LT(calls, 6);
  });
}

TEST(NcclTest, AbortEndsWhatWaitsForAPeer) {
  RunRanks([](DeviceRank& rank, int index, int size) {
    const MatrixView matrix = rank.Upload({1.0f}, DType::kF32, 1, 1, 1);
    ASSERT_TRUE(rank.comm->AllReduceSum(matrix).ok());
    EXPECT_EQ(rank.Read(matrix)[0], static_cast<float>(size));
    if (index == 0) return;  // the others wait for it in vain
    std::thread aborter([&] { rank.comm->Abort(); });
    const absl::Status issued = rank.comm->AllReduceSum(matrix);
    EXPECT_TRUE(issued.ok() || absl::IsAborted(issued)) << issued;
    rank.Read(matrix);  // returns, whatever it reads
    aborter.join();
    EXPECT_TRUE(absl::IsAborted(rank.comm->Check()));
    EXPECT_TRUE(absl::IsAborted(rank.comm->Broadcast(matrix, 0)));
  });
}

TEST(NcclTest, ARankWhosePeersDoNotComeGivesUp) {
  const auto backend = *MakeCudaBackend({.device = 0});
  const auto comm = MakeNcclCommunicator(
      backend.get(),
      {.rank = 1, .size = 2, .id = *MakeNcclId(), .join_timeout = std::chrono::seconds(2)});
  EXPECT_EQ(comm.status().code(), absl::StatusCode::kDeadlineExceeded) << comm.status();
  EXPECT_EQ(MakeNcclCommunicator(backend.get(), {.rank = 2, .size = 2, .id = {}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pingti::worker

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (pingti::worker::NumDevices() < 2) {
    std::printf("SKIPPED: %d CUDA devices; expected two\n", pingti::worker::NumDevices());
    return 77;
  }
  return RUN_ALL_TESTS();
}
