// One size of all-reduce on every rank: its matrices, graphs of many calls, their time, and whether
// the sums are right. Bench code: a CUDA error ends the program.
#pragma once

#include <cuda_bf16.h>

#include <functional>
#include <string>
#include <vector>

#include "bench/kernels/comm/nccl.h"
#include "pingti/kernels/all_reduce.h"
#include "tests/kernels/comm/ranks.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {

// Microseconds of one call: the median over replays, of the slowest and of the fastest rank.
struct CommTime {
  double slowest_us = 0;
  double fastest_us = 0;
};

class CommCase {
 public:
  // bf16 [rows, cols]; the calls of a graph go round kSets sets of matrices, so that what a call
  // leaves behind is not what a later one expects.
  CommCase(testing::Ranks* ranks, int rows, int cols);

  int64_t bytes() const { return int64_t{rows_} * cols_ * 2; }

  CommTime TimeSum(const AllReduceShape& shape);
  CommTime TimeSumNorm(const AllReduceShape& shape);
  // The same in two kernels.
  CommTime TimeSumThenNorm(const AllReduceShape& shape);
  CommTime TimeGather();
  // Of as many bytes that lie together.
  CommTime TimeNcclGather(const Nccl& nccl, const std::vector<void*>& communicators);
  CommTime TimeNccl(const Nccl& nccl, const std::vector<void*>& communicators);

  // Elements over all ranks that are not the sum in rank order, after TimeSum.
  size_t CountWrongSums() const;
  // Bytes in which ranks differ from rank 0, after TimeSumNorm.
  size_t CountDifferences() const;

 private:
  using T = __nv_bfloat16;
  static constexpr int kSets = 5;
  static constexpr int kReplays = 15;
  static constexpr size_t kMaxChecked = size_t{4} << 20;  // elements of a rank, the first ones

  // Of all sets, on one rank's device.
  struct RankData {
    testing::DeviceBuffer<T> x;
    testing::DeviceBuffer<T> out;
    testing::DeviceBuffer<T> residual;
    testing::DeviceBuffer<int8_t> quantized;
    testing::DeviceBuffer<float> scales;
    testing::DeviceBuffer<float> weight;
  };

  size_t set_size() const { return static_cast<size_t>(rows_) * cols_; }
  RmsNormParams NormOf(int rank, int set, const T* x) const;
  AllReduceParams SumOf(int rank, int set, const AllReduceShape& shape);
  CommTime Time(const std::function<void(int rank, int set)>& call);

  testing::Ranks& ranks_;
  const int rows_;
  const int cols_;
  std::vector<RankData> data_;
};

}  // namespace pingti::kernels::bench
