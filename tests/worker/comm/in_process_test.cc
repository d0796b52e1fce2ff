#include "worker/comm/in_process.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace pingti::worker {
namespace {

TEST(InProcessGroupTest, EveryRankGetsTheSameSumInRankOrder) {
  constexpr int kRanks = 3;
  constexpr int64_t kValues = 12;
  InProcessGroup group(kRanks);
  auto ranks = group.MakeCommunicators();
  std::vector<std::vector<float>> data(kRanks);
  std::vector<std::thread> threads;
  for (int r = 0; r < kRanks; ++r) {
    data[static_cast<size_t>(r)].assign(kValues, 0.1f + static_cast<float>(r));
    threads.emplace_back([&, r] {
      for (int round = 0; round < 50; ++round) {
        MatrixView matrix{data[static_cast<size_t>(r)].data(), DType::kF32, 3, 4, 4};
        if (round > 0) {
          for (float& value : data[static_cast<size_t>(r)]) value *= 0.25f;
        }
        ASSERT_TRUE(ranks[static_cast<size_t>(r)]->AllReduceSum(matrix).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  float expected = (0.1f + 1.1f) + 2.1f;
  for (int round = 1; round < 50; ++round) {
    const float part = expected * 0.25f;
    expected = (part + part) + part;
  }
  for (const auto& values : data) EXPECT_EQ(values, std::vector<float>(kValues, expected));
}

TEST(InProcessGroupTest, AbortReleasesARankThatWaits) {
  InProcessGroup group(2);
  auto ranks = group.MakeCommunicators();
  float value = 1.0f;
  absl::Status status;
  std::thread waiting([&] { status = ranks[0]->AllReduceSum({&value, DType::kF32, 1, 1, 1}); });
  group.Abort();
  waiting.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace pingti::worker
