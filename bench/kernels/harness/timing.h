// Timing of device work: a graph of back-to-back launches over rotating buffers, between two
// events, repeated; the median and the 10th and 90th percentile of the time of one launch. Bench
// code: a CUDA error ends the program with a message. Single thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace pingti::kernels::bench {

// Microseconds of one launch.
struct Timing {
  double median_us = 0;
  double p10_us = 0;
  double p90_us = 0;
};

struct TimingOptions {
  int launches_per_sample = 0;  // 0: as many as make a sample of about sample_us
  double sample_us = 1000;
  int samples = 15;
  // Idle time before the samples. Matrix products heat the card until it lowers its clock; after a
  // pause every candidate starts from the same state. 0 times the card as the last one left it.
  int pause_ms = 0;
};

// Times `launch(set, stream)`, which must be capturable; `set` runs over 0..num_sets-1. Warms up
// over every set first. A failed launch ends the program and names `what`.
Timing TimeLaunches(const char* what, int num_sets,
                    const std::function<cudaError_t(int set, cudaStream_t stream)>& launch,
                    const TimingOptions& options = {});

// Sets to rotate through so that `bytes_per_set` are out of the L2 when their turn comes again.
int SetsBeyondL2(size_t bytes_per_set);

}  // namespace pingti::kernels::bench
