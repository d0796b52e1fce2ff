// Question: which variant of the int8 GEMM is fastest for which shape? Times every variant on the
// layer shapes of a 7B and a 72B model and prints one of kernels/gemm/int8/tuned_*.h anew:
//
//   bench_gemm_s8_autotune H200 > kernels/gemm/int8/tuned_h200.h
//
// Every variant is verified against cuBLASLt's accumulators first; a wrong one ends the program.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/kernels/gemm/gemm_s8_case.h"
#include "kernels/common/status.h"

namespace pingti::kernels::bench {
namespace {

constexpr int kTokens[] = {8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192};

std::vector<GemmS8Variant> Candidates(int m, int compute_capability) {
  std::vector<GemmS8Variant> candidates;
  for (GemmS8Variant v : GemmS8Variants(m, compute_capability)) {
    if (v.family == GemmS8Family::kStream || v.family == GemmS8Family::kSplit) {
      if (v.block < 2 * m || v.block <= 16) candidates.push_back(v);
    } else if (v.family == GemmS8Family::kTile && m > 64) {
      // Large products are bound by the L2 without multicast, and by narrow tiles.
      if (m > 512 && (v.cluster == 1 || v.block < 192)) continue;
      for (const int group_m : {4, 8, 16}) {
        v.group_m = group_m;
        if (group_m == 4 || m > 64 * v.cluster * group_m) candidates.push_back(v);
      }
    } else if (v.family == GemmS8Family::kMma && compute_capability != 90) {
      candidates.push_back(v);
    }
  }
  return candidates;
}

void Tune(const S8Shape& shape, int m, int compute_capability) {
  S8Case c(shape, m);
  CublasLt lt(LtTypes::kS8ToS32, m, shape.n, shape.k);
  TimingOptions options;
  options.samples = 5;
  options.pause_ms = m >= 1024 ? 100 : 0;  // every candidate from the same clock
  GemmS8Variant best;
  double best_us = 0;
  for (const GemmS8Variant& v : Candidates(m, compute_capability)) {
    if (c.CountWrong(lt, v) != 0) {
      std::fprintf(stderr, "%s m=%d: %s %d/%d is wrong\n", shape.name, m,
                   GemmS8FamilyName(v.family), v.block, v.cluster);
      std::exit(1);
    }
    const double us = c.Time(v, options).median_us;
    if (best_us == 0 || us < best_us) {
      best = v;
      best_us = us;
    }
  }
  const char* family = best.family == GemmS8Family::kStream  ? "kStream"
                       : best.family == GemmS8Family::kSplit ? "kSplit"
                       : best.family == GemmS8Family::kTile  ? "kTile"
                                                             : "kMma";
  std::printf("    {%d, %d, %d, {GemmS8Family::%s, %d, %d, %d, %d}},  // %s: %.1f us\n", shape.n,
              shape.k, m, family, best.block, best.cluster, best.stages, best.group_m, shape.name,
              best_us);
  std::fflush(stdout);
}

}  // namespace

int Autotune(const char* card) {
  DeviceTraits device;
  PINGTI_CUDA(ReadDeviceTraits(&device));
  cudaDeviceProp properties;
  PINGTI_CUDA(cudaGetDeviceProperties(&properties, 0));
  std::printf(
      "// Measured variants of the int8 GEMM. Generated: bench_gemm_s8_autotune prints this file.\n"
      "// Device: %s.\n"
      "#pragma once\n\n"
      "#include \"kernels/gemm/int8/table.h\"\n\n"
      "namespace pingti::kernels {\n\n"
      "// clang-format off\n"
      "inline constexpr GemmS8TunedEntry kGemmS8Tuned%s[] = {\n",
      properties.name, card);
  for (const int m : kTokens) {
    for (const S8Shape& shape : kS8Shapes72B) Tune(shape, m, device.compute_capability);
    for (const S8Shape& shape : kS8Shapes7B) Tune(shape, m, device.compute_capability);
  }
  std::printf("};\n// clang-format on\n\n}  // namespace pingti::kernels\n");
  return 0;
}

}  // namespace pingti::kernels::bench

int main(int argc, char** argv) {
  if (argc == 2) return pingti::kernels::bench::Autotune(argv[1]);
  std::printf("expected the card's name in the table: H100, H200\n");
  return 2;
}
