// Question: how fast is the int8 W8A8 GEMM, scales and bias applied and bf16 written, on the layer
// shapes of a 72B (or 7B) model? Baselines in the same run: the best of cuBLASLt's algorithms for
// the bare s32 product, and the same plus a dequantizing kernel. Verifies against cuBLASLt's s32
// first.
//
//   bench_gemm_s8 [--7b] [--variants] [--shape NAME] [--block SIZE] [--no-baseline]
//                 [--sustained] [M...]
//
// Each timing starts after a pause, so that all see the same clock; --sustained leaves the pauses
// out: the card then runs hot, at whatever clock its power limit allows.
// --variants times every variant instead of the table's choice: its output is what the table in
// kernels/gemm/int8/launch.cu is made from.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/kernels/gemm/cublaslt.h"
#include "bench/kernels/gemm/gemm_s8_case.h"
#include "bench/kernels/harness/timing.h"
#include "kernels/common/status.h"
#include "kernels/gemm/int8/table.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

struct Options {
  bool variants = false;
  bool baseline = true;
  bool sustained = false;
  bool shapes_7b = false;
  int block = 0;  // only variants of this block size
  std::string shape;
  std::vector<int> tokens;
};

void Report(const S8Case& c, const S8Shape& shape, int m, const GemmS8Variant& v, const Timing& t,
            double lt_us, double lt_dequantize_us) {
  std::printf("%-10s %5d  %-6s %3d/%d/%-2d %9.1f %9.1f %9.1f %8.0f %7.3f", shape.name, m,
              GemmS8FamilyName(v.family), v.block, v.cluster, v.group_m + v.stages, t.median_us,
              t.p10_us, t.p90_us, c.Operations() / t.median_us * 1e-6,
              c.WeightBytes() / t.median_us * 1e-6);
  if (lt_us > 0) {
    std::printf(" %9.1f %6.2f %6.2f", lt_us, lt_us / t.median_us, lt_dequantize_us / t.median_us);
  }
  std::printf("\n");
  std::fflush(stdout);
}

// The round with the middle median.
Timing MiddleOf(std::vector<Timing> rounds) {
  std::sort(rounds.begin(), rounds.end(),
            [](const Timing& a, const Timing& b) { return a.median_us < b.median_us; });
  return rounds[rounds.size() / 2];
}

// False if any variant is wrong.
bool RunCase(const S8Shape& shape, int m, const Options& options, const DeviceTraits& device) {
  S8Case c(shape, m);
  CublasLt lt(LtTypes::kS8ToS32, m, shape.n, shape.k);
  std::vector<GemmS8Variant> variants;
  if (options.variants) {
    for (GemmS8Variant v : GemmS8Variants(m, device.compute_capability)) {
      if (v.family == GemmS8Family::kTile && m <= 64) continue;
      if (v.family != GemmS8Family::kTile) {
        variants.push_back(v);
        continue;
      }
      for (const int group_m : {1, 2, 4, 8, 16}) {
        v.group_m = group_m;
        // Fewer rows than a group has: all groups are the same walk.
        const int rows = CeilDiv(m, 128 * v.cluster);
        if (group_m == 4 || (group_m * v.cluster >= 4 && group_m <= rows)) variants.push_back(v);
      }
    }
  } else {
    variants.push_back(PickGemmS8Variant(m, shape.n, shape.k, device));
  }
  bool correct = true;
  const int algorithm = options.baseline ? c.BestAlgorithm(lt) : 0;
  for (const GemmS8Variant& variant : variants) {
    if (options.block != 0 && variant.block != options.block) continue;
    const unsigned long long wrong = c.CountWrong(lt, variant);
    if (wrong != 0) {
      std::printf("%s m=%d variant %d/%d: %llu elements WRONG\n", shape.name, m, variant.block,
                  variant.cluster, wrong);
      correct = false;
      continue;
    }
    // The card's clock falls as it warms up: we and the baselines take turns.
    TimingOptions timing;
    timing.samples = options.variants ? 5 : 7;
    timing.pause_ms = options.sustained ? 0 : 100;
    const int rounds = options.baseline ? 3 : 1;
    std::vector<Timing> own(rounds), plain(rounds), dequantized(rounds);
    for (int round = 0; round < rounds; ++round) {
      own[round] = c.Time(variant, timing);
      if (!options.baseline) continue;
      plain[round] = c.TimeBaseline(lt, algorithm, false, timing);
      dequantized[round] = c.TimeBaseline(lt, algorithm, true, timing);
    }
    Report(c, shape, m, variant, MiddleOf(own), MiddleOf(plain).median_us,
           MiddleOf(dequantized).median_us);
  }
  return correct;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--variants") == 0) {
      options.variants = true;
    } else if (std::strcmp(argv[i], "--7b") == 0) {
      options.shapes_7b = true;
    } else if (std::strcmp(argv[i], "--no-baseline") == 0) {
      options.baseline = false;
    } else if (std::strcmp(argv[i], "--sustained") == 0) {
      options.sustained = true;
    } else if (std::strcmp(argv[i], "--shape") == 0 && i + 1 < argc) {
      options.shape = argv[++i];
    } else if (std::strcmp(argv[i], "--block") == 0 && i + 1 < argc) {
      options.block = std::atoi(argv[++i]);
    } else if (const int m = std::atoi(argv[i]); m > 0) {
      options.tokens.push_back(m);
    } else {
      std::printf("unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  if (options.tokens.empty()) options.tokens = {1, 16, 32, 64, 128, 512, 2048, 8192};
  DeviceTraits device;
  PINGTI_CUDA(ReadDeviceTraits(&device));
  std::printf(
      "int8 GEMM with scales and bias, bf16 out; baseline lt: cuBLASLt s32 only, +dq: with "
      "a dequantizing kernel\n");
  std::printf("%-10s %5s  %-17s %9s %9s %9s %8s %7s %9s %6s %6s\n", "shape", "m",
              "var block/clus/g|s", "us", "p10", "p90", "TOP/s", "w TB/s", "lt us", "x lt",
              "x +dq");
  bool correct = true;
  for (const int m : options.tokens) {
    for (const S8Shape& shape : options.shapes_7b ? kS8Shapes7B : kS8Shapes72B) {
      if (!options.shape.empty() && options.shape != shape.name) continue;
      correct &= RunCase(shape, m, options, device);
    }
  }
  return correct ? 0 : 1;
}

}  // namespace
}  // namespace pingti::kernels::bench

int main(int argc, char** argv) { return pingti::kernels::bench::Main(argc, argv); }
