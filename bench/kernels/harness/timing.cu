#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "bench/kernels/harness/timing.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

void Check(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

}  // namespace

int SetsBeyondL2(size_t bytes_per_set) {
  int device = 0;
  int l2_bytes = 0;
  PINGTI_CUDA(cudaGetDevice(&device));
  PINGTI_CUDA(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device));
  const size_t wanted = 4 * static_cast<size_t>(l2_bytes);
  return static_cast<int>(std::max<size_t>(2, (wanted + bytes_per_set - 1) / bytes_per_set + 1));
}

Timing TimeLaunches(const char* what, int num_sets,
                    const std::function<cudaError_t(int, cudaStream_t)>& launch,
                    const TimingOptions& options) {
  cudaStream_t stream;
  cudaEvent_t start;
  cudaEvent_t stop;
  PINGTI_CUDA(cudaStreamCreate(&stream));
  PINGTI_CUDA(cudaEventCreate(&start));
  PINGTI_CUDA(cudaEventCreate(&stop));
  const auto elapsed_us = [&] {
    float ms = 0;
    PINGTI_CUDA(cudaEventSynchronize(stop));
    PINGTI_CUDA(cudaEventElapsedTime(&ms, start, stop));
    return ms * 1000.0;
  };

  Check(what, launch(0, stream));
  PINGTI_CUDA(cudaEventRecord(start, stream));
  for (int i = 0; i < num_sets; ++i) Check(what, launch(i, stream));
  PINGTI_CUDA(cudaEventRecord(stop, stream));
  const double rough_us = elapsed_us() / num_sets;
  const int launches =
      options.launches_per_sample > 0
          ? options.launches_per_sample
          : std::max(1, static_cast<int>(std::lround(options.sample_us / rough_us)));

  cudaGraph_t graph;
  cudaGraphExec_t executable;
  PINGTI_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < launches; ++i) Check(what, launch(i % num_sets, stream));
  PINGTI_CUDA(cudaStreamEndCapture(stream, &graph));
  PINGTI_CUDA(cudaGraphInstantiate(&executable, graph, 0));

  PINGTI_CUDA(cudaStreamSynchronize(stream));
  std::this_thread::sleep_for(std::chrono::milliseconds(options.pause_ms));
  PINGTI_CUDA(cudaGraphLaunch(executable, stream));  // wakes the clock up again

  std::vector<double> times;
  for (int i = 0; i < options.samples; ++i) {
    PINGTI_CUDA(cudaEventRecord(start, stream));
    PINGTI_CUDA(cudaGraphLaunch(executable, stream));
    PINGTI_CUDA(cudaEventRecord(stop, stream));
    times.push_back(elapsed_us() / launches);
  }
  PINGTI_CUDA(cudaGraphExecDestroy(executable));
  PINGTI_CUDA(cudaGraphDestroy(graph));
  PINGTI_CUDA(cudaEventDestroy(start));
  PINGTI_CUDA(cudaEventDestroy(stop));
  PINGTI_CUDA(cudaStreamDestroy(stream));
  std::sort(times.begin(), times.end());
  const auto at = [&](double q) {
    return times[static_cast<size_t>(std::lround(q * (times.size() - 1)))];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

}  // namespace pingti::kernels::bench
