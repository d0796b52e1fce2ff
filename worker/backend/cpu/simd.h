// Vectors of 16 floats and 16 int32 for the kernels, on AVX-512, AVX2 or plain loops, as the
// including file is compiled. Included by kernels_impl.h only, inside the namespace of that
// instruction set: everything here has internal names per set, so that code for a newer processor
// never reaches an older one through the linker. For the same reason no templates of the standard
// library are used.

// The list of GGUF's IQ4_NL, each value 128 more than it is.
alignas(16) inline constexpr uint8_t kIq4Bytes[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                      129, 141, 153, 166, 181, 197, 217, 241};

#if defined(__AVX512F__)

struct Vf {
  __m512 v;
};
struct Vi {
  __m512i v;
};

inline Vf Zero() { return {_mm512_setzero_ps()}; }
inline Vf Set1(float x) { return {_mm512_set1_ps(x)}; }
inline Vf Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(float* p, Vf a) { _mm512_storeu_ps(p, a.v); }
inline Vf Add(Vf a, Vf b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vf Sub(Vf a, Vf b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vf Mul(Vf a, Vf b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vf Div(Vf a, Vf b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vf Fma(Vf a, Vf b, Vf c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vf Max(Vf a, Vf b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vf Min(Vf a, Vf b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vf Abs(Vf a) { return {_mm512_abs_ps(a.v)}; }
inline float ReduceAdd(Vf a) { return _mm512_reduce_add_ps(a.v); }
inline float ReduceMax(Vf a) { return _mm512_reduce_max_ps(a.v); }
// 2^n * a for integral n.
inline Vf ScaleByPow2(Vf a, Vf n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline Vf Round(Vf a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// y where x >= limit, 0 elsewhere (and where x is NaN).
inline Vf ZeroBelow(Vf x, float limit, Vf y) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_GE_OQ), y.v)};
}
inline Vf LoadF16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void StoreF16(uint16_t* p, Vf a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Vi ZeroI() { return {_mm512_setzero_si512()}; }
inline Vi Set1I(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Vi LoadI(const void* p) { return {_mm512_loadu_si512(p)}; }
inline Vf ToFloat(Vi a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline Vi AddI(Vi a, Vi b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Vi LowNibbles(Vi a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
inline Vi HighNibbles(Vi a) {
  return {_mm512_and_si512(_mm512_srli_epi16(a.v, 4), _mm512_set1_epi8(15))};
}
// Bytes of places 0 to 15 to the unsigned bytes of the list.
inline Vi Iq4Bytes(Vi places) {
  const __m128i list = _mm_load_si128(reinterpret_cast<const __m128i*>(kIq4Bytes));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(list), places.v)};
}
// acc[i] += sum over j of u[4i + j] * s[j], u unsigned and s signed bytes, s the same for all i.
inline Vi DotU8S8(Vi acc, Vi u, int32_t s) {
#if defined(__AVX512VNNI__)
  return {_mm512_dpbusd_epi32(acc.v, u.v, _mm512_set1_epi32(s))};
#else
#error "the AVX-512 kernels need VNNI"
#endif
}
// acc[i] += lo(w[i]) * lo(x) + hi(w[i]) * hi(x), pairs of bf16.
inline Vf DotBf16(Vf acc, Vi w, uint32_t x) {
#if defined(__AVX512BF16__)
  return {_mm512_dpbf16_ps(acc.v, (__m512bh)w.v, (__m512bh)_mm512_set1_epi32((int32_t)x))};
#else
  const __m512i high = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
  const __m512 w_lo = _mm512_castsi512_ps(_mm512_slli_epi32(w.v, 16));
  const __m512 w_hi = _mm512_castsi512_ps(_mm512_and_si512(w.v, high));
  const __m512i xv = _mm512_set1_epi32(static_cast<int32_t>(x));
  acc.v = _mm512_fmadd_ps(w_lo, _mm512_castsi512_ps(_mm512_slli_epi32(xv, 16)), acc.v);
  acc.v = _mm512_fmadd_ps(w_hi, _mm512_castsi512_ps(_mm512_and_si512(xv, high)), acc.v);
  return acc;
#endif
}
// Rounds to nearest even and saturates to int8.
inline void StoreRoundedI8(int8_t* p, Vf a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

#elif defined(__AVX2__)

struct Vf {
  __m256 lo, hi;
};
struct Vi {
  __m256i lo, hi;
};

inline Vf Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Vf Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vf Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void Store(float* p, Vf a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline Vf Add(Vf a, Vf b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Vf Sub(Vf a, Vf b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Vf Mul(Vf a, Vf b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Vf Div(Vf a, Vf b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Vf Fma(Vf a, Vf b, Vf c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline Vf Max(Vf a, Vf b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Vf Min(Vf a, Vf b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Vf Abs(Vf a) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(a.lo, mask), _mm256_and_ps(a.hi, mask)};
}
inline float ReduceAdd(Vf a) {
  const __m256 sum = _mm256_add_ps(a.lo, a.hi);
  __m128 quad = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
  quad = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
  return _mm_cvtss_f32(_mm_add_ss(quad, _mm_movehdup_ps(quad)));
}
inline float ReduceMax(Vf a) {
  const __m256 most = _mm256_max_ps(a.lo, a.hi);
  __m128 quad = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
  quad = _mm_max_ps(quad, _mm_movehl_ps(quad, quad));
  return _mm_cvtss_f32(_mm_max_ss(quad, _mm_movehdup_ps(quad)));
}
inline __m256 ScaleHalfByPow2(__m256 a, __m256 n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)));
}
inline Vf ScaleByPow2(Vf a, Vf n) {
  return {ScaleHalfByPow2(a.lo, n.lo), ScaleHalfByPow2(a.hi, n.hi)};
}
inline Vf Round(Vf a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}
inline Vf ZeroBelow(Vf x, float limit, Vf y) {
  const __m256 bound = _mm256_set1_ps(limit);
  return {_mm256_and_ps(_mm256_cmp_ps(x.lo, bound, _CMP_GE_OQ), y.lo),
          _mm256_and_ps(_mm256_cmp_ps(x.hi, bound, _CMP_GE_OQ), y.hi)};
}
inline Vf LoadF16(const uint16_t* p) {
  const auto* halves = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
inline void StoreF16(uint16_t* p, Vf a) {
  auto* halves = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(halves, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(halves + 1, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
inline Vi ZeroI() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Vi Set1I(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Vi LoadI(const void* p) {
  const auto* halves = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
inline Vf ToFloat(Vi a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
inline Vi AddI(Vi a, Vi b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
inline Vi LowNibbles(Vi a) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(a.lo, mask), _mm256_and_si256(a.hi, mask)};
}
inline Vi HighNibbles(Vi a) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(_mm256_srli_epi16(a.lo, 4), mask),
          _mm256_and_si256(_mm256_srli_epi16(a.hi, 4), mask)};
}
inline Vi Iq4Bytes(Vi places) {
  const __m128i list = _mm_load_si128(reinterpret_cast<const __m128i*>(kIq4Bytes));
  const __m256i both = _mm256_broadcastsi128_si256(list);
  return {_mm256_shuffle_epi8(both, places.lo), _mm256_shuffle_epi8(both, places.hi)};
}
// maddubs would saturate for bytes above 127, so even and odd bytes are widened apart.
inline __m256i DotHalf(__m256i acc, __m256i u, __m256i s) {
  const __m256i even_mask = _mm256_set1_epi16(255);
  const __m256i u_even = _mm256_and_si256(u, even_mask);
  const __m256i u_odd = _mm256_srli_epi16(u, 8);
  const __m256i s_even = _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8);
  const __m256i s_odd = _mm256_srai_epi16(s, 8);
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(u_even, s_even));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(u_odd, s_odd));
}
inline Vi DotU8S8(Vi acc, Vi u, int32_t s) {
  const __m256i sv = _mm256_set1_epi32(s);
  return {DotHalf(acc.lo, u.lo, sv), DotHalf(acc.hi, u.hi, sv)};
}
inline __m256 DotBf16Half(__m256 acc, __m256i w, __m256i x) {
  const __m256i high = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u));
  const __m256 w_lo = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
  const __m256 w_hi = _mm256_castsi256_ps(_mm256_and_si256(w, high));
  acc = _mm256_fmadd_ps(w_lo, _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), acc);
  return _mm256_fmadd_ps(w_hi, _mm256_castsi256_ps(_mm256_and_si256(x, high)), acc);
}
inline Vf DotBf16(Vf acc, Vi w, uint32_t x) {
  const __m256i xv = _mm256_set1_epi32(static_cast<int32_t>(x));
  return {DotBf16Half(acc.lo, w.lo, xv), DotBf16Half(acc.hi, w.hi, xv)};
}
inline void StoreRoundedI8(int8_t* p, Vf a) {
  const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}

#else

struct Vf {
  float v[16];
};
struct Vi {
  int32_t v[16];
};

#define PINGTI_EACH(expression)    \
  do {                             \
    Vf result;                     \
    for (int i = 0; i < 16; ++i) { \
      result.v[i] = (expression);  \
    }                              \
    return result;                 \
  } while (false)
#define PINGTI_EACH_INT(expression) \
  do {                              \
    Vi result;                      \
    for (int i = 0; i < 16; ++i) {  \
      result.v[i] = (expression);   \
    }                               \
    return result;                  \
  } while (false)
inline Vf Set1(float x) { PINGTI_EACH(x); }
inline Vf Zero() { return Set1(0.0f); }
inline Vf Load(const float* p) { PINGTI_EACH(p[i]); }
inline void Store(float* p, const Vf& a) { __builtin_memcpy(p, a.v, sizeof(a.v)); }
inline Vf Add(const Vf& a, const Vf& b) { PINGTI_EACH(a.v[i] + b.v[i]); }
inline Vf Sub(const Vf& a, const Vf& b) { PINGTI_EACH(a.v[i] - b.v[i]); }
inline Vf Mul(const Vf& a, const Vf& b) { PINGTI_EACH(a.v[i] * b.v[i]); }
inline Vf Div(const Vf& a, const Vf& b) { PINGTI_EACH(a.v[i] / b.v[i]); }
inline Vf Fma(const Vf& a, const Vf& b, const Vf& c) { PINGTI_EACH(a.v[i] * b.v[i] + c.v[i]); }
inline Vf Max(const Vf& a, const Vf& b) { PINGTI_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
inline Vf Min(const Vf& a, const Vf& b) { PINGTI_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
inline Vf Abs(const Vf& a) { PINGTI_EACH(__builtin_fabsf(a.v[i])); }
inline float ReduceAdd(const Vf& a) {
  float sum = 0.0f;
  for (float x : a.v) sum += x;
  return sum;
}
inline float ReduceMax(const Vf& a) {
  float most = a.v[0];
  for (float x : a.v) most = x > most ? x : most;
  return most;
}
inline Vf ScaleByPow2(const Vf& a, const Vf& n) {
  PINGTI_EACH(__builtin_ldexpf(a.v[i], static_cast<int>(n.v[i])));
}
inline Vf Round(const Vf& a) { PINGTI_EACH(__builtin_nearbyintf(a.v[i])); }
inline Vf ZeroBelow(const Vf& x, float limit, const Vf& y) {
  PINGTI_EACH(x.v[i] >= limit ? y.v[i] : 0.0f);
}
inline Vf LoadF16(const uint16_t* p) { PINGTI_EACH(pingti::worker::F16ToFloat(p[i])); }
inline void StoreF16(uint16_t* p, const Vf& a) {
  for (int i = 0; i < 16; ++i) p[i] = pingti::worker::FloatToF16(a.v[i]);
}
inline Vi Set1I(int32_t x) { PINGTI_EACH_INT(x); }
inline Vi ZeroI() { return Set1I(0); }
inline Vi LoadI(const void* p) {
  Vi result;
  __builtin_memcpy(result.v, p, sizeof(result.v));
  return result;
}
inline Vf ToFloat(const Vi& a) { PINGTI_EACH(static_cast<float>(a.v[i])); }
inline Vi AddI(const Vi& a, const Vi& b) { PINGTI_EACH_INT(a.v[i] + b.v[i]); }
inline Vi LowNibbles(const Vi& a) { PINGTI_EACH_INT(a.v[i] & 0x0f0f0f0f); }
inline Vi HighNibbles(const Vi& a) {
  PINGTI_EACH_INT(static_cast<int32_t>((static_cast<uint32_t>(a.v[i]) >> 4) & 0x0f0f0f0fu));
}
inline int32_t Iq4Word(uint32_t places) {
  uint32_t bytes = 0;
  for (int j = 0; j < 32; j += 8)
    bytes |= static_cast<uint32_t>(kIq4Bytes[(places >> j) & 15u]) << j;
  return static_cast<int32_t>(bytes);
}
inline Vi Iq4Bytes(const Vi& places) {
  PINGTI_EACH_INT(Iq4Word(static_cast<uint32_t>(places.v[i])));
}
inline int32_t DotFour(int32_t acc, uint32_t u, uint32_t s) {
  for (int j = 0; j < 32; j += 8) {
    acc += static_cast<int32_t>((u >> j) & 255u) * static_cast<int8_t>((s >> j) & 255u);
  }
  return acc;
}
inline Vi DotU8S8(const Vi& acc, const Vi& u, int32_t s) {
  PINGTI_EACH_INT(DotFour(acc.v[i], static_cast<uint32_t>(u.v[i]), static_cast<uint32_t>(s)));
}
inline Vf DotBf16(const Vf& acc, const Vi& w, uint32_t x) {
  const float x_lo = pingti::worker::Bf16ToFloat(static_cast<uint16_t>(x));
  const float x_hi = pingti::worker::Bf16ToFloat(static_cast<uint16_t>(x >> 16));
  PINGTI_EACH(
      acc.v[i] + pingti::worker::Bf16ToFloat(static_cast<uint16_t>(w.v[i])) * x_lo +
      pingti::worker::Bf16ToFloat(static_cast<uint16_t>(static_cast<uint32_t>(w.v[i]) >> 16)) *
          x_hi);
}
inline void StoreRoundedI8(int8_t* p, const Vf& a) {
  for (int i = 0; i < 16; ++i) {
    const float rounded = __builtin_nearbyintf(a.v[i]);
    p[i] = static_cast<int8_t>(rounded < -128.0f ? -128.0f : rounded > 127.0f ? 127.0f : rounded);
  }
}
#undef PINGTI_EACH
#undef PINGTI_EACH_INT

#endif
