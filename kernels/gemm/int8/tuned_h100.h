// Measured variants of the int8 GEMM. Generated: bench_gemm_s8_autotune prints this file.
// Device: NVIDIA H100 80GB HBM3.
#pragma once

#include "kernels/gemm/int8/table.h"

namespace pingti::kernels {

// clang-format off
inline constexpr GemmS8TunedEntry kGemmS8TunedH100[] = {
    {10240, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // qkv: 30.4 us
    {8192, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // o: 24.9 us
    {59136, 8192, 8, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up: 160.5 us
    {8192, 29568, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // down: 84.3 us
    {4608, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // qkv_7b: 8.3 us
    {3584, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // o_7b: 7.1 us
    {37888, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // gate_up_7b: 47.6 us
    {3584, 18944, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // down_7b: 25.7 us
    {10240, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // qkv: 31.1 us
    {8192, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // o: 25.2 us
    {59136, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up: 160.8 us
    {8192, 29568, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // down: 85.2 us
    {4608, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // qkv_7b: 8.4 us
    {3584, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // o_7b: 7.6 us
    {37888, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up_7b: 48.1 us
    {3584, 18944, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // down_7b: 26.0 us
    {10240, 8192, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // qkv: 30.8 us
    {8192, 8192, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // o: 25.8 us
    {59136, 8192, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // gate_up: 163.3 us
    {8192, 29568, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // down: 84.2 us
    {4608, 3584, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // qkv_7b: 9.5 us
    {3584, 3584, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // o_7b: 8.7 us
    {37888, 3584, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // gate_up_7b: 49.6 us
    {3584, 18944, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // down_7b: 26.8 us
    {10240, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // qkv: 32.9 us
    {8192, 8192, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // o: 27.4 us
    {59136, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // gate_up: 173.5 us
    {8192, 29568, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // down: 86.5 us
    {4608, 3584, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // qkv_7b: 12.3 us
    {3584, 3584, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // o_7b: 11.5 us
    {37888, 3584, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // gate_up_7b: 55.6 us
    {3584, 18944, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // down_7b: 30.1 us
    {10240, 8192, 96, {GemmS8Family::kStream, 96, 1, 7, 0}},  // qkv: 37.1 us
    {8192, 8192, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // o: 32.4 us
    {59136, 8192, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // gate_up: 184.1 us
    {8192, 29568, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // down: 92.3 us
    {4608, 3584, 96, {GemmS8Family::kTile, 128, 1, 0, 4}},  // qkv_7b: 15.9 us
    {3584, 3584, 96, {GemmS8Family::kTile, 128, 1, 0, 4}},  // o_7b: 14.5 us
    {37888, 3584, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // gate_up_7b: 63.9 us
    {3584, 18944, 96, {GemmS8Family::kStream, 96, 1, 7, 0}},  // down_7b: 36.8 us
    {10240, 8192, 128, {GemmS8Family::kTile, 128, 1, 0, 4}},  // qkv: 38.9 us
    {8192, 8192, 128, {GemmS8Family::kStream, 128, 1, 7, 0}},  // o: 34.8 us
    {59136, 8192, 128, {GemmS8Family::kTile, 160, 1, 0, 4}},  // gate_up: 189.1 us
    {8192, 29568, 128, {GemmS8Family::kStream, 128, 2, 7, 0}},  // down: 98.6 us
    {4608, 3584, 128, {GemmS8Family::kTile, 128, 1, 0, 4}},  // qkv_7b: 15.4 us
    {3584, 3584, 128, {GemmS8Family::kTile, 128, 1, 0, 4}},  // o_7b: 14.7 us
    {37888, 3584, 128, {GemmS8Family::kTile, 160, 1, 0, 4}},  // gate_up_7b: 65.7 us
    {3584, 18944, 128, {GemmS8Family::kStream, 128, 2, 7, 0}},  // down_7b: 41.4 us
    {10240, 8192, 192, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 44.7 us
    {8192, 8192, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o: 38.4 us
    {59136, 8192, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // gate_up: 234.5 us
    {8192, 29568, 192, {GemmS8Family::kTile, 160, 2, 0, 4}},  // down: 117.9 us
    {4608, 3584, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // qkv_7b: 16.8 us
    {3584, 3584, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 15.4 us
    {37888, 3584, 192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 80.3 us
    {3584, 18944, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 52.0 us
    {10240, 8192, 256, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 44.6 us
    {8192, 8192, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o: 38.3 us
    {59136, 8192, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // gate_up: 234.3 us
    {8192, 29568, 256, {GemmS8Family::kTile, 160, 2, 0, 4}},  // down: 114.2 us
    {4608, 3584, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // qkv_7b: 16.8 us
    {3584, 3584, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 15.4 us
    {37888, 3584, 256, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 81.6 us
    {3584, 18944, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 51.6 us
    {10240, 8192, 384, {GemmS8Family::kTile, 256, 1, 0, 4}},  // qkv: 67.5 us
    {8192, 8192, 384, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 53.6 us
    {59136, 8192, 384, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 364.6 us
    {8192, 29568, 384, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 165.8 us
    {4608, 3584, 384, {GemmS8Family::kTile, 160, 1, 0, 4}},  // qkv_7b: 21.2 us
    {3584, 3584, 384, {GemmS8Family::kTile, 128, 1, 0, 4}},  // o_7b: 18.4 us
    {37888, 3584, 384, {GemmS8Family::kTile, 192, 1, 0, 4}},  // gate_up_7b: 129.5 us
    {3584, 18944, 384, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 69.4 us
    {10240, 8192, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 75.5 us
    {8192, 8192, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 53.4 us
    {59136, 8192, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 371.8 us
    {8192, 29568, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 163.6 us
    {4608, 3584, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv_7b: 21.0 us
    {3584, 3584, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // o_7b: 18.3 us
    {37888, 3584, 512, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 132.0 us
    {3584, 18944, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // down_7b: 67.7 us
    {10240, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // qkv: 144.9 us
    {8192, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 96.0 us
    {59136, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 667.3 us
    {8192, 29568, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 325.8 us
    {4608, 3584, 1024, {GemmS8Family::kTile, 192, 2, 0, 4}},  // qkv_7b: 44.5 us
    {3584, 3584, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 29.2 us
    {37888, 3584, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up_7b: 230.8 us
    {3584, 18944, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down_7b: 99.7 us
    {10240, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // qkv: 235.8 us
    {8192, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 200.5 us
    {59136, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 1411.7 us
    {8192, 29568, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 614.5 us
    {4608, 3584, 2048, {GemmS8Family::kTile, 192, 2, 0, 8}},  // qkv_7b: 63.7 us
    {3584, 3584, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 51.6 us
    {37888, 3584, 2048, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 438.3 us
    {3584, 18944, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down_7b: 202.3 us
    {10240, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 4}},  // qkv: 496.3 us
    {8192, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 415.6 us
    {59136, 8192, 4096, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up: 2885.6 us
    {8192, 29568, 4096, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 1366.0 us
    {4608, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 16}},  // qkv_7b: 133.8 us
    {3584, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 16}},  // o_7b: 102.0 us
    {37888, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 824.7 us
    {3584, 18944, 4096, {GemmS8Family::kTile, 192, 2, 0, 8}},  // down_7b: 409.5 us
    {10240, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 920.1 us
    {8192, 8192, 8192, {GemmS8Family::kTile, 192, 2, 0, 8}},  // o: 853.6 us
    {59136, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 5674.2 us
    {8192, 29568, 8192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // down: 2635.8 us
    {4608, 3584, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // qkv_7b: 235.9 us
    {3584, 3584, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 180.8 us
    {37888, 3584, 8192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 1603.7 us
    {3584, 18944, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down_7b: 783.6 us
};
// clang-format on

}  // namespace pingti::kernels
