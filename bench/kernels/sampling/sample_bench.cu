// Question: what does sampling cost a decode step, on one device and on each of 2 or 8 that share
// the vocabulary? Vocabulary 152064, batches of 1, 32, 128 and 256 rows. Baseline, same run: a
// device copy of the logits (read plus written). Of several devices it is the record of one part;
// the exchange is not in it. Correctness: sample_test, and ops_sampling_parts_test of the backend.
//
//   bench_sample [--only TEXT] [ROWS...]      settings whose name contains TEXT; default: 1 32 128
//   256
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/kernels/harness/fill.h"
#include "bench/kernels/harness/timing.h"
#include "pingti/kernels/sample_parts.h"
#include "pingti/kernels/sampling.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

using testing::DeviceBuffer;

constexpr int kVocab = 152064;
constexpr int kTop = 5;

struct Setting {
  const char* name;
  float low, high;  // logits, uniform
  SamplingRowParams row;
};

// Candidates that a part tells of such a row.
int NumCandidates(const SamplingRowParams& row) {
  if (row.temperature <= 0 || (row.top_k <= 0 && row.top_p >= 1)) return 1;
  return row.top_k > 0 ? row.top_k : kMaxPartCandidates;
}

// The record of a part of the rows of `logits`.
Timing TimePart(const Setting& setting, int num_rows, int num_parts, const float* logits,
                int sets) {
  const int candidates = NumCandidates(setting.row);
  const int top = setting.row.num_top_logprobs > 0 ? (kTop + 1) / 2 * 2 : 0;
  std::vector<SamplingRowParams> host_rows(num_rows, setting.row);
  for (int i = 0; i < num_rows; ++i) {
    host_rows[i].position = i;
    host_rows[i].num_candidates = candidates;
  }
  const DeviceBuffer<SamplingRowParams> rows(host_rows);
  SamplePartsParams p;
  p.part_size = kVocab / num_parts;
  size_t bytes = 0;
  PINGTI_CUDA(SampleWorkspaceBytes(num_rows, p.part_size, &bytes));
  const DeviceBuffer<uint8_t> workspace(bytes);
  const DeviceBuffer<float> records(static_cast<size_t>(num_rows) *
                                    PartRecordSize(candidates, top));
  p.logits_stride = kVocab;
  p.rows = rows.data();
  p.workspace = workspace.data();
  p.records = records.data();
  p.records_stride = PartRecordSize(candidates, top);
  p.candidates = candidates;
  p.top = top;
  p.num_rows = num_rows;
  const int64_t size = static_cast<int64_t>(num_rows) * kVocab;
  return TimeLaunches("part", sets, [&](int set, cudaStream_t stream) {
    SamplePartsParams launch = p;
    launch.logits = logits + set * size;
    return LaunchSampleParts(launch, stream);
  });
}

void Run(const Setting& setting, int num_rows) {
  const size_t size = static_cast<size_t>(num_rows) * kVocab;
  const int sets = SetsBeyondL2(size * sizeof(float));
  const DeviceBuffer<float> logits(size * sets), copy(size);
  PINGTI_CUDA(FillF32(logits.data(), size * sets, setting.low, setting.high, 1));
  std::vector<SamplingRowParams> host_rows(num_rows, setting.row);
  for (int i = 0; i < num_rows; ++i) host_rows[i].position = i;
  const DeviceBuffer<SamplingRowParams> rows(host_rows);
  const DeviceBuffer<int32_t> tokens(num_rows), top_ids(num_rows * kTop);
  const DeviceBuffer<float> logprobs(num_rows), top_logprobs(num_rows * kTop);
  size_t bytes = 0;
  PINGTI_CUDA(SampleWorkspaceBytes(num_rows, kVocab, &bytes));
  const DeviceBuffer<uint8_t> workspace(bytes);
  SampleParams p;
  p.logits_stride = p.vocab_size = kVocab;
  p.rows = rows.data();
  p.workspace = workspace.data();
  p.token_ids = tokens.data();
  if (setting.row.num_top_logprobs >= 0) p.logprobs = logprobs.data();
  p.top_ids = top_ids.data();
  p.top_logprobs = top_logprobs.data();
  p.max_top_logprobs = setting.row.num_top_logprobs >= 0 ? kTop : 0;
  p.num_rows = num_rows;
  const Timing time = TimeLaunches(setting.name, sets, [&](int set, cudaStream_t stream) {
    SampleParams launch = p;
    launch.logits = logits.data() + set * size;
    return LaunchSample(launch, stream);
  });
  const Timing base = TimeLaunches("copy", sets, [&](int set, cudaStream_t stream) {
    return cudaMemcpyAsync(copy.data(), logits.data() + set * size, size * sizeof(float),
                           cudaMemcpyDeviceToDevice, stream);
  });
  const Timing half = TimePart(setting, num_rows, 2, logits.data(), sets);
  const Timing eighth = TimePart(setting, num_rows, 8, logits.data(), sets);
  std::printf("| %-32s | %4d | %8.2f | %8.2f | %8.2f | %7.2f | %5.2f | %8.2f | %8.2f |\n",
              setting.name, num_rows, time.median_us, time.p10_us, time.p90_us, base.median_us,
              time.median_us / base.median_us, half.median_us, eighth.median_us);
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  using namespace pingti::kernels::bench;
  using pingti::kernels::SamplingRowParams;
  std::string only;
  std::vector<int> row_counts;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else {
      row_counts.push_back(std::atoi(argv[i]));
    }
  }
  if (row_counts.empty()) row_counts = {1, 32, 128, 256};
  SamplingRowParams greedy, plain, usual, tops, flat;
  greedy.temperature = 0;
  usual.temperature = 0.6f;
  usual.top_p = 0.95f;
  usual.top_k = 40;
  tops = usual;
  tops.num_top_logprobs = kTop;
  flat.top_p = 0.9f;
  const Setting settings[] = {
      {"argmax", -40, 20, greedy},
      {"temperature", -40, 20, plain},
      {"temperature, top_k 40, top_p 0.95", -40, 20, usual},
      {"the same, 5 top logprobs", -40, 20, tops},
      {"temperature 1, logits within 4", -2, 2, plain},
      {"top_p 0.9, logits within 4", -2, 2, flat},
      {"flat logits, top_p 0.9", -0.1f, 0.1f, flat},
  };
  std::printf(
      "| sampling, vocabulary %d | rows | us | p10 | p90 | copy us | / copy | half us | eighth us "
      "|\n"
      "|---|---|---|---|---|---|---|---|---|\n",
      kVocab);
  for (const Setting& setting : settings) {
    if (std::string(setting.name).find(only) == std::string::npos) continue;
    for (const int rows : row_counts) Run(setting, rows);
  }
  return 0;
}
