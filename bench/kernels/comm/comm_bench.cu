// Question: what does an all-reduce of bf16 over the GPUs of one host cost within a graph of many
// calls, alone and with residual, norm and quantization; at which sizes is which way the fastest?
// Baseline, same run: NCCL's all-reduce, out of place, in the same kind of graph.
//
//   bench_comm [--ranks N] [--one-device] [--nccl LIBNCCL] [--variants]
//
// --ranks: 2, 4 or 8, default: as many as there are devices. --one-device: all on device 0, to see
// that it works. --variants: instead, every way of cutting a launch. Sums are checked bit for bit,
// the fused kernel for equality between ranks. Rows of 8,192, as in a model of 72B, have 16 KB.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/kernels/comm/comm_case.h"

namespace pingti::kernels::bench {
namespace {

struct Options {
  int num_ranks = 0;
  bool one_device = false;
  bool variants = false;
  const char* nccl = nullptr;
};

struct Size {
  int rows;
  int cols;
};
constexpr Size kSizes[] = {{1, 2048},   {1, 4096},   {1, 8192},    {2, 8192},   {4, 8192},
                           {8, 8192},   {16, 8192},  {32, 8192},   {64, 8192},  {128, 8192},
                           {256, 8192}, {512, 8192}, {2048, 8192}, {8192, 8192}};

void PrintTable(testing::Ranks* ranks, const Nccl* nccl, const std::vector<int>& devices) {
  std::vector<void*> communicators;
  if (nccl != nullptr) communicators = nccl->Join(devices);
  std::printf(
      "\n| KB | sum us | sum + norm + int8 us | two kernels us | NCCL us | NCCL / sum | "
      "fastest rank: sum, fused | wrong sums, differences |\n"
      "|---|---|---|---|---|---|---|---|\n");
  for (const Size& size : kSizes) {
    CommCase bench(ranks, size.rows, size.cols);
    const CommTime two_kernels = bench.TimeSumThenNorm({});
    const CommTime fused = bench.TimeSumNorm({});
    const size_t differences = bench.CountDifferences();
    const CommTime sum = bench.TimeSum({});
    const size_t wrong = bench.CountWrongSums();
    CommTime other;
    if (nccl != nullptr) other = bench.TimeNccl(*nccl, communicators);
    std::printf("| %6.0f | %7.2f | %7.2f | %7.2f | %7.2f | %5.2f | %.2f, %.2f | %zu, %zu |\n",
                bench.bytes() / 1024.0, sum.slowest_us, fused.slowest_us, two_kernels.slowest_us,
                other.slowest_us, other.slowest_us / sum.slowest_us, sum.fastest_us,
                fused.fastest_us, wrong, differences);
    std::fflush(stdout);
  }
}

// Logits in f32, as many bytes as bf16 of twice the columns.
void PrintGathers(testing::Ranks* ranks, const Nccl* nccl, const std::vector<int>& devices) {
  std::vector<void*> communicators;
  if (nccl != nullptr) communicators = nccl->Join(devices);
  std::printf("\n| logits, rows of 152,064 | gather us | NCCL us |\n|---|---|---|\n");
  for (const int rows : {1, 8, 32, 64}) {
    CommCase bench(ranks, rows, 2 * 152064);
    const CommTime own = bench.TimeGather();
    CommTime other;
    if (nccl != nullptr) other = bench.TimeNcclGather(*nccl, communicators);
    std::printf("| %d | %.2f | %.2f |\n", rows, own.slowest_us, other.slowest_us);
    std::fflush(stdout);
  }
}

void PrintSumVariants(testing::Ranks* ranks) {
  std::printf(
      "\nsum, us by blocks\n| KB | shots | threads | 4 | 8 | 16 | 32 | 64 | 132 | 264 |\n"
      "|---|---|---|---|---|---|---|---|---|---|\n");
  for (const Size& size : kSizes) {
    CommCase bench(ranks, size.rows, size.cols);
    if (bench.bytes() > int64_t{32} << 20) continue;
    for (int shots = 1; shots <= (ranks->size() == 2 ? 1 : 2); ++shots) {
      for (int threads : {128, 256, 512}) {
        std::printf("| %6.0f | %d | %d |", bench.bytes() / 1024.0, shots, threads);
        for (int blocks : {4, 8, 16, 32, 64, 132, 264}) {
          AllReduceShape shape;
          shape.shots = shots;
          shape.threads = threads;
          shape.blocks = blocks;
          const bool is_slow = bench.bytes() / 16 / threads / blocks > 64;
          std::printf(" %.2f |", is_slow ? 0.0 : bench.TimeSum(shape).slowest_us);
        }
        std::printf("\n");
        std::fflush(stdout);
      }
    }
  }
}

void PrintNormVariants(testing::Ranks* ranks) {
  std::printf(
      "\nsum + norm + int8, rows of 16 KB, us by blocks for each row\n"
      "| rows | shots | 1 | 2 | 4 | 8 |\n|---|---|---|---|---|---|\n");
  for (const Size& size : kSizes) {
    if (size.cols != 8192 || size.rows > 512) continue;
    CommCase bench(ranks, size.rows, size.cols);
    for (int shots = 1; shots <= (ranks->size() == 2 ? 1 : 2); ++shots) {
      std::printf("| %d | %d |", size.rows, shots);
      for (int cluster : {1, 2, 4, 8}) {
        AllReduceShape shape;
        shape.shots = shots;
        shape.cluster = cluster;
        std::printf(" %.2f |", bench.TimeSumNorm(shape).slowest_us);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}

int Run(const Options& options) {
  int num_devices = 0;
  PINGTI_CUDA(cudaGetDeviceCount(&num_devices));
  const int num_ranks = options.num_ranks != 0 ? options.num_ranks : num_devices;
  const std::vector<int> devices =
      options.one_device ? testing::OneDeviceForAll(num_ranks) : testing::DeviceForEach(num_ranks);
  if (devices.empty() || (num_ranks != 2 && num_ranks != 4 && num_ranks != 8)) {
    std::printf("bench_comm: %d ranks on %d devices; expected 2, 4 or 8 that reach each other\n",
                num_ranks, num_devices);
    return 77;
  }
  testing::Ranks ranks(devices);
  std::printf("%s, bf16\n", ranks.name().c_str());
  const Nccl* nccl = nullptr;
  if (options.nccl != nullptr && !options.one_device) nccl = Nccl::Load(options.nccl);
  if (nccl != nullptr) std::printf("NCCL %d\n", nccl->version());
  if (options.variants) {
    PrintNormVariants(&ranks);
    PrintSumVariants(&ranks);
  } else {
    PrintTable(&ranks, nccl, devices);
    PrintGathers(&ranks, nccl, devices);
  }
  for (int r = 0; r < ranks.size(); ++r) {
    if (ranks.group().missed_by(r) < 0) continue;
    std::printf("rank %d waited in vain for rank %d\n", r, ranks.group().missed_by(r));
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  pingti::kernels::testing::PrepareForRanks();
  pingti::kernels::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--ranks") == 0 && i + 1 < argc) {
      options.num_ranks = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--nccl") == 0 && i + 1 < argc) {
      options.nccl = argv[++i];
    } else if (std::strcmp(argv[i], "--one-device") == 0) {
      options.one_device = true;
    } else if (std::strcmp(argv[i], "--variants") == 0) {
      options.variants = true;
    } else {
      std::printf("unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  return pingti::kernels::bench::Run(options);
}
