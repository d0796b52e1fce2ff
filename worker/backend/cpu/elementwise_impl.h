// Row-wise kernels: norms, rotation, conversions, reductions over logits. Included by
// kernels_impl.h inside the namespace of an instruction set. Tails shorter than a vector go through
// a padded copy, so every element takes the same path.

inline Vf LoadPart(const float* p, int64_t count, float fill) {
  float values[16];
  for (int64_t i = 0; i < 16; ++i) values[i] = i < count ? p[i] : fill;
  return Load(values);
}

inline void StorePart(float* p, int64_t count, Vf a) {
  float values[16];
  Store(values, a);
  for (int64_t i = 0; i < count; ++i) p[i] = values[i];
}

// Calls body(load, store) for whole vectors, then for the tail.
inline Vf LoadAt(const float* p, int64_t i, int64_t count, float fill = 0.0f) {
  return i + 16 <= count ? Load(p + i) : LoadPart(p + i, count - i, fill);
}
inline void StoreAt(float* p, int64_t i, int64_t count, Vf a) {
  if (i + 16 <= count) {
    Store(p + i, a);
  } else {
    StorePart(p + i, count - i, a);
  }
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t count, float* out) {
  Vf squares = Zero();
  for (int64_t i = 0; i < count; i += 16) {
    const Vf v = LoadAt(x, i, count);
    squares = Fma(v, v, squares);
  }
  const float mean = ReduceAdd(squares) / static_cast<float>(count);
  const Vf scale = Set1(1.0f / __builtin_sqrtf(mean + eps));
  for (int64_t i = 0; i < count; i += 16) {
    StoreAt(out, i, count, Mul(Mul(LoadAt(x, i, count), scale), LoadAt(weight, i, count)));
  }
}

// The variance is of the differences from the mean, which are summed in a pass of their own.
void LayerNorm(const float* x, const float* weight, const float* bias, float eps, int64_t count,
               float* out) {
  Vf sum = Zero();
  for (int64_t i = 0; i < count; i += 16) sum = Add(sum, LoadAt(x, i, count));
  const float mean = ReduceAdd(sum) / static_cast<float>(count);
  const Vf shift = Set1(mean);
  Vf squares = Zero();
  for (int64_t i = 0; i < count; i += 16) {
    const Vf centred = Sub(LoadAt(x, i, count, mean), shift);
    squares = Fma(centred, centred, squares);
  }
  const float variance = ReduceAdd(squares) / static_cast<float>(count);
  const Vf scale = Set1(1.0f / __builtin_sqrtf(variance + eps));
  for (int64_t i = 0; i < count; i += 16) {
    const Vf normed = Mul(Sub(LoadAt(x, i, count), shift), scale);
    const Vf offset = bias != nullptr ? LoadAt(bias, i, count) : Zero();
    StoreAt(out, i, count, Fma(normed, LoadAt(weight, i, count), offset));
  }
}

void AddInPlace(float* x, const float* delta, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    StoreAt(x, i, count, Add(LoadAt(x, i, count), LoadAt(delta, i, count)));
  }
}

void Rope(float* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; i += 16) {
    const Vf c = LoadAt(cos, i, half);
    const Vf s = LoadAt(sin, i, half);
    const Vf a = LoadAt(x, i, half);
    const Vf b = LoadAt(x + half, i, half);
    StoreAt(x, i, half, Sub(Mul(a, c), Mul(b, s)));
    StoreAt(x + half, i, half, Add(Mul(b, c), Mul(a, s)));
  }
}

inline uint16_t RoundToBf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

void FloatToBf16Row(const float* x, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = RoundToBf16(x[i]);
}

void FloatToF16Row(const float* x, int64_t count, uint16_t* out) {
  // Finite values beyond the format's range become its largest, not infinity.
  const Vf limit = Set1(65504.0f);
  const Vf negative = Set1(-65504.0f);
  for (int64_t i = 0; i < count; i += 16) {
    const Vf v = Max(Min(LoadAt(x, i, count), limit), negative);
    if (i + 16 <= count) {
      StoreF16(out + i, v);
    } else {
      uint16_t halves[16];
      StoreF16(halves, v);
      for (int64_t j = i; j < count; ++j) out[j] = halves[j - i];
    }
  }
}

void F16ToFloatRows(const uint16_t* x, int64_t rows, int64_t stride, int64_t cols, float* out,
                    int64_t out_stride) {
  for (int64_t r = 0; r < rows; ++r, x += stride, out += out_stride) {
    int64_t i = 0;
    for (; i + 16 <= cols; i += 16) Store(out + i, LoadF16(x + i));
    if (i < cols) {
      uint16_t halves[16] = {};
      for (int64_t j = i; j < cols; ++j) halves[j - i] = x[j];
      StorePart(out + i, cols - i, LoadF16(halves));
    }
  }
}

// Symmetric: scale = largest magnitude / 127, q = round(x / scale).
inline void QuantizeSpan(const float* x, int64_t count, int64_t padded, int8_t* q, float* scale,
                         int32_t* sum) {
  Vf most = Zero();
  for (int64_t i = 0; i < count; i += 16) most = Max(most, Abs(LoadAt(x, i, count)));
  const float largest = ReduceMax(most);
  const float step = largest / 127.0f;
  const Vf inverse = Set1(largest > 0.0f ? 127.0f / largest : 0.0f);
  int32_t total = 0;
  for (int64_t i = 0; i < padded; i += 16) {
    const Vf v = i < count ? LoadAt(x, i, count) : Zero();
    StoreRoundedI8(q + i, Mul(v, inverse));
    for (int j = 0; j < 16; ++j) total += q[i + j];
  }
  *scale = step;
  *sum = total;
}

void QuantizeRow(const float* x, int64_t depth, int64_t padded_depth, bool groups, int8_t* q,
                 float* scale, int32_t* sum) {
  if (!groups) {
    QuantizeSpan(x, depth, padded_depth, q, scale, sum);
    return;
  }
  for (int64_t i = 0, g = 0; i < padded_depth; i += kGroup, ++g) {
    const int64_t left = depth - i;
    QuantizeSpan(x + i, left < kGroup ? left : kGroup, kGroup, q + i, scale + g, sum + g);
  }
}

int64_t ArgMax(const float* x, int64_t count, bool* has_nan) {
  constexpr float kLowest = -3.4028235e38f;
  Vf most = Set1(-__builtin_inff());
  Vf nan_probe = Zero();
  for (int64_t i = 0; i < count; i += 16) {
    const Vf v = LoadAt(x, i, count, kLowest);
    most = Max(v, most);                         // a NaN in v gives the second operand
    nan_probe = Add(nan_probe, Mul(v, Zero()));  // NaN for NaN and for infinities
  }
  *has_nan = false;
  const float probe = ReduceAdd(nan_probe);
  if (probe != probe) {
    for (int64_t i = 0; i < count; ++i) *has_nan = *has_nan || x[i] != x[i];
  }
  const float largest = ReduceMax(most);
  for (int64_t i = 0; i < count; ++i) {
    if (x[i] == largest) return i;
  }
  return 0;
}

double SumExp(const float* x, int64_t count, float max, float inverse_temperature) {
  const Vf shift = Set1(max);
  const Vf scale = Set1(inverse_temperature);
  double total = 0.0;
  constexpr int64_t kChunk = 1024;  // float sums stay short
  for (int64_t start = 0; start < count; start += kChunk) {
    const int64_t end = start + kChunk < count ? start + kChunk : count;
    Vf sum = Zero();
    for (int64_t i = start; i < end; i += 16) {
      const Vf v = LoadAt(x, i, count, -__builtin_inff());
      sum = Add(sum, Exp(Mul(Sub(v, shift), scale)));
    }
    total += static_cast<double>(ReduceAdd(sum));
  }
  return total;
}
