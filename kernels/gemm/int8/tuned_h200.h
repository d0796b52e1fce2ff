// Measured variants of the int8 GEMM. Generated: bench_gemm_s8_autotune prints this file.
// Device: NVIDIA H200.
#pragma once

#include "kernels/gemm/int8/table.h"

namespace pingti::kernels {

// clang-format off
inline constexpr GemmS8TunedEntry kGemmS8TunedH200[] = {
    {10240, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // qkv: 21.7 us
    {8192, 8192, 8, {GemmS8Family::kSplit, 8, 2, 12, 0}},  // o: 17.2 us
    {59136, 8192, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // gate_up: 114.2 us
    {8192, 29568, 8, {GemmS8Family::kSplit, 8, 2, 12, 0}},  // down: 58.2 us
    {4608, 3584, 8, {GemmS8Family::kSplit, 8, 3, 12, 0}},  // qkv_7b: 6.8 us
    {3584, 3584, 8, {GemmS8Family::kSplit, 8, 3, 12, 0}},  // o_7b: 5.8 us
    {37888, 3584, 8, {GemmS8Family::kStream, 8, 1, 12, 0}},  // gate_up_7b: 34.8 us
    {3584, 18944, 8, {GemmS8Family::kSplit, 8, 4, 12, 0}},  // down_7b: 18.7 us
    {10240, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // qkv: 22.3 us
    {8192, 8192, 16, {GemmS8Family::kSplit, 16, 2, 12, 0}},  // o: 17.5 us
    {59136, 8192, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up: 114.7 us
    {8192, 29568, 16, {GemmS8Family::kSplit, 16, 2, 12, 0}},  // down: 58.6 us
    {4608, 3584, 16, {GemmS8Family::kSplit, 16, 2, 12, 0}},  // qkv_7b: 7.1 us
    {3584, 3584, 16, {GemmS8Family::kSplit, 16, 3, 12, 0}},  // o_7b: 6.2 us
    {37888, 3584, 16, {GemmS8Family::kStream, 16, 1, 12, 0}},  // gate_up_7b: 35.5 us
    {3584, 18944, 16, {GemmS8Family::kSplit, 16, 4, 12, 0}},  // down_7b: 18.9 us
    {10240, 8192, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // qkv: 23.5 us
    {8192, 8192, 32, {GemmS8Family::kSplit, 32, 2, 11, 0}},  // o: 18.1 us
    {59136, 8192, 32, {GemmS8Family::kStream, 32, 2, 11, 0}},  // gate_up: 115.9 us
    {8192, 29568, 32, {GemmS8Family::kSplit, 32, 2, 11, 0}},  // down: 59.0 us
    {4608, 3584, 32, {GemmS8Family::kSplit, 32, 2, 11, 0}},  // qkv_7b: 7.9 us
    {3584, 3584, 32, {GemmS8Family::kSplit, 32, 4, 11, 0}},  // o_7b: 6.5 us
    {37888, 3584, 32, {GemmS8Family::kStream, 32, 1, 11, 0}},  // gate_up_7b: 37.0 us
    {3584, 18944, 32, {GemmS8Family::kSplit, 32, 4, 11, 0}},  // down_7b: 19.2 us
    {10240, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // qkv: 26.7 us
    {8192, 8192, 64, {GemmS8Family::kSplit, 64, 2, 9, 0}},  // o: 19.5 us
    {59136, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // gate_up: 122.0 us
    {8192, 29568, 64, {GemmS8Family::kSplit, 64, 2, 9, 0}},  // down: 60.1 us
    {4608, 3584, 64, {GemmS8Family::kSplit, 64, 3, 9, 0}},  // qkv_7b: 9.1 us
    {3584, 3584, 64, {GemmS8Family::kSplit, 64, 4, 9, 0}},  // o_7b: 7.5 us
    {37888, 3584, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // gate_up_7b: 42.4 us
    {3584, 18944, 64, {GemmS8Family::kSplit, 64, 4, 9, 0}},  // down_7b: 19.9 us
    {10240, 8192, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // qkv: 29.8 us
    {8192, 8192, 96, {GemmS8Family::kSplit, 128, 2, 7, 0}},  // o: 23.1 us
    {59136, 8192, 96, {GemmS8Family::kStream, 96, 2, 7, 0}},  // gate_up: 135.3 us
    {8192, 29568, 96, {GemmS8Family::kSplit, 128, 2, 7, 0}},  // down: 64.8 us
    {4608, 3584, 96, {GemmS8Family::kSplit, 128, 3, 7, 0}},  // qkv_7b: 10.6 us
    {3584, 3584, 96, {GemmS8Family::kSplit, 128, 3, 7, 0}},  // o_7b: 9.5 us
    {37888, 3584, 96, {GemmS8Family::kStream, 96, 1, 7, 0}},  // gate_up_7b: 52.7 us
    {3584, 18944, 96, {GemmS8Family::kSplit, 128, 4, 7, 0}},  // down_7b: 22.2 us
    {10240, 8192, 128, {GemmS8Family::kStream, 128, 2, 7, 0}},  // qkv: 33.6 us
    {8192, 8192, 128, {GemmS8Family::kSplit, 128, 2, 7, 0}},  // o: 24.1 us
    {59136, 8192, 128, {GemmS8Family::kStream, 128, 2, 7, 0}},  // gate_up: 147.3 us
    {8192, 29568, 128, {GemmS8Family::kSplit, 128, 2, 7, 0}},  // down: 65.6 us
    {4608, 3584, 128, {GemmS8Family::kSplit, 128, 3, 7, 0}},  // qkv_7b: 11.8 us
    {3584, 3584, 128, {GemmS8Family::kSplit, 128, 4, 7, 0}},  // o_7b: 10.3 us
    {37888, 3584, 128, {GemmS8Family::kTile, 160, 1, 0, 4}},  // gate_up_7b: 53.3 us
    {3584, 18944, 128, {GemmS8Family::kSplit, 128, 4, 7, 0}},  // down_7b: 23.4 us
    {10240, 8192, 192, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 40.9 us
    {8192, 8192, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o: 35.6 us
    {59136, 8192, 192, {GemmS8Family::kStream, 192, 2, 5, 0}},  // gate_up: 177.4 us
    {8192, 29568, 192, {GemmS8Family::kStream, 192, 2, 5, 0}},  // down: 87.7 us
    {4608, 3584, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // qkv_7b: 16.9 us
    {3584, 3584, 192, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 14.5 us
    {37888, 3584, 192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 70.4 us
    {3584, 18944, 192, {GemmS8Family::kStream, 192, 1, 5, 0}},  // down_7b: 40.1 us
    {10240, 8192, 256, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 40.0 us
    {8192, 8192, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o: 34.9 us
    {59136, 8192, 256, {GemmS8Family::kStream, 256, 2, 4, 0}},  // gate_up: 212.6 us
    {8192, 29568, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down: 103.2 us
    {4608, 3584, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // qkv_7b: 16.6 us
    {3584, 3584, 256, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 14.3 us
    {37888, 3584, 256, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 69.9 us
    {3584, 18944, 256, {GemmS8Family::kStream, 256, 2, 4, 0}},  // down_7b: 50.0 us
    {10240, 8192, 384, {GemmS8Family::kTile, 256, 1, 0, 4}},  // qkv: 59.5 us
    {8192, 8192, 384, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 50.0 us
    {59136, 8192, 384, {GemmS8Family::kTile, 192, 1, 0, 4}},  // gate_up: 328.7 us
    {8192, 29568, 384, {GemmS8Family::kTile, 192, 1, 0, 4}},  // down: 158.0 us
    {4608, 3584, 384, {GemmS8Family::kTile, 128, 1, 0, 4}},  // qkv_7b: 18.4 us
    {3584, 3584, 384, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 16.1 us
    {37888, 3584, 384, {GemmS8Family::kTile, 256, 1, 0, 4}},  // gate_up_7b: 116.2 us
    {3584, 18944, 384, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 64.1 us
    {10240, 8192, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv: 70.1 us
    {8192, 8192, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 50.4 us
    {59136, 8192, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 381.5 us
    {8192, 29568, 512, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 166.3 us
    {4608, 3584, 512, {GemmS8Family::kTile, 160, 2, 0, 4}},  // qkv_7b: 18.5 us
    {3584, 3584, 512, {GemmS8Family::kTile, 128, 2, 0, 4}},  // o_7b: 15.5 us
    {37888, 3584, 512, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 122.4 us
    {3584, 18944, 512, {GemmS8Family::kTile, 128, 2, 0, 4}},  // down_7b: 61.4 us
    {10240, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // qkv: 141.5 us
    {8192, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o: 93.8 us
    {59136, 8192, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 651.0 us
    {8192, 29568, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down: 303.8 us
    {4608, 3584, 1024, {GemmS8Family::kTile, 192, 2, 0, 4}},  // qkv_7b: 37.5 us
    {3584, 3584, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 25.6 us
    {37888, 3584, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up_7b: 223.7 us
    {3584, 18944, 1024, {GemmS8Family::kTile, 256, 2, 0, 4}},  // down_7b: 97.1 us
    {10240, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 229.3 us
    {8192, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 183.9 us
    {59136, 8192, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 1264.6 us
    {8192, 29568, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down: 597.9 us
    {4608, 3584, 2048, {GemmS8Family::kTile, 192, 2, 0, 4}},  // qkv_7b: 56.9 us
    {3584, 3584, 2048, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 48.8 us
    {37888, 3584, 2048, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 409.9 us
    {3584, 18944, 2048, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down_7b: 192.7 us
    {10240, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 458.4 us
    {8192, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 367.8 us
    {59136, 8192, 4096, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 2515.6 us
    {8192, 29568, 4096, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down: 1200.7 us
    {4608, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 8}},  // qkv_7b: 110.8 us
    {3584, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 4}},  // o_7b: 90.7 us
    {37888, 3584, 4096, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 785.9 us
    {3584, 18944, 4096, {GemmS8Family::kTile, 192, 2, 0, 8}},  // down_7b: 377.5 us
    {10240, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // qkv: 919.1 us
    {8192, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // o: 738.1 us
    {59136, 8192, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // gate_up: 5011.0 us
    {8192, 29568, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down: 2409.1 us
    {4608, 3584, 8192, {GemmS8Family::kTile, 192, 2, 0, 16}},  // qkv_7b: 212.6 us
    {3584, 3584, 8192, {GemmS8Family::kTile, 256, 2, 0, 4}},  // o_7b: 164.2 us
    {37888, 3584, 8192, {GemmS8Family::kTile, 192, 2, 0, 4}},  // gate_up_7b: 1532.4 us
    {3584, 18944, 8192, {GemmS8Family::kTile, 256, 2, 0, 8}},  // down_7b: 693.7 us
};
// clang-format on

}  // namespace pingti::kernels
