// The table of vector kernels that the CPU backend calls: one implementation for each instruction
// set, chosen once at start. kernels_impl.h is compiled once per set; nothing else of the backend
// depends on the instruction set. All functions are pure over the memory given, thread-safe, and
// bitwise independent of how many rows are computed together: a token gets the same result in every
// batch.
#pragma once

#include <cstdint>
#include <string_view>

#include "worker/tensor/activation_function.h"

namespace pingti::worker::cpu {

inline constexpr int64_t kPanelCols = 16;  // output columns of a packed weight panel
inline constexpr int64_t kGroup = 32;      // input values that share a scale in group formats
inline constexpr int64_t kKvTile = 64;     // cached tokens that attention handles at a time

// Packed weight layouts. A panel holds kPanelCols output columns over the whole (padded) depth.
enum class PanelFormat {
  kF32,      // [depth][16] float
  kBf16,     // [depth / 2][16][2] bf16
  kI8,       // [depth / 4][16][4] uint8 (q + 128); one float scale per column, apart
  kQ8,       // per group of 32: f16 scale[16], then as kI8
  kQ4,       // per group of 32: f16 scale[16], then [4][16][4] bytes; low halves hold input values
             // 8i .. 8i+3, high halves 8i+4 .. 8i+7; value = scale * (q - 8)
  kQ4Min,    // as kQ4 with f16 min[16] after the scales; value = scale * q + min
  kQ4Table,  // as kQ4; value = scale * list[q], the list of GGUF's IQ4_NL
};

// Activations in the form that a panel format multiplies with.
struct ActivationRows {
  const float* f32 = nullptr;         // [rows, depth], kF32
  const uint16_t* bf16 = nullptr;     // [rows, depth], kBf16
  const int8_t* q = nullptr;          // [rows, depth], the quantized formats
  const float* scale = nullptr;       // [rows, groups]; kI8 has one group
  const int32_t* sum = nullptr;       // [rows, groups], sums of q
  const float* scaled_sum = nullptr;  // [rows, groups], scale * sum; of formats with groups
  int64_t depth = 0;                  // padded with zeros to a multiple of 32
  int64_t groups = 0;
};

// One tile of attention; see attention_impl.h.
struct AttentionTile {
  const float* keys = nullptr;    // [key_dim][kKvTile]
  const float* values = nullptr;  // [kKvTile][value_dim]
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  int64_t first_token = 0;  // of the tile
  int64_t num_tokens = 0;   // valid in the tile
};

struct AttentionRows {
  const float* const* query = nullptr;  // [rows] -> [key_dim], already scaled
  float* out = nullptr;                 // [rows, value_dim], running weighted sum
  float* running_max = nullptr;         // [rows]
  float* running_sum = nullptr;         // [rows]
  const int64_t* first = nullptr;       // [rows], first token the row sees
  const int64_t* last = nullptr;        // [rows], last token the row sees: its own
  // [rows], see AttentionShape; null: none.
  const float* alibi_slope = nullptr;
  float logit_softcap = 0.0f;  // see AttentionShape; 0: none
  int64_t rows = 0;
};

struct CpuKernels {
  std::string_view name;  // "avx512", "avx2", "portable"

  // out[r * out_stride + c] for `rows` rows and `cols` (1..16) columns of one panel. column_scale
  // is for kI8 only; bias may be null.
  void (*panel_product)(PanelFormat format, const void* panel, const ActivationRows& x,
                        int64_t rows, int64_t cols, const float* column_scale, const float* bias,
                        float* out, int64_t out_stride);

  // x [depth] -> q padded to padded_depth with one scale (kI8) or one per group of 32.
  void (*quantize_row)(const float* x, int64_t depth, int64_t padded_depth, bool groups, int8_t* q,
                       float* scale, int32_t* sum);
  void (*float_to_bf16)(const float* x, int64_t count, uint16_t* out);
  void (*float_to_f16)(const float* x, int64_t count, uint16_t* out);
  // `rows` rows of `cols` values; strides in elements.
  void (*f16_to_float)(const uint16_t* x, int64_t rows, int64_t stride, int64_t cols, float* out,
                       int64_t out_stride);

  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t count, float* out);
  // `bias` may be null. x and out may be the same.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps,
                     int64_t count, float* out);
  void (*add_in_place)(float* x, const float* delta, int64_t count);
  // f(gate) * up.
  void (*activate_gated)(ActivationFunction f, const float* gate, const float* up, int64_t count,
                         float* out);
  // x and out may be the same.
  void (*activate)(ActivationFunction f, const float* x, int64_t count, float* out);
  // Rotates by halves: (x[i], x[i + half]).
  void (*rope)(float* x, const float* cos, const float* sin, int64_t half);

  void (*attention_tile)(const AttentionTile& tile, const AttentionRows& rows);

  // Largest value; the lowest index on ties. NaN is never the largest. *has_nan tells of any.
  int64_t (*argmax)(const float* x, int64_t count, bool* has_nan);
  // sum of exp((x - max) * inverse_temperature).
  double (*sum_exp)(const float* x, int64_t count, float max, float inverse_temperature);
};

// Never null.
const CpuKernels* PortableKernels();
// The best this processor runs: AVX-512 with VNNI, AVX2 with FMA and F16C, or portable code.
const CpuKernels* BestKernels();
// By name, for tests; null when the processor lacks it or there is none of that name.
const CpuKernels* KernelsByName(std::string_view name);

}  // namespace pingti::worker::cpu
