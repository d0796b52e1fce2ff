// Measured variants of the int8 GEMM. Generated: bench_gemm_s8_autotune prints this file.
// Device: NVIDIA H200.
#pragma once

#include "kernels/gemm/int8/table.h"

namespace pingti::kernels {

// clang-format off
inline constexpr GemmS8TunedEntry kGemmS8TunedH200[] = {
    {10240, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // qkv: 21.6 us
    {8192, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // o: 19.0 us
    {59136, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // gate_up: 113.7 us
    {8192, 29568, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // down: 59.5 us
    {4608, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // qkv_7b: 7.3 us
    {3584, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // o_7b: 6.5 us
    {37888, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // gate_up_7b: 34.7 us
    {3584, 18944, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // down_7b: 19.6 us
    {10240, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // qkv: 22.2 us
    {8192, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // o: 18.9 us
    {59136, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up: 114.4 us
    {8192, 29568, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // down: 59.2 us
    {4608, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // qkv_7b: 7.8 us
    {3584, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // o_7b: 7.2 us
    {37888, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up_7b: 35.3 us
    {3584, 18944, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // down_7b: 20.0 us
    {10240, 8192, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // qkv: 23.6 us
    {8192, 8192, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // o: 18.5 us
    {59136, 8192, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // gate_up: 116.3 us
    {8192, 29568, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // down: 59.7 us
    {4608, 3584, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // qkv_7b: 8.6 us
    {3584, 3584, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // o_7b: 8.2 us
    {37888, 3584, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // gate_up_7b: 36.9 us
    {3584, 18944, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // down_7b: 21.3 us
    {10240, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // qkv: 26.0 us
    {8192, 8192, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // o: 20.7 us
    {59136, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // gate_up: 122.5 us
    {8192, 29568, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // down: 62.1 us
    {4608, 3584, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // qkv_7b: 11.1 us
    {3584, 3584, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // o_7b: 10.5 us
    {37888, 3584, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // gate_up_7b: 42.2 us
    {3584, 18944, 64, {GemmS8Family::kStream, 64, 1, 9, 0}},  // down_7b: 24.5 us
    {10240, 8192, 96, {GemmS8Family::kStream, 96, 1, 7, 0}},  // qkv: 29.9 us
    {8192, 8192, 96, {GemmS8Family::kStream, 96, 1, 7, 0}},  // o: 25.3 us
    {59136, 8192, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // gate_up: 134.4 us
    {8192, 29568, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // down: 68.2 us
    {4608, 3584, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // qkv_7b: 15.6 us
    {3584, 3584, 96, {GemmS8Family::kTile, 128, 1, 0, 4}},  // o_7b: 14.8 us
    {37888, 3584, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // gate_up_7b: 52.3 us
    {3584, 18944, 96, {GemmS8Family::kStream, 96, 1, 7, 0}},  // down_7b: 29.8 us
    {10240, 8192, 128, {GemmS8Family::kStream, 128, 1, 7, 0}},  // qkv: 33.5 us
    {8192, 8192, 128, {GemmS8Family::kTile, 128, 1, 0, 4}},  // o: 28.0 us
    {59136, 8192, 128, {GemmS8Family::kStream, 128, 2, 7, 0}},  // gate_up: 147.0 us
    {8192, 29568, 128, {GemmS8Family::kStream, 128, 1, 7, 0}},  // down: 74.5 us
    {4608, 3584, 128, {GemmS8Family::kTile, 128, 1, 0, 4}},  // qkv_7b: 16.0 us
    {3584, 3584, 128, {GemmS8Family::kTile, 128, 1, 0, 4}},  // o_7b: 14.5 us
    {37888, 3584, 128, {GemmS8Family::kTile, 160, 1, 0, 4}},  // gate_up_7b: 53.4 us
    {3584, 18944, 128, {GemmS8Family::kStream, 128, 1, 7, 0}},  // down_7b: 33.4 us
    {10240, 8192, 192, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 40.8 us
    {8192, 8192, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o: 35.5 us
    {59136, 8192, 192, {GemmS8Family::kStream, 192, 2, 5, 0}},  // gate_up: 177.0 us
    {8192, 29568, 192, {GemmS8Family::kStream, 192, 2, 5, 0}},  // down: 89.6 us
    {4608, 3584, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // qkv_7b: 16.8 us
    {3584, 3584, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 14.4 us
    {37888, 3584, 192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 70.2 us
    {3584, 18944, 192, {GemmS8Family::kStream, 192, 1, 5, 0}},  // down_7b: 40.0 us
    {10240, 8192, 256, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 39.6 us
    {8192, 8192, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o: 35.0 us
    {59136, 8192, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // gate_up: 210.9 us
    {8192, 29568, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down: 103.2 us
    {4608, 3584, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // qkv_7b: 16.6 us
    {3584, 3584, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 14.5 us
    {37888, 3584, 256, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 69.9 us
    {3584, 18944, 256, {GemmS8Family::kStream, 256, 2, 4, 0}},  // down_7b: 50.8 us
    {10240, 8192, 384, {GemmS8Family::kTile, 256, 1, 0, 4}},  // qkv: 59.5 us
    {8192, 8192, 384, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 50.4 us
    {59136, 8192, 384, {GemmS8Family::kTile, 192, 1, 0, 4}},  // gate_up: 330.0 us
    {8192, 29568, 384, {GemmS8Family::kTile, 192, 1, 0, 4}},  // down: 157.8 us
    {4608, 3584, 384, {GemmS8Family::kTile, 128, 1, 0, 4}},  // qkv_7b: 18.3 us
    {3584, 3584, 384, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 16.1 us
    {37888, 3584, 384, {GemmS8Family::kTile, 256, 1, 0, 4}},  // gate_up_7b: 115.6 us
    {3584, 18944, 384, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 64.4 us
    {10240, 8192, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 69.5 us
    {8192, 8192, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 50.1 us
    {59136, 8192, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 379.7 us
    {8192, 29568, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 166.2 us
    {4608, 3584, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv_7b: 18.5 us
    {3584, 3584, 512, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 15.5 us
    {37888, 3584, 512, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 121.8 us
    {3584, 18944, 512, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 62.0 us
    {10240, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // qkv: 142.6 us
    {8192, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 94.6 us
    {59136, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 654.3 us
    {8192, 29568, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 306.0 us
    {4608, 3584, 1024, {GemmS8Family::kTile, 192, 2, 0, 4}},  // qkv_7b: 37.5 us
    {3584, 3584, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 25.1 us
    {37888, 3584, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up_7b: 221.3 us
    {3584, 18944, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down_7b: 97.6 us
    {10240, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 231.0 us
    {8192, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 186.1 us
    {59136, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 1275.0 us
    {8192, 29568, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down: 600.9 us
    {4608, 3584, 2048, {GemmS8Family::kTile, 192, 2, 0, 4}},  // qkv_7b: 56.8 us
    {3584, 3584, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 48.4 us
    {37888, 3584, 2048, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 410.8 us
    {3584, 18944, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down_7b: 194.2 us
    {10240, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 460.4 us
    {8192, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 369.2 us
    {59136, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 2538.2 us
    {8192, 29568, 4096, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down: 1212.1 us
    {4608, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 8}},  // qkv_7b: 110.4 us
    {3584, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 4}},  // o_7b: 90.7 us
    {37888, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 792.0 us
    {3584, 18944, 4096, {GemmS8Family::kTile, 192, 2, 0, 8}},  // down_7b: 378.9 us
    {10240, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 926.0 us
    {8192, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 740.1 us
    {59136, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 5102.5 us
    {8192, 29568, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down: 2431.7 us
    {4608, 3584, 8192, {GemmS8Family::kTile, 192, 2, 0, 16}},  // qkv_7b: 213.0 us
    {3584, 3584, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 163.9 us
    {37888, 3584, 8192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 1545.9 us
    {3584, 18944, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down_7b: 698.9 us
};
// clang-format on

}  // namespace pingti::kernels
