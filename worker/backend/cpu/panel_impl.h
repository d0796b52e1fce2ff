// Matrix products of activation rows with one packed weight panel. Included by kernels_impl.h
// inside the namespace of an instruction set; layouts are in cpu_kernels.h.
//
// A tile is kRows activation rows x 16 columns; sums stay in registers over the whole depth. Every
// output is summed over the depth in the same order whatever kRows is, with fused multiply-adds, so
// a row's result does not depend on its neighbours.

// Bytes of one group of 32 input values in the group formats.
inline constexpr int64_t kQ8GroupBytes = 32 + 512;
inline constexpr int64_t kQ4GroupBytes = 32 + 256;
inline constexpr int64_t kQ4MinGroupBytes = 64 + 256;

inline int32_t LoadWord(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

// Adds the bias and writes the first `cols` columns.
inline void StoreOutput(Vf value, const float* bias, int64_t cols, float* out) {
  if (cols == kPanelCols) {
    Store(out, bias == nullptr ? value : Add(value, Load(bias)));
    return;
  }
  float values[kPanelCols];
  Store(values, value);
  for (int64_t c = 0; c < cols; ++c) out[c] = values[c] + (bias == nullptr ? 0.0f : bias[c]);
}

template <int kRows>
void ProductF32(const void* panel, const ActivationRows& x, int64_t first_row, Vf (&sums)[kRows]) {
  const auto* w = static_cast<const float*>(panel);
  const float* rows = x.f32 + first_row * x.depth;
  for (int64_t k = 0; k < x.depth; ++k) {
    const Vf column = Load(w + k * kPanelCols);
    for (int r = 0; r < kRows; ++r) sums[r] = Fma(column, Set1(rows[r * x.depth + k]), sums[r]);
  }
}

template <int kRows>
void ProductBf16(const void* panel, const ActivationRows& x, int64_t first_row, Vf (&sums)[kRows]) {
  const auto* w = static_cast<const uint16_t*>(panel);
  const uint16_t* rows = x.bf16 + first_row * x.depth;
  for (int64_t k = 0; k < x.depth; k += 2) {
    const Vi column = LoadI(w + k * kPanelCols);
    for (int r = 0; r < kRows; ++r) {
      sums[r] = DotBf16(sums[r], column, static_cast<uint32_t>(LoadWord(rows + r * x.depth + k)));
    }
  }
}

template <int kRows>
void ProductI8(const void* panel, const ActivationRows& x, int64_t first_row,
               const float* column_scale, Vf (&sums)[kRows]) {
  const auto* w = static_cast<const uint8_t*>(panel);
  const int8_t* rows = x.q + first_row * x.depth;
  Vi dots[kRows];
  for (int r = 0; r < kRows; ++r) dots[r] = Set1I(-128 * x.sum[first_row + r]);
  for (int64_t k = 0; k < x.depth; k += 4) {
    const Vi column = LoadI(w + k * kPanelCols);
    for (int r = 0; r < kRows; ++r) {
      dots[r] = DotU8S8(dots[r], column, LoadWord(rows + r * x.depth + k));
    }
  }
  const Vf scale = Load(column_scale);
  for (int r = 0; r < kRows; ++r) {
    sums[r] = Mul(ToFloat(dots[r]), Mul(scale, Set1(x.scale[first_row + r])));
  }
}

// kFormat is a group format: integer sums within a group, float sums across groups.
template <int kRows, PanelFormat kFormat>
void ProductGroups(const void* panel, const ActivationRows& x, int64_t first_row,
                   Vf (&sums)[kRows]) {
  constexpr bool kMin = kFormat == PanelFormat::kQ4Min;
  constexpr bool kFourBits = kFormat != PanelFormat::kQ8;
  constexpr bool kTable = kFormat == PanelFormat::kQ4Table;
  constexpr int32_t kOffset = kMin ? 0 : kFourBits && !kTable ? 8 : 128;
  constexpr int64_t kGroupBytes = kMin        ? kQ4MinGroupBytes
                                  : kFourBits ? kQ4GroupBytes
                                              : kQ8GroupBytes;
  const auto* group = static_cast<const uint8_t*>(panel);
  const int8_t* rows = x.q + first_row * x.depth;
  const int64_t first_scale = first_row * x.groups;
  for (int64_t g = 0; g < x.groups; ++g, group += kGroupBytes) {
    const uint8_t* bytes = group + (kMin ? 64 : 32);
    Vi dots[kRows];
    for (int r = 0; r < kRows; ++r) {
      dots[r] = kMin ? ZeroI() : Set1I(-kOffset * x.sum[first_scale + r * x.groups + g]);
    }
    const int8_t* values = rows + g * kGroup;
    for (int k = 0; k < kGroup; k += kFourBits ? 8 : 4) {
      const Vi packed = LoadI(bytes + (kFourBits ? k * 8 : k * 16));
      const Vi low = kTable      ? Iq4Bytes(LowNibbles(packed))
                     : kFourBits ? LowNibbles(packed)
                                 : packed;
      for (int r = 0; r < kRows; ++r) {
        dots[r] = DotU8S8(dots[r], low, LoadWord(values + r * x.depth + k));
      }
      if constexpr (kFourBits) {
        const Vi high = kTable ? Iq4Bytes(HighNibbles(packed)) : HighNibbles(packed);
        for (int r = 0; r < kRows; ++r) {
          dots[r] = DotU8S8(dots[r], high, LoadWord(values + r * x.depth + k + 4));
        }
      }
    }
    const Vf scale = LoadF16(reinterpret_cast<const uint16_t*>(group));
    for (int r = 0; r < kRows; ++r) {
      const int64_t s = first_scale + r * x.groups + g;
      sums[r] = Fma(ToFloat(dots[r]), Mul(scale, Set1(x.scale[s])), sums[r]);
    }
    if constexpr (kMin) {
      const Vf min = LoadF16(reinterpret_cast<const uint16_t*>(group + 32));
      for (int r = 0; r < kRows; ++r) {
        sums[r] = Fma(min, Set1(x.scaled_sum[first_scale + r * x.groups + g]), sums[r]);
      }
    }
  }
}

struct PanelOutput {
  int64_t cols;
  const float* column_scale;
  const float* bias;
  float* out;
  int64_t stride;
};

template <int kRows>
void ProductTile(PanelFormat format, const void* panel, const ActivationRows& x, int64_t first_row,
                 const PanelOutput& output) {
  Vf sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = Zero();
  switch (format) {
    case PanelFormat::kF32:
      ProductF32<kRows>(panel, x, first_row, sums);
      break;
    case PanelFormat::kBf16:
      ProductBf16<kRows>(panel, x, first_row, sums);
      break;
    case PanelFormat::kI8:
      ProductI8<kRows>(panel, x, first_row, output.column_scale, sums);
      break;
    case PanelFormat::kQ8:
      ProductGroups<kRows, PanelFormat::kQ8>(panel, x, first_row, sums);
      break;
    case PanelFormat::kQ4:
      ProductGroups<kRows, PanelFormat::kQ4>(panel, x, first_row, sums);
      break;
    case PanelFormat::kQ4Min:
      ProductGroups<kRows, PanelFormat::kQ4Min>(panel, x, first_row, sums);
      break;
    case PanelFormat::kQ4Table:
      ProductGroups<kRows, PanelFormat::kQ4Table>(panel, x, first_row, sums);
      break;
  }
  for (int r = 0; r < kRows; ++r) {
    StoreOutput(sums[r], output.bias, output.cols, output.out + (first_row + r) * output.stride);
  }
}

void PanelProduct(PanelFormat format, const void* panel, const ActivationRows& x, int64_t rows,
                  int64_t cols, const float* column_scale, const float* bias, float* out,
                  int64_t out_stride) {
  const PanelOutput output{cols, column_scale, bias, out, out_stride};
  int64_t r = 0;
  for (; r + kMaxTileRows <= rows; r += kMaxTileRows) {
    ProductTile<kMaxTileRows>(format, panel, x, r, output);
  }
  if constexpr (kMaxTileRows > 4) {
    for (; r + 4 <= rows; r += 4) ProductTile<4>(format, panel, x, r, output);
  }
  for (; r + 2 <= rows; r += 2) ProductTile<2>(format, panel, x, r, output);
  for (; r < rows; ++r) ProductTile<1>(format, panel, x, r, output);
}
