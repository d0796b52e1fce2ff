#include <algorithm>
#include <cstring>
#include <thread>

#include "bench/kernels/comm/comm_case.h"
#include "bench/kernels/harness/fill.h"
#include "tests/kernels/testing/compare.h"

namespace pingti::kernels::bench {
namespace {

// Runs `body` for each rank in a thread of its own, as a worker does.
void OnEveryRank(const testing::Ranks& ranks, const std::function<void(int rank)>& body) {
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks.size(); ++r) {
    threads.emplace_back([&, r] {
      ranks.Use(r);
      body(r);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

CommCase::CommCase(testing::Ranks* ranks, int rows, int cols)
    : ranks_(*ranks), rows_(rows), cols_(cols) {
  const size_t size = kSets * set_size();
  for (int r = 0; r < ranks_.size(); ++r) {
    ranks_.Use(r);
    data_.push_back({testing::DeviceBuffer<T>(size), testing::DeviceBuffer<T>(size),
                     testing::DeviceBuffer<T>(size), testing::DeviceBuffer<int8_t>(size),
                     testing::DeviceBuffer<float>(static_cast<size_t>(kSets) * rows),
                     testing::DeviceBuffer<float>(cols)});
    PINGTI_CUDA(FillBf16(data_[r].x.data(), size, -1.0f, 1.0f, 7 + r));
    PINGTI_CUDA(FillBf16(data_[r].residual.data(), size, -1.0f, 1.0f, 3));
    PINGTI_CUDA(FillF32(data_[r].weight.data(), cols, -1.0f, 1.0f, 4));
  }
  ranks_.SynchronizeDevices();
}

RmsNormParams CommCase::NormOf(int rank, int set, const T* x) const {
  const RankData& data = data_[rank];
  RmsNormParams p;
  p.x = x;
  p.residual = data.residual.data() + set * set_size();
  p.weight = data.weight.data();
  p.quantized = data.quantized.data() + set * set_size();
  p.scales = data.scales.data() + static_cast<size_t>(set) * rows_;
  p.x_stride = p.residual_stride = p.quantized_stride = p.hidden = cols_;
  p.num_tokens = rows_;
  return p;
}

AllReduceParams CommCase::SumOf(int rank, int set, const AllReduceShape& shape) {
  AllReduceParams p;
  p.link = ranks_.group().link(rank);
  p.x = data_[rank].x.data() + set * set_size();
  p.out = data_[rank].out.data() + set * set_size();
  p.x_stride = p.out_stride = p.cols = cols_;
  p.rows = rows_;
  p.shape = shape;
  return p;
}

CommTime CommCase::TimeSum(const AllReduceShape& shape) {
  return Time([&](int rank, int set) {
    PINGTI_CUDA(LaunchAllReduce(SumOf(rank, set, shape), ranks_.stream(rank)));
  });
}

CommTime CommCase::TimeSumNorm(const AllReduceShape& shape) {
  return Time([&](int rank, int set) {
    AllReduceRmsNormParams p;
    p.link = ranks_.group().link(rank);
    p.norm = NormOf(rank, set, data_[rank].x.data() + set * set_size());
    p.shape = shape;
    PINGTI_CUDA(LaunchAllReduceRmsNorm(p, ranks_.stream(rank)));
  });
}

CommTime CommCase::TimeSumThenNorm(const AllReduceShape& shape) {
  return Time([&](int rank, int set) {
    const AllReduceParams p = SumOf(rank, set, shape);
    PINGTI_CUDA(LaunchAllReduce(p, ranks_.stream(rank)));
    PINGTI_CUDA(
        LaunchRmsNorm(NormOf(rank, set, static_cast<const T*>(p.out)), ranks_.stream(rank)));
  });
}

CommTime CommCase::TimeNccl(const Nccl& nccl, const std::vector<void*>& communicators) {
  return Time([&](int rank, int set) {
    nccl.AllReduce(data_[rank].x.data() + set * set_size(),
                   data_[rank].out.data() + set * set_size(), set_size(), communicators[rank],
                   ranks_.stream(rank));
  });
}

CommTime CommCase::TimeGather() {
  return Time([&](int rank, int set) {
    AllGatherParams p;
    p.link = ranks_.group().link(rank);
    p.matrix = data_[rank].out.data() + set * set_size();
    p.stride = p.cols = cols_;
    p.rows = rows_;
    PINGTI_CUDA(LaunchAllGather(p, ranks_.stream(rank)));
  });
}

CommTime CommCase::TimeNcclGather(const Nccl& nccl, const std::vector<void*>& communicators) {
  return Time([&](int rank, int set) {
    nccl.AllGather(data_[rank].out.data() + set * set_size(), set_size() / ranks_.size(), rank,
                   communicators[rank], ranks_.stream(rank));
  });
}

CommTime CommCase::Time(const std::function<void(int rank, int set)>& call) {
  const int calls = kSets * (bytes() <= (1 << 20) ? 40 : 4);
  const int size = ranks_.size();
  std::vector<cudaGraphExec_t> graphs(size);
  std::vector<cudaEvent_t> starts(size);
  std::vector<cudaEvent_t> stops(size);
  OnEveryRank(ranks_, [&](int rank) {
    const cudaStream_t stream = ranks_.stream(rank);
    PINGTI_CUDA(cudaEventCreate(&starts[rank]));
    PINGTI_CUDA(cudaEventCreate(&stops[rank]));
    call(rank, 0);  // also connects NCCL's ranks
    PINGTI_CUDA(cudaStreamSynchronize(stream));
    cudaGraph_t graph;
    PINGTI_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < calls; ++i) call(rank, i % kSets);
    PINGTI_CUDA(cudaStreamEndCapture(stream, &graph));
    PINGTI_CUDA(cudaGraphInstantiate(&graphs[rank], graph, 0));
    PINGTI_CUDA(cudaGraphDestroy(graph));
  });
  std::vector<std::vector<double>> times(size);
  for (int replay = 0; replay < kReplays; ++replay) {
    // Until all graphs are launched.
    for (int r = 0; r < size; ++r) ranks_.Delay(r, 300'000 + 100'000 * size);
    for (int r = 0; r < size; ++r) {
      ranks_.Use(r);
      PINGTI_CUDA(cudaEventRecord(starts[r], ranks_.stream(r)));
      PINGTI_CUDA(cudaGraphLaunch(graphs[r], ranks_.stream(r)));
      PINGTI_CUDA(cudaEventRecord(stops[r], ranks_.stream(r)));
    }
    ranks_.Synchronize();
    for (int r = 0; r < size; ++r) {
      float ms = 0;
      PINGTI_CUDA(cudaEventElapsedTime(&ms, starts[r], stops[r]));
      times[r].push_back(ms * 1000.0 / calls);
    }
  }
  CommTime time{0, 1e30};
  for (int r = 0; r < size; ++r) {
    std::sort(times[r].begin(), times[r].end());
    time.slowest_us = std::max(time.slowest_us, times[r][kReplays / 2]);
    time.fastest_us = std::min(time.fastest_us, times[r][kReplays / 2]);
    ranks_.Use(r);
    PINGTI_CUDA(cudaGraphExecDestroy(graphs[r]));
    PINGTI_CUDA(cudaEventDestroy(starts[r]));
    PINGTI_CUDA(cudaEventDestroy(stops[r]));
  }
  return time;
}

size_t CommCase::CountWrongSums() const {
  const size_t checked = std::min(kSets * set_size(), kMaxChecked);
  const auto read = [&](const testing::DeviceBuffer<T>& from) {
    std::vector<T> values(checked);
    PINGTI_CUDA(
        cudaMemcpy(values.data(), from.data(), checked * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  };
  std::vector<float> sums(checked, 0.0f);
  for (size_t r = 0; r < data_.size(); ++r) {
    const std::vector<T> part = read(data_[r].x);
    for (size_t i = 0; i < checked; ++i) {
      sums[i] = r == 0 ? __bfloat162float(part[i]) : sums[i] + __bfloat162float(part[i]);
    }
  }
  size_t wrong = 0;
  for (const RankData& data : data_) {
    const std::vector<T> got = read(data.out);
    for (size_t i = 0; i < checked; ++i) {
      const T want = __float2bfloat16_rn(sums[i]);
      wrong += std::memcmp(&got[i], &want, sizeof(T)) != 0;
    }
  }
  return wrong;
}

size_t CommCase::CountDifferences() const {
  const size_t checked = std::min(kSets * set_size(), kMaxChecked);
  const auto read = [&](const auto& from) {
    std::vector<char> bytes(checked * sizeof(*from.data()));
    PINGTI_CUDA(cudaMemcpy(bytes.data(), from.data(), bytes.size(), cudaMemcpyDeviceToHost));
    return bytes;
  };
  const auto count = [](const std::vector<char>& a, const std::vector<char>& b) {
    size_t differences = 0;
    for (size_t i = 0; i < a.size(); ++i) differences += a[i] != b[i];
    return differences;
  };
  const std::vector<char> quantized = read(data_[0].quantized);
  const std::vector<char> residual = read(data_[0].residual);
  size_t differences = 0;
  for (const RankData& data : data_) {
    differences += count(quantized, read(data.quantized)) + count(residual, read(data.residual));
  }
  return differences;
}

}  // namespace pingti::kernels::bench
